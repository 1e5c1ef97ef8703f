"""Progress callbacks for long-running work."""

from collections.abc import Callable
from itertools import count

__all__ = ["OnStep", "ignore_steps", "steps_of"]

#: Called after every step with the name of the work, steps done so far and steps in total.
OnStep = Callable[[str, int, int], object]


def ignore_steps(_what: str, _done: int, _total: int) -> None:
    """Show nothing."""


def steps_of(on_step: OnStep, what: str, total: int) -> Callable[[], None]:
    """Return a function that counts its calls and reports them to `on_step`."""
    done = count(1)

    def step() -> None:
        on_step(what, next(done), total)

    return step
