"""Record what a benchmark could not measure, without losing the rest."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

__all__ = ["NotMeasured"]

# Out-of-memory messages of CPU, MPS, CUDA libraries and C++, which have no type of their own.
_UNTYPED = ("DefaultCPUAllocator", "out of memory", "ALLOC_FAILED", "bad_alloc")


class NotMeasured:
    """Errors of the parts of a benchmark that failed.

    Args:
        debug: Whether to re-raise errors.

    Attributes:
        errors: Errors by the name of the part.
    """

    def __init__(self, *, debug: bool = False) -> None:
        self.errors: dict[str, str] = {}
        self._debug = debug

    @contextmanager
    def caught(self, what: str) -> Iterator[None]:
        """Record the error of a part.

        Recorded are: out of memory, outputs that are not finite or not the expected ones, and a
        process that was killed or ended with an error. Anything else is a bug.

        Args:
            what: Name of the part, in plain words.
        """
        try:
            yield
        except (FloatingPointError, ChildProcessError) as error:
            if self._debug:
                raise
            self.errors[what] = str(error)
        except (RuntimeError, MemoryError) as error:
            if self._debug or not _is_out_of_memory(error):
                raise
            said = "; ".join([*getattr(error, "__notes__", ()), _first_sentence(error)])
            self.errors[what] = (
                f"the device has too little memory for it ({said}). Use fewer clips or tokens at "
                "once, or leave out what is too large."
            )

    def validate_any(self, measured: object) -> None:
        """Reject a result in which nothing was measured.

        Raises:
            ValueError: If nothing was measured and a part failed; with its error.
        """
        if not measured and self.errors:
            what, error = next(iter(self.errors.items()))
            raise ValueError(f"{what}: {error}")

    def to_list(self) -> list[dict[str, Any]]:
        """Return all errors, ready for JSON."""
        return [{"what": what, "error": error} for what, error in self.errors.items()]


def _is_out_of_memory(error: RuntimeError | MemoryError) -> bool:
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return any(words in str(error) for words in _UNTYPED)


def _first_sentence(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text.rsplit("DefaultCPUAllocator: ", 1)[-1].split(". ")[0]
