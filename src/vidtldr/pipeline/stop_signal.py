"""The first Ctrl-C or SIGTERM requests a graceful stop; a second one interrupts at once."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

__all__ = ["StopSignal"]


class StopSignal:
    """Context manager that records the first Ctrl-C or SIGTERM; the next raises KeyboardInterrupt.

    Outside the main thread no signal is caught.

    Attributes:
        was_given: Whether a stop was requested.
    """

    def __init__(self) -> None:
        self.was_given = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.was_given:
            raise KeyboardInterrupt
        self.was_given = True
