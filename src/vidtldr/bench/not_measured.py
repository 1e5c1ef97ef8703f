"""What a benchmark could not measure, so that the rest is not lost with it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

__all__ = ["NotMeasured"]


class NotMeasured:
    """Errors of the parts of a benchmark that failed.

    Attributes:
        errors: By what was measured.
    """

    def __init__(self) -> None:
        self.errors: dict[str, str] = {}

    @contextmanager
    def caught(self, what: str) -> Iterator[None]:
        """Keep the error of a part that runs out of memory, has no finite outputs or is killed.

        Args:
            what: What is measured, as a person says it.
        """
        try:
            yield
        except (FloatingPointError, ChildProcessError) as error:
            self.errors[what] = str(error)
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
            self.errors[what] = (
                f"the device has too little memory for it ({_first_sentence(error)}). Use fewer "
                "clips or tokens at once, or leave peers out."
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
    # The CPU's allocator of torch raises no type of its own.
    is_typed = isinstance(error, (MemoryError, torch.OutOfMemoryError))
    return is_typed or "DefaultCPUAllocator" in str(error)


def _first_sentence(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text.rsplit("DefaultCPUAllocator: ", 1)[-1].split(". ")[0]
