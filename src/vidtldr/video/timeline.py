"""Order and time of the frames that a decoder gave."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

__all__ = ["Timeline", "build_timeline", "num_within"]


@dataclass(frozen=True)
class Timeline:
    """The frames of a video in display order.

    Attributes:
        order: For each frame its position in the decoder's output.
        times: Time of each frame on the file's clock, in seconds; None where the file has none
            that can be believed.
        duration_seconds: From the first frame to the end of the last; None if unknown.
        is_ordered: False if the timestamps contradict the order of the frames, as in some AVI
            files; then no time is given.
    """

    order: tuple[int, ...]
    times: tuple[Fraction | None, ...]
    duration_seconds: float | None
    is_ordered: bool


def build_timeline(
    pts: Sequence[int | None],
    time_base: Fraction,
    average_rate: Fraction | None,
    reorders: bool,
    max_seconds: float | None = None,
) -> Timeline:
    """Put decoded frames into display order and cut them at `max_seconds`.

    FFmpeg's decoders output in display order. Only a codec that knows no reordering can be given
    timestamps in another order by its container; then the timestamps decide.

    Args:
        pts: Timestamp of each frame the decoder gave, in its order; None if it has none.
        time_base: Seconds of one tick.
        average_rate: Frames a second by the header; times come from it where timestamps fail and
            `max_seconds` needs them.
        reorders: Whether the codec itself puts frames in display order.
        max_seconds: Keep the frames that end within so many seconds; None keeps all.

    Raises:
        ValueError: If `max_seconds` is given and neither timestamps nor a frame rate exist.
    """
    order = list(range(len(pts)))
    if not reorders and None not in pts and len(set(pts)) == len(pts):
        order.sort(key=lambda position: pts[position] or 0)
    ticks = [pts[position] for position in order]
    known = [tick for tick in ticks if tick is not None]
    is_ordered = known == sorted(known)
    times = [None if tick is None or not is_ordered else tick * time_base for tick in ticks]
    count = len(order)
    if max_seconds is not None:
        count = num_within(times, average_rate, max_seconds)
    return Timeline(
        tuple(order[:count]),
        tuple(times[:count]),
        _duration(times[:count], average_rate),
        is_ordered,
    )


def num_within(
    times: Sequence[Fraction | None], average_rate: Fraction | None, max_seconds: float
) -> int:
    """Count the frames that end within the first `max_seconds`, at least 1 if there are any.

    At a constant rate this is floor(max_seconds * rate), the authors' rule for DiDeMo.

    Args:
        times: Time of each frame in display order, in seconds.
        average_rate: Frames a second, used where a time is missing.
        max_seconds: The limit, from the start of the first frame.

    Raises:
        ValueError: If a time is missing and there is no rate.
    """
    known = [time for time in times if time is not None]
    if len(known) < len(times):
        if not average_rate:
            raise ValueError("neither timestamps nor a frame rate are known")
        known = [index / average_rate for index in range(len(times))]
    if len(known) < 2:
        return len(known)
    ends = [*known[1:], known[-1] + _spacing(known)]
    limit = known[0] + Fraction(max_seconds)
    return max(1, sum(end <= limit for end in ends))


def _spacing(times: Sequence[Fraction]) -> Fraction:
    return (times[-1] - times[0]) / (len(times) - 1)


def _duration(times: Sequence[Fraction | None], average_rate: Fraction | None) -> float | None:
    known = [time for time in times if time is not None]
    if len(known) == len(times) > 1 and known[-1] > known[0]:
        return float(_spacing(known) * len(known))
    return float(len(times) / average_rate) if average_rate and times else None
