"""Captions, questions and labels as UMT was trained to read them."""

import re

__all__ = ["clean_text"]

_REMOVED = re.compile(r"[,.'!?\"()*#:;~]")
_SPACED = re.compile(r"[-/]")


def clean_text(text: str) -> str:
    """Clean a text as the paper's protocol does.

    Letters become small, the characters `,.'!?"()*#:;~` go, `-` and `/` become spaces, `<person>`
    becomes `person`, and white space of any kind is squeezed to single spaces, none at the ends.
    Cleaning twice equals cleaning once.

    Args:
        text: Any text; may come out empty.

    Source: the evaluation protocol of UMT and of Choi et al., CVPR 2024. Differs from the authors'
    code where they keep a lone tab or line break, which BERT's tokenizer takes for a space, too,
    and in a nested `<<person>>`.
    """
    text = _SPACED.sub(" ", _REMOVED.sub("", text.lower()))
    while "<person>" in text:
        text = text.replace("<person>", "person")
    return " ".join(text.split())
