from itertools import pairwise

import pytest

from vidtldr.budget.latency import Curve, LatencyModel, r_for_speedup


def model(**curves: Curve) -> LatencyModel:
    """Attention costs n squared, the rest n; scores and mass cost more."""
    places = range(0, 101, 5)
    square = Curve.fit({n: n * n / 100 for n in places})
    line = Curve.fit({n: float(n) for n in places})
    scored = Curve.fit({n: n * n / 80 for n in places})
    parts = {"attention": square, "weighed": square, "scored": scored, "merging": line, "mlp": line}
    sizes = {"num_layers": 4, "num_tokens": 100, "num_prefix_tokens": 0, "around": 7.0}
    return LatencyModel(**(parts | curves), **sizes)


def test_a_curve_passes_through_what_rises_and_shares_the_mean_of_what_falls() -> None:
    assert Curve.fit({20: 5.0, 10: 1.0, 30: 3.0, 40: 9.0}).seconds == (1, 4, 4, 9)
    assert Curve.fit({1: 3.0, 2: 2.0, 3: 1.0}).seconds == (2, 2, 2)
    assert Curve.fit({1: 1.0, 2: 1.0, 3: 2.0}).seconds == (1, 1, 2)


def test_a_curve_is_straight_between_its_points_and_level_outside() -> None:
    curve = Curve.fit({10: 1.0, 20: 3.0})
    assert [curve.at(n) for n in (1, 10, 15, 20, 99)] == [1, 1, 2, 3, 3]


def test_a_curve_never_falls_whatever_was_measured() -> None:
    noisy = Curve.fit({n: (n * 7919 % 31) / 10 + n / 20 for n in range(1, 60, 4)})
    assert all(a <= b for a, b in pairwise(noisy.at(n) for n in range(70)))


def test_seconds_of_a_schedule_worked_by_hand() -> None:
    assert model().seconds() == pytest.approx(7 + 4 * (100 + 100))
    # 100 plain, mlp on 100; 100 scored (125) and merged (100), mlp on 60; twice 60 with mass.
    expected = 7 + 100 + 100 + 125 + 100 + 60 + 2 * (36 + 60)
    assert model(weighed=Curve.fit({0: 36.0})).seconds([0, 40]) == pytest.approx(expected)


@pytest.mark.parametrize("speedup", [1, 1.1, 1.3, 1.5])
def test_the_schedule_meets_the_speedup_and_one_token_less_does_not(speedup: float) -> None:
    found = r_for_speedup(model(), speedup, (0, 1))
    assert model().speedup(found) >= speedup
    if any(found):
        last = max(layer for layer, r in enumerate(found) if r)
        less = [r - (layer == last) for layer, r in enumerate(found)]
        assert model().speedup(less) < speedup


def test_more_speed_removes_no_fewer_tokens() -> None:
    removed = [sum(r_for_speedup(model(), 1 + step / 10, (0, 1))) for step in range(6)]
    assert removed == sorted(removed)
    assert removed[0] == 0


def test_what_cannot_be_met_names_the_most_that_can() -> None:
    most = model().speedup([50, 25])
    message = (
        rf"`speedup` must be at most {int(most * 1000) / 1000} where layers 0, 1 merge .* got 9"
    )
    with pytest.raises(ValueError, match=message):
        r_for_speedup(model(), 9, (0, 1))
