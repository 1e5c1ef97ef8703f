"""A digest that distinguishes results of different states of this package's code."""

import hashlib
from functools import cache
from pathlib import Path

__all__ = ["source_digest"]

ROOT = Path(__file__).parent.parent
SUFFIXES = (".py", ".cpp", ".h")
MERGING = ("budget", "hosts", "method", "models", "ops", "patch")


@cache
def source_digest(*others: str) -> str:
    """Hash the code that determines how a merged model computes.

    A version is not enough: between releases many states of the code share one.

    Args:
        others: Names of further subpackages whose code affects a result.
    """
    digest = hashlib.sha256()
    rooms = (*MERGING, *others)
    files = [file for room in rooms for file in (ROOT / room).rglob("*") if file.suffix in SUFFIXES]
    for file in sorted([*files, *ROOT.glob("*.py")]):
        digest.update(
            file.relative_to(ROOT).as_posix().encode() + b"\0" + file.read_bytes() + b"\0"
        )
    return digest.hexdigest()[:32]
