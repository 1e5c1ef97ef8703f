"""Remedies of the library, which are worded in Python, as what to type instead."""

import re

__all__ = ["in_flags"]

_AS_FLAGS = (
    (r"Pass tokenizer=DIRECTORY", "Pass --tokenizer DIRECTORY"),
    (r"Pass config='(\w+)'\.", r"Pass --arch \1."),
    (r"Pass a UMTConfig of these sizes\.", "Pass --arch FILE.json with these sizes."),
    (
        r"Pass task='answering'\.",
        "It is for ask, evaluate answering and convert --task answering.",
    ),
    (
        r"Pass task='retrieval'\.",
        "It is for search, classify, embed, evaluate retrieval and multiple-choice.",
    ),
    (r"Pass dataclasses\.replace\(config, num_frames=(\d+)\)\.", r"Pass --frames \1."),
    (r"Use preset '([^']+)'\.", r"Use --preset \1."),
    (r"Give a schedule of your own with r\.", "Give a schedule of your own with --r."),
    (r"^target (?=speedup|drift|flop-ratio|must)", "--target "),
    (r"Write one with convert_checkpoint\.", "Write one with vidtldr convert."),
    (r"^(compile|peers|frames|sizes) must", r"--\1 must"),
    (r"Use dtype float32\.", "Use --dtype float32."),
    (r"Pass r or ratio\.", "Pass --r or --ratio."),
    (r"([Ll])eave out compile\.", r"\1eave out --compile."),
)


def in_flags(message: str) -> str:
    """Return a message with its remedy as a person at the command line can follow it."""
    for words, flags in _AS_FLAGS:
        message = re.sub(words, flags, message)
    return re.sub(r"Use r=\[([\d, ]+)\]", lambda m: f"Use --r {m[1].replace(' ', '')}", message)
