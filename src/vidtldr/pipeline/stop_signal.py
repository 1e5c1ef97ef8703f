"""Ctrl-C and SIGTERM as a wish to stop, and a second one as an order."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

__all__ = ["StopSignal"]


class StopSignal:
    """While this is entered, the first Ctrl-C or SIGTERM is noted; the next one interrupts.

    In a thread other than the main one nothing is caught.

    Attributes:
        was_given: Whether somebody wishes to stop.
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
