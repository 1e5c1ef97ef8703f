"""What tells results of one state of this package's code from those of another."""

import hashlib
from functools import cache
from pathlib import Path

__all__ = ["source_digest"]

ROOT = Path(__file__).parent.parent
ROOMS = ("hosts", "method", "models", "ops")


@cache
def source_digest() -> str:
    """A hash of the code that decides what a merged model answers and how long it takes.

    A version would not do: between releases many states of the code share one.
    """
    digest = hashlib.sha256()
    for file in sorted(file for room in ROOMS for file in (ROOT / room).rglob("*.py")):
        digest.update(
            file.relative_to(ROOT).as_posix().encode() + b"\0" + file.read_bytes() + b"\0"
        )
    return digest.hexdigest()[:32]
