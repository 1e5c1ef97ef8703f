"""The effect of merging on a model's time, in words: a gain, no clear change, or a loss.

A number alone misleads: rounds differ, and if merging does not pay, a reader wants to know why.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from vidtldr.measure.busyness import IDLE, BusyReport
from vidtldr.measure.timing import Timing, paired_ratios

__all__ = ["Change", "Gain", "TimedSide", "change_of", "gain_of", "gain_of_sides"]

Change = Literal["faster", "slower", "unclear"]
SHORT_MS = 100.0  # below this a larger batch amortises a forward's fixed costs


@dataclass(frozen=True)
class Gain:
    """The measured merged model relative to the unmerged one.

    Attributes:
        median: Median of the per-round ratios of unmerged over merged time.
        lowest: Lowest of these ratios.
        highest: Highest of these ratios.
        unmerged_ms: Median time of the unmerged forward, in milliseconds.
        flop_ratio: FLOPs merged over unmerged.
        num_tokens: Tokens after the last layer, unmerged and merged; None if unknown.
        num_clips: Clips per forward.
        busy: CPU time other programs took meanwhile.
    """

    median: float
    lowest: float
    highest: float
    unmerged_ms: float
    flop_ratio: float
    num_tokens: tuple[int, int] | None = None
    num_clips: int = 1
    busy: BusyReport = IDLE

    @property
    def change(self) -> Change:
        """The change that the rounds show."""
        return change_of(self.lowest, self.highest)

    @property
    def is_sure(self) -> bool:
        """Whether merging is faster, beyond the spread and on a machine that was not busy."""
        return self.change == "faster" and not self.busy.is_busy

    @property
    def words(self) -> str:
        """Return the speed-up in words, or that there is no clear one."""
        if self.change == "faster":
            return f"speed-up {self.median:.2f}x"
        if self.change == "slower":
            return f"slower, {self.median:.2f}x as fast"
        if self.lowest == self.highest:
            return f"no measurable difference in time (one round: {self.median:.2f}x)"
        return f"no measurable difference in time ({self.lowest:.2f}x to {self.highest:.2f}x)"

    @property
    def why_none(self) -> str:
        """Say in a sentence why merging does not pay here; empty if it does or if unclear.

        It is unclear while other programs run; `BusyReport.warning` says so.
        """
        if self.change == "faster" or self.busy.is_busy:
            return ""
        if self.lowest == self.highest:
            return "one round of each tells no times apart: time more rounds"
        worth = 1 / self.flop_ratio
        if self.change == "unclear" and worth > 1.01 and self.lowest <= worth <= self.highest:
            return (
                f"rounds differ too much to tell no gain from the {worth:.2f}x of the FLOPs: run "
                "it again, on a quieter machine if you can"
            )
        return f"{self._losses()}: {self._remedy()}"

    def to_dict(self) -> dict[str, Any]:
        """Return the measurements and the reason, ready for JSON."""
        return {
            "speedup": self.median,
            "speedup_range": [self.lowest, self.highest],
            "change": self.change,
            "why_no_gain": self.why_none or None,
            **self.busy.to_dict(),
        }

    def _losses(self) -> str:
        """Say what merging removes and costs: the time beyond the share of FLOPs that stay."""
        saved_ms = (1 - self.flop_ratio) * self.unmerged_ms
        cost_ms = self.unmerged_ms / self.median - self.flop_ratio * self.unmerged_ms
        merging = "merging"
        if self.num_tokens is not None:
            before, after = self.num_tokens
            merging = f"merging {_percent(1 - after / before)} of {before} tokens"
        clips = f"{self.num_clips} clip{'s' * (self.num_clips != 1)}"
        return (
            f"{merging} removes {_percent(1 - self.flop_ratio)} of the FLOPs, about "
            f"{_ms(saved_ms)} of the {_ms(self.unmerged_ms)} that a forward of {clips} takes, and "
            f"costs {_ms(cost_ms)} here"
        )

    def _remedy(self) -> str:
        if self.unmerged_ms < SHORT_MS:
            return "use larger batches or longer clips, or leave this model unmerged"
        return "try --score none or another schedule, or leave this model unmerged"


def change_of(lowest: float, highest: float) -> Change:
    """Classify the ratios of several rounds: a change must show in every round.

    Args:
        lowest: The lowest ratio of a round, unmerged over merged.
        highest: The highest; if it equals the lowest there was only one round, which shows nothing.
    """
    if lowest == highest or lowest <= 1 <= highest:
        return "unclear"
    return "faster" if lowest > 1 else "slower"


class TimedSide(Protocol):
    """A model, unmerged or merged, whose forward had its FLOPs counted and was timed."""

    @property
    def timing(self) -> Timing:
        """The timing of its forward."""

    @property
    def flops(self) -> int:
        """The FLOPs of its forward."""

    @property
    def num_tokens(self) -> Sequence[int]:
        """Tokens after each layer."""


def gain_of_sides(unmerged: TimedSide, merged: TimedSide) -> Gain:
    """Compute the gain for one clip from two sides timed in turn."""
    return gain_of(
        unmerged.timing,
        merged.timing,
        flop_ratio=merged.flops / unmerged.flops,
        num_tokens=(unmerged.num_tokens[-1], merged.num_tokens[-1]),
    )


def gain_of(
    unmerged: Timing,
    merged: Timing,
    *,
    flop_ratio: float,
    num_tokens: tuple[int, int] | None = None,
    num_clips: int = 1,
) -> Gain:
    """Compute the gain from two forwards timed in turn; arguments as in `Gain`."""
    return Gain(
        **paired_ratios(unmerged, merged),
        unmerged_ms=unmerged.median_ms,
        flop_ratio=flop_ratio,
        num_tokens=num_tokens,
        num_clips=num_clips,
        busy=merged.busy,
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _ms(time_ms: float) -> str:
    return f"{time_ms:.{0 if time_ms >= 10 else 1}f} ms"
