"""Order and times of decoded frames."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from statistics import median_low

__all__ = ["Timeline", "build_timeline"]


@dataclass(frozen=True)
class Timeline:
    """The frames of a video in display order.

    Attributes:
        order: Position of each frame in the decoder's output.
        times: Time of each frame on the file's clock, in seconds; None if the file has no reliable
            one.
        starts: Seconds from the first frame to the start of each, non-decreasing; where times are
            missing by the frame rate, where they contradict the order the sorted times. None if
            neither timestamps nor a rate are known.
        duration_seconds: From the first frame to the end of the last; None if unknown.
        is_ordered: False if the timestamps contradict the order of the frames, as in some AVI
            files; then all times are None.
    """

    order: tuple[int, ...]
    times: tuple[Fraction | None, ...]
    starts: tuple[Fraction, ...] | None
    duration_seconds: float | None
    is_ordered: bool


def build_timeline(
    pts: Sequence[int | None],
    time_base: Fraction,
    average_rate: Fraction | None,
    reorders: bool,
    max_seconds: float | None = None,
    durations: Mapping[int, int] | None = None,
) -> Timeline:
    """Put decoded frames into display order and cut them at `max_seconds`.

    FFmpeg's decoders output frames in display order. Only for a codec without reordering can the
    container's timestamps be in another order; then the timestamps decide.

    A frame ends where the next one starts, and the last one after its own duration. At a constant
    rate, floor(max_seconds * rate) frames end within `max_seconds`: the authors' rule for DiDeMo.

    Args:
        pts: Timestamp of each frame, in the decoder's order; None if it has none.
        time_base: Length of a timestamp tick, in seconds.
        average_rate: Frames per second according to the header; gives the times if timestamps are
            missing or all equal.
        reorders: Whether the codec itself puts frames in display order.
        max_seconds: Keep the frames that end within the first `max_seconds`, but at least one; None
            keeps all.
        durations: Duration of the frame at a timestamp, in ticks. One that is missing is guessed to
            be the usual step from frame to frame.

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
    edges = _edges(pts, time_base, average_rate, durations or {})
    count = len(order)
    if max_seconds is not None and count > 1:
        if edges is None:
            raise ValueError("neither timestamps nor a frame rate are known")
        limit = Fraction(max_seconds)
        count = max(1, sum(end <= limit for end in edges[1:]))
    return Timeline(
        order=tuple(order[:count]),
        times=tuple(times[:count]),
        starts=None if edges is None else tuple(edges[:count]),
        duration_seconds=None if edges is None or not count else float(edges[count]),
        is_ordered=is_ordered,
    )


def _edges(
    pts: Sequence[int | None],
    time_base: Fraction,
    average_rate: Fraction | None,
    durations: Mapping[int, int],
) -> list[Fraction] | None:
    """Start of each frame in display order, counted from the first, then the end of the last."""
    known = sorted(tick for tick in pts if tick is not None)
    steps = [later - earlier for earlier, later in pairwise(known) if later > earlier]
    own = durations.get(known[-1]) if known else None
    last = own or (median_low(steps) if steps else None)
    if len(known) == len(pts) and last and (steps or len(known) == 1):
        return [(tick - known[0]) * time_base for tick in (*known, known[-1] + last)]
    if not average_rate:
        return None
    return [index / average_rate for index in range(len(pts) + 1)]
