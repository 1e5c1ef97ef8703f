from fractions import Fraction

import pytest

from vidtldr.video.timeline import build_timeline, num_within

_TICK = Fraction(1, 25)


def test_a_constant_rate_gives_even_times() -> None:
    timeline = build_timeline([0, 1, 2, 3], _TICK, Fraction(25), reorders=True)
    assert timeline.order == (0, 1, 2, 3)
    assert timeline.times == (0, _TICK, 2 * _TICK, 3 * _TICK)
    assert timeline.duration_seconds == 0.16
    assert timeline.is_ordered


def test_timestamps_decide_only_where_the_codec_knows_no_order() -> None:
    intra = build_timeline([0, 3, 1, 2], _TICK, None, reorders=False)
    assert intra.order == (0, 2, 3, 1)
    assert intra.is_ordered
    inter = build_timeline([0, 3, 1, 2], _TICK, None, reorders=True)
    assert inter.order == (0, 1, 2, 3)
    assert not inter.is_ordered
    assert inter.times == (None,) * 4


def test_missing_timestamps_stay_missing() -> None:
    timeline = build_timeline([0, None, 2], _TICK, Fraction(25), reorders=True)
    assert timeline.times == (0, None, 2 * _TICK)
    assert timeline.duration_seconds == 0.12


def test_nothing_known_gives_no_duration() -> None:
    timeline = build_timeline([None, None], _TICK, None, reorders=True)
    assert timeline.duration_seconds is None


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30000, 1001), Fraction(12)])
@pytest.mark.parametrize("seconds", [0.5, 1.0, 2.5, 30])
def test_a_cut_keeps_floor_of_seconds_times_rate(rate: Fraction, seconds: float) -> None:
    times = [Fraction(9) + index / rate for index in range(1000)]
    assert num_within(times, None, seconds) == int(Fraction(seconds) * rate)
    assert num_within([None] * 1000, rate, seconds) == int(Fraction(seconds) * rate)


def test_a_cut_keeps_at_least_one_frame_and_at_most_all() -> None:
    assert num_within([Fraction(0), Fraction(5)], None, 0.1) == 1
    assert num_within([Fraction(0), Fraction(5)], None, 10) == 2
    assert num_within([Fraction(0)], None, 0.1) == 1
    assert num_within([], None, 1) == 0


def test_an_uneven_rate_is_cut_by_time() -> None:
    times = [Fraction(value) for value in (0, 1, 2, 9, 10)]
    assert num_within(times, None, 2) == 2
    assert num_within(times, None, 9) == 3


def test_a_cut_needs_times_or_a_rate() -> None:
    with pytest.raises(ValueError, match="neither timestamps nor a frame rate"):
        num_within([None, None], None, 1)
