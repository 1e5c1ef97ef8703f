"""What was unusual about a video, in plain words."""

from fractions import Fraction

from vidtldr.video.frames import Decoding, Scan
from vidtldr.video.sampling import Sampling
from vidtldr.video.timeline import Timeline

__all__ = ["describe"]


def describe(
    scan: Scan,
    decoding: Decoding,
    timeline: Timeline,
    sampling: Sampling,
    max_seconds: float | None = None,
) -> tuple[str, ...]:
    """List everything unusual that was found or done, a sentence each; empty for most files.

    Args:
        scan: What the file says of itself.
        decoding: What came out of it.
        timeline: The frames that were sampled from.
        sampling: What was asked for.
        max_seconds: The cut that was asked for.
    """
    notes = [
        _streams(scan),
        _hidden(scan),
        _damage(scan, decoding, max_seconds),
        _early_end(scan, timeline, max_seconds),
        _marked(decoding),
        _cut(decoding, timeline, max_seconds),
        _times(timeline),
        _repeats(len(timeline.order), sampling),
        _turning(decoding.rotations),
        _sizes(decoding),
        _pixels(scan.pixel_aspect),
    ]
    return tuple(note for note in notes if note)


def _streams(scan: Scan) -> str:
    if scan.num_video_streams < 2:
        return ""
    width, height = scan.stream_size
    return (
        f"{scan.num_video_streams} video streams: stream {scan.stream_index} "
        f"({width}x{height}), the best by FFmpeg's rule, was used"
    )


def _hidden(scan: Scan) -> str:
    if not scan.num_hidden:
        return ""
    return f"the file hides {scan.num_hidden} frames (edit list): they were left out"


def _damage(scan: Scan, decoding: Decoding, max_seconds: float | None) -> str:
    num_packets, found = len(scan.packet_pts), len(decoding.pts)
    promised = max(num_packets, scan.num_frames_in_header - scan.num_hidden)
    share = f"{found} of {promised} frames could be decoded"
    if decoding.breaks_off:
        return "the file breaks off" if max_seconds is not None else f"the file breaks off: {share}"
    if decoding.num_errors:
        start = f"damaged after frame {decoding.first_error_at}"
        return start if max_seconds is not None else f"{start}: {share}"
    if max_seconds is not None or found == promised:
        return ""
    if num_packets < promised:
        return f"the header counts {promised} frames: {share}"
    return f"{num_packets} packets gave {found} frames"


def _early_end(scan: Scan, timeline: Timeline, max_seconds: float | None) -> str:
    """A file cut in the middle gives no error; its header gives it away. Sound may be longer."""
    promised, covered = scan.header_seconds, timeline.duration_seconds
    if max_seconds is not None or promised is None or covered is None:
        return ""
    if promised - covered <= max(1.0, 0.1 * promised):
        return ""
    return (
        f"the file ends early: its {len(timeline.order)} frames cover {covered:.1f} of the "
        f"{promised:.1f} seconds in its header"
    )


def _marked(decoding: Decoding) -> str:
    if not decoding.num_damaged:
        return ""
    return f"marked as damaged: {decoding.num_damaged} of the frames; FFmpeg filled the gaps"


def _cut(decoding: Decoding, timeline: Timeline, max_seconds: float | None) -> str:
    if max_seconds is None or len(timeline.order) == len(decoding.pts):
        return ""
    return f"only the first {max_seconds:g} seconds were used: {len(timeline.order)} frames"


def _times(timeline: Timeline) -> str:
    if timeline.is_ordered:
        return ""
    return "the timestamps contradict the order of the frames: the decoder's order was used"


def _repeats(num_frames_in_file: int, sampling: Sampling) -> str:
    repeats = sampling.num_repeats(num_frames_in_file)
    if not repeats:
        return ""
    return f"too short, with {num_frames_in_file} in all: last frame repeated {repeats} times"


def _turning(rotations: set[int]) -> str:
    turns = ", ".join(f"{-angle % 360}" for angle in sorted(rotations) if angle)
    if not turns:
        return ""
    rounded = " (rounded to quarter turns)" if any(angle % 90 for angle in rotations) else ""
    return f"turned clockwise by {turns} degrees, as the file asks{rounded}"


def _sizes(decoding: Decoding) -> str:
    if len(decoding.sizes) < 2:
        return ""
    return f"frames of {len(decoding.sizes)} sizes: all were scaled to the size of the first used"


def _pixels(aspect: Fraction | None) -> str:
    """Some rounding of 853x480 or 426x320 is in half of all files: below 2 % nobody sees it."""
    if aspect is None or abs(aspect - 1) < Fraction(1, 50):
        return ""
    return f"pixels are not square ({aspect.numerator}:{aspect.denominator}): used as stored"
