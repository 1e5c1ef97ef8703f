"""Clean captions, questions and labels as in UMT's training."""

import re

__all__ = ["clean_text"]

_REMOVED = re.compile(r"[,.'!?\"()*#:;~]")
_SPACED = re.compile(r"[-/]")


def clean_text(text: str) -> str:
    """Clean a text as the paper's protocol does.

    Text is lower-cased, the characters `,.'!?"()*#:;~` are removed, `-` and `/` become spaces,
    `<person>` becomes `person`, and whitespace is collapsed to single spaces and stripped at the
    ends. Cleaning is idempotent.

    Args:
        text: Any text; the result may be empty.

    Source: the evaluation protocol of UMT and of Choi et al., CVPR 2024. Differs from the authors'
    code in two cases: they keep a lone tab or line break, which BERT's tokenizer also treats as a
    space, and they treat a nested `<<person>>` differently.
    """
    text = _SPACED.sub(" ", _REMOVED.sub("", text.lower()))
    while "<person>" in text:
        text = text.replace("<person>", "person")
    return " ".join(text.split())
