import pytest

from vidtldr.baselines.schedules import placements


def test_a_first_layer_that_is_repeated_counts_once() -> None:
    assert placements([3, 0, 3], 6) == [(3, 4, 5), (0, 1, 2)]


@pytest.mark.parametrize("first", [-1, 4])
def test_a_first_layer_must_leave_room_for_three(first: int) -> None:
    message = rf"`first_layers` must be in \[0, 3\] .* got {first}\. They count from 0"
    with pytest.raises(ValueError, match=message):
        placements([0, first], 6)
