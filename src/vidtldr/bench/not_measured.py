"""What a benchmark could not measure, so that the rest is not lost with it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

__all__ = ["NotMeasured"]

# What the allocators of a CPU, of MPS, of CUDA's libraries and of C++ say, without a type.
_UNTYPED = ("DefaultCPUAllocator", "out of memory", "ALLOC_FAILED", "bad_alloc")


class NotMeasured:
    """Errors of the parts of a benchmark that failed.

    Args:
        debug: Whether to let errors through.

    Attributes:
        errors: By what was measured.
    """

    def __init__(self, *, debug: bool = False) -> None:
        self.errors: dict[str, str] = {}
        self._debug = debug

    @contextmanager
    def caught(self, what: str) -> Iterator[None]:
        """Keep the error of a part.

        Such are: too little memory, outputs that are no numbers or not those that they must be, and
        a process that was killed or ended with an error. Anything else is a mistake of ours.

        Args:
            what: What is measured, as a person says it.
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
                "once, or leave peers out."
            )

    def validate_any(self, measured: object) -> None:
        """Refuse a result in which nothing was measured.

        Raises:
            ValueError: If nothing was and a part failed; with its error.
        """
        if not measured and self.errors:
            what, error = next(iter(self.errors.items()))
            raise ValueError(f"{what}: {error}")

    def to_list(self) -> list[dict[str, Any]]:
        """Everything, ready for JSON."""
        return [{"what": what, "error": error} for what, error in self.errors.items()]


def _is_out_of_memory(error: RuntimeError | MemoryError) -> bool:
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return any(words in str(error) for words in _UNTYPED)


def _first_sentence(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text.rsplit("DefaultCPUAllocator: ", 1)[-1].split(". ")[0]
