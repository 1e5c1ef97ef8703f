import random
import statistics

import pytest

from vidtldr.bench.outcomes import Difference, Outcomes, paired_difference, write_outcomes

NUM_CLIPS = 37


def drawn(seed: int, chance: float) -> str:
    draw = random.Random(seed)
    return write_outcomes([draw.random() < chance] for _ in range(NUM_CLIPS))


def reference_difference(
    own: list[list[list[bool]]], other: list[list[list[bool]]]
) -> tuple[float, float]:
    """Per-clip means of both sides, seed by seed, and their standard error: the slow way."""
    changes = []
    for seed, peer in zip(own, other, strict=True):
        for clip in range(NUM_CLIPS):
            mine = statistics.fmean(direction[clip] for direction in seed)
            theirs = statistics.fmean(direction[clip] for direction in peer)
            changes.append(100 * (mine - theirs))
    return statistics.fmean(changes), statistics.stdev(changes) / len(changes) ** 0.5


def test_recall_is_paired_by_clip_over_all_seeds() -> None:
    own = [[drawn(1, 0.8), drawn(2, 0.9)], [drawn(3, 0.8), drawn(4, 0.9)]]
    other = [[drawn(5, 0.7), drawn(6, 0.7)], [drawn(7, 0.7), drawn(8, 0.7)]]
    found = paired_difference(Outcomes.read(own), Outcomes.read(other))
    hits = [
        [[[hit == "1" for hit in text.split(" ")] for text in seed] for seed in side]
        for side in (own, other)
    ]
    mean, standard_error = reference_difference(*hits)
    assert found.mean == pytest.approx(mean)
    assert found.standard_error == pytest.approx(standard_error)
    assert standard_error > 1


def test_questions_about_one_clip_stand_and_fall_together() -> None:
    own, other = Outcomes.read([["11 00 11  1"]]), Outcomes.read([["00 00 11  1"]])
    found = paired_difference(own, other)
    assert (own.percent, other.percent) == (pytest.approx(500 / 7), pytest.approx(300 / 7))
    assert found.mean == pytest.approx(200 / 7)
    # by hand: what is left of each clip asked anything is change - questions * mean
    left = [2 - 2 * 2 / 7, -2 * 2 / 7, -2 * 2 / 7, -2 / 7]
    expected = 100 / 7 * (sum(each**2 for each in left) * 4 / 3) ** 0.5
    assert found.standard_error == pytest.approx(expected)
    twice = paired_difference(Outcomes.read([["1 0 1"]] * 2), Outcomes.read([["0 0 1"]] * 2))
    doubled = paired_difference(
        Outcomes.read([["11 00 11"]] * 2), Outcomes.read([["00 00 11"]] * 2)
    )
    assert doubled == twice  # asked twice, a clip says no more than asked once


def test_several_strings_are_counted_clip_by_clip() -> None:
    both = Outcomes.read([["1 0 1", "01  1"]])
    assert both.num_right.tolist() == [2, 0, 2]
    assert both.num_asked.tolist() == [3, 1, 2]
    assert write_outcomes([[True], [], [False, True]]) == "1  01"


def test_equal_sides_do_not_differ_and_a_swap_changes_the_sign() -> None:
    own, other = Outcomes.read([[drawn(1, 0.8)]]), Outcomes.read([[drawn(2, 0.5)]])
    assert paired_difference(own, own) == Difference(0.0, 0.0)
    assert not Difference(0.0, 0.0).is_beyond_noise
    assert paired_difference(own, other) == -paired_difference(other, own)


def test_noise_is_two_standard_errors() -> None:
    assert not Difference(-1.0, 0.5).is_beyond_noise
    assert Difference(-1.01, 0.5).is_beyond_noise
    assert Difference(1.01, 0.5).is_beyond_noise


def test_of_one_clip_nothing_is_known() -> None:
    found = paired_difference(Outcomes.read([["1"]]), Outcomes.read([["0"]]))
    assert found == Difference(100.0, 100.0)
    assert not found.is_beyond_noise


def test_other_queries_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="outcomes must be of the same clips and queries, got"):
        paired_difference(Outcomes.read([["1 0"]]), Outcomes.read([["1 01"]]))
