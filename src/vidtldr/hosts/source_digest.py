"""What tells results of one state of this package's code from those of another."""

import hashlib
from functools import cache
from pathlib import Path

__all__ = ["source_digest"]

ROOT = Path(__file__).parent.parent
MERGING = ("hosts", "method", "models", "ops")


@cache
def source_digest(*others: str) -> str:
    """A hash of the code that decides how a merged model computes.

    A version would not do: between releases many states of the code share one.

    Args:
        others: Names of more packages of this one whose code decides a result.
    """
    digest = hashlib.sha256()
    rooms = (*MERGING, *others)
    for file in sorted(file for room in rooms for file in (ROOT / room).rglob("*.py")):
        digest.update(
            file.relative_to(ROOT).as_posix().encode() + b"\0" + file.read_bytes() + b"\0"
        )
    return digest.hexdigest()[:32]
