from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidtldr.video.decode import read_clip
from vidtldr.video.view_sampling import SegmentSampling, dense_segments, uniform_segments

in_file = st.integers(1, 700)
num_frames = st.integers(1, 40)
num_segments = st.integers(1, 12)
strides = st.integers(1, 9)


def test_dense_segments_by_hand() -> None:
    # every 4th of 40 frames is 10 of them; 6 are left over: steps of 1.5, rounded down
    assert dense_segments(40, 4, 5, 4) == [
        [0, 4, 8, 12],
        [4, 8, 12, 16],
        [12, 16, 20, 24],
        [16, 20, 24, 28],
        [24, 28, 32, 36],
    ]
    assert dense_segments(40, 4, 1, 4) == [[12, 16, 20, 24]]


def test_dense_segments_of_a_short_file_are_all_alike() -> None:
    assert dense_segments(10, 5, 3, 4) == [[0, 4, 8, 8, 8]] * 3
    assert SegmentSampling(5, 3).num_repeats(10) == 2
    assert SegmentSampling(5, 3).num_repeats(17) == 0


def test_uniform_segments_by_hand() -> None:
    # parts of 5 frames: their starts, and their middles rounded down
    assert uniform_segments(20, 4, 2) == [[0, 5, 10, 15], [2, 7, 12, 17]]
    assert uniform_segments(3, 4, 2) == [[0, 0, 1, 2], [0, 1, 1, 2]]


@given(in_file, num_frames, st.integers(2, 12), strides)
def test_dense_segments_cut_a_list_of_every_fourth_frame_as_videomae(
    in_file: int, num_frames: int, num_segments: int, stride: int
) -> None:
    """The slow way: list the frames, lengthen the list, then slice it for each segment."""
    frames = [frame for frame in range(in_file) if frame % stride == 0]
    while len(frames) < num_frames:
        frames.append(frames[-1])
    step = max(1.0 * (len(frames) - num_frames) / (num_segments - 1), 0)
    expected = [frames[int(k * step) : int(k * step) + num_frames] for k in range(num_segments)]
    assert dense_segments(in_file, num_frames, num_segments, stride) == expected


@given(in_file, num_frames)
def test_two_uniform_segments_are_every_second_of_all_sorted_as_videomae(
    in_file: int, num_frames: int
) -> None:
    part = in_file / float(num_frames)
    middles = [int(part / 2.0 + part * i) for i in range(num_frames)]
    starts = [int(part * i) for i in range(num_frames)]
    both = sorted(middles + starts)
    assert uniform_segments(in_file, num_frames, 2) == [both[0::2], both[1::2]]


@given(in_file, num_frames, num_segments, strides, st.sampled_from(["dense", "uniform"]))
def test_segments_lie_in_the_file_and_never_fall(
    in_file: int, num_frames: int, num_segments: int, stride: int, policy: str
) -> None:
    sampling = SegmentSampling(num_frames, num_segments, policy, stride)  # type: ignore[arg-type]
    indices = sampling.indices(in_file)
    assert len(indices) == num_frames * num_segments
    for start in range(0, len(indices), num_frames):
        segment = indices[start : start + num_frames]
        assert segment == sorted(segment)
        assert 0 <= segment[0] <= segment[-1] < in_file


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"num_frames": 0}, ValueError, "num_frames must be at least 1, got 0"),
        ({"num_segments": 0}, ValueError, "num_segments must be at least 1, got 0"),
        ({"num_segments": 2.0}, TypeError, "num_segments must be an int, got 2.0"),
        ({"num_segments": 5000}, ValueError, "num_frames must be at most 16384, got 20000"),
        ({"stride": 0}, ValueError, "stride must be at least 1, got 0"),
        ({"policy": "middle"}, ValueError, "policy must be one of dense, uniform, got 'middle'"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        SegmentSampling(**{"num_frames": 4, "num_segments": 2, **arguments})


def test_a_clip_holds_the_frames_of_all_segments(b_frames: Path) -> None:
    sampling = SegmentSampling(4, 3, "dense", 4)
    clip = read_clip(b_frames, sampling)
    assert list(clip.indices) == sampling.indices(40)
    everything = read_clip(b_frames, SegmentSampling(40, 1, "uniform"))
    assert clip.frames.equal(everything.frames[list(clip.indices)])
