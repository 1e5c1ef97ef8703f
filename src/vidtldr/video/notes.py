"""Describe in plain words what was unusual about a video."""

from fractions import Fraction

from vidtldr.video.frames import Decoding, Scan, Seen
from vidtldr.video.timeline import Timeline
from vidtldr.video.view_sampling import AnySampling

__all__ = ["describe"]


def describe(
    scan: Scan,
    decoding: Decoding,
    timeline: Timeline,
    sampling: AnySampling,
    max_seconds: float | None = None,
) -> tuple[str, ...]:
    """List everything unusual that was found or done, one sentence each; empty for most files.

    Args:
        scan: The scan of the file's packets.
        decoding: The decoder's output.
        timeline: The frames that were sampled from.
        sampling: The requested sampling.
        max_seconds: The requested time limit.
    """
    notes = [
        _streams(scan),
        _hidden(scan),
        _damage(scan, decoding, timeline, max_seconds),
        _early_end(scan, timeline, max_seconds),
        _marked(decoding),
        _cut(decoding, timeline, max_seconds),
        _times(timeline),
        _repeats(len(timeline.order), sampling),
        _turning(decoding.seen.rotations),
        _sizes(decoding.seen),
        _pixels(scan.pixel_aspect),
        _hdr(decoding.seen),
        _interlaced(decoding.seen),
        _transparent(decoding.seen),
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


def _damage(scan: Scan, decoding: Decoding, timeline: Timeline, max_seconds: float | None) -> str:
    num_packets, found = len(scan.packet_pts), len(decoding.pts)
    promised = max(num_packets, _num_promised(scan, found, timeline))
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


def _num_promised(scan: Scan, found: int, timeline: Timeline) -> int:
    """The number of frames in the header; 0 if time is not lacking as it would be without some.

    AVI counts ticks, of which many may have no frame of their own.
    """
    promised = scan.num_frames_in_header - scan.num_hidden
    seconds, covered = scan.header_seconds, timeline.duration_seconds
    if promised > found and seconds and covered and covered / seconds > (1 + found / promised) / 2:
        return 0
    return promised


def _early_end(scan: Scan, timeline: Timeline, max_seconds: float | None) -> str:
    """Detect a truncated file, which gives no error, by its header."""
    covered = timeline.duration_seconds
    promised = scan.header_seconds or scan.longest_seconds
    if max_seconds is not None or promised is None or covered is None:
        return ""
    if promised - covered <= max(1.0, 0.1 * promised):
        return ""
    frames = f"its {len(timeline.order)} frames cover {covered:.1f} of the {promised:.1f} seconds"
    if scan.header_seconds is None:
        return f"{frames} of its longest stream: the sound is longer, or the file ends early"
    return f"the file ends early: {frames} in its header"


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


def _repeats(num_frames_in_file: int, sampling: AnySampling) -> str:
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


def _sizes(seen: Seen) -> str:
    if len(seen.sizes) < 2:
        return ""
    return f"frames of {len(seen.sizes)} sizes: all were scaled to the size of the first used"


def _pixels(aspect: Fraction | None) -> str:
    """Ignores aspects within 2 % of square: rounding (853x480, 426x320) is common and invisible."""
    if aspect is None or abs(aspect - 1) < Fraction(1, 50):
        return ""
    return f"pixels are not square ({aspect.numerator}:{aspect.denominator}): used as stored"


def _hdr(seen: Seen) -> str:
    if not seen.hdr:
        return ""
    return (
        f"HDR ({', '.join(sorted(seen.hdr))}): used without tone mapping, so its contrast and "
        "colours are weaker than on a screen"
    )


def _interlaced(seen: Seen) -> str:
    if not seen.num_interlaced:
        return ""
    return "interlaced: used without deinterlacing, so moving edges may look like combs"


def _transparent(seen: Seen) -> str:
    if not seen.num_transparent:
        return ""
    return "partly transparent: the colours stored under the transparency were used"
