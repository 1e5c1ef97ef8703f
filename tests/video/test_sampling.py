import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidtldr.video.sampling import Sampling, dense_indices, middle_indices

counts = st.integers(1, 400)


def test_middle_of_ten_frames_by_hand() -> None:
    # edges 0 3 6 10: the middles of 0-2, 3-5 and 6-9
    assert middle_indices(10, 3) == [1, 4, 7]


def test_dense_of_twenty_frames_by_hand() -> None:
    # window 1 + 3 * 4 = 13 of 20 frames, 7 left over, 3 of them before
    assert dense_indices(20, 4, 4) == [3, 7, 11, 15]


def test_a_short_file_gives_every_frame_then_its_last() -> None:
    assert middle_indices(3, 5) == [0, 1, 2, 2, 2]
    assert dense_indices(6, 4, 4) == [0, 4, 5, 5]
    assert middle_indices(1, 2) == [0, 0]


@given(counts, counts)
def test_middle_indices_follow_the_authors_formula(in_file: int, num_frames: int) -> None:
    indices = middle_indices(in_file, num_frames)
    if in_file >= num_frames:
        edges = np.linspace(0, in_file, num_frames + 1).astype(int)
        assert indices == [(edges[i] + edges[i + 1] - 1) // 2 for i in range(num_frames)]
        assert len(set(indices)) == num_frames
    else:
        assert indices == [*range(in_file), *[in_file - 1] * (num_frames - in_file)]


@given(counts, counts, st.integers(1, 9), st.sampled_from(["middle", "dense"]))
def test_indices_lie_in_the_file_and_never_fall(
    in_file: int, num_frames: int, stride: int, policy: str
) -> None:
    sampling = Sampling(num_frames, policy, stride)  # type: ignore[arg-type]
    indices = sampling.indices(in_file)
    assert len(indices) == num_frames
    assert indices == sorted(indices)
    assert 0 <= indices[0] <= indices[-1] < in_file


@given(counts, counts, st.integers(1, 9))
def test_dense_windows_lie_in_the_centre(in_file: int, num_frames: int, stride: int) -> None:
    indices = dense_indices(in_file, num_frames, stride)
    if in_file > (num_frames - 1) * stride:
        assert np.diff(indices).tolist() == [stride] * (num_frames - 1)
        assert 0 <= (in_file - 1 - indices[-1]) - indices[0] <= 1
    else:
        assert indices == [min(i * stride, in_file - 1) for i in range(num_frames)]


@given(counts, counts, st.integers(1, 9))
def test_repeats_count_the_frames_that_the_file_lacks(
    in_file: int, num_frames: int, stride: int
) -> None:
    dense = Sampling(num_frames, "dense", stride)
    unclamped = [dense.indices(in_file)[0] + i * stride for i in range(num_frames)]
    assert dense.num_repeats(in_file) == sum(index >= in_file for index in unclamped)
    assert Sampling(num_frames).num_repeats(in_file) == max(0, num_frames - in_file)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: middle_indices(0, 4), "num_frames_in_file must be at least 1, got 0"),
        (lambda: middle_indices(4, 0), "num_frames must be at least 1, got 0"),
        (lambda: dense_indices(4, 4, 0), "stride must be at least 1, got 0"),
        (lambda: Sampling(0), "num_frames must be at least 1, got 0"),
        (lambda: Sampling(10**9), "num_frames must be at most 16384, got 1000000000"),
        (lambda: middle_indices(40, 10**9), "num_frames must be at most 16384"),
        (lambda: dense_indices(40, 10**9, 1), "num_frames must be at most 16384"),
        (lambda: Sampling(4, stride=-1), "stride must be at least 1, got -1"),
        (lambda: Sampling(4, "uniform"), "policy must be one of middle, dense, got 'uniform'"),
    ],
)
def test_wrong_values_are_named(wrong: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        wrong()  # type: ignore[operator]


@pytest.mark.parametrize("value", [4.0, True, "4", None])
def test_counts_must_be_whole_numbers(value: object) -> None:
    with pytest.raises(TypeError, match="num_frames must be an int"):
        Sampling(value)  # type: ignore[arg-type]
