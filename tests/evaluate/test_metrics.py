import math
import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vidtldr.evaluate.metrics import accuracy, best_ranks, recall, retrieval_metrics


def oracle_ranks(scores, right):
    """Sort every query's candidates: better first, equal ones as they come."""
    ranks = []
    for row, answers in zip(scores, right, strict=True):
        order = sorted(range(len(row)), key=lambda c: -row[c])
        places = [place for place, c in enumerate(order, start=1) if c in answers]
        lost = all(row[c] == -math.inf for c in answers)
        ranks.append(math.inf if lost else min(places))
    return ranks


@st.composite
def scored(draw):
    num_queries, num_candidates = draw(st.integers(1, 8)), draw(st.integers(1, 12))
    score = st.sampled_from([-math.inf, -100.0, -1.0, 0.0, 0.5, 2.0])
    row = st.lists(score, min_size=num_candidates, max_size=num_candidates)
    answers = st.sets(st.integers(0, num_candidates - 1), min_size=1)
    scores = draw(st.lists(row, min_size=num_queries, max_size=num_queries))
    right = draw(st.lists(answers, min_size=num_queries, max_size=num_queries))
    return scores, [sorted(each) for each in right]


@given(scored())
def test_ranks_equal_the_sorted_ones(case):
    scores, right = case
    assert best_ranks(torch.tensor(scores), right) == oracle_ranks(scores, right)


@given(scored(), st.randoms())
def test_the_order_of_candidates_does_not_matter_where_all_scores_differ(case, rng):
    scores, right = case
    scores = [[score + 0.01 * c for c, score in enumerate(row)] for row in scores]
    order = list(range(len(scores[0])))
    rng.shuffle(order)
    shuffled = [[row[c] for c in order] for row in scores]
    moved = [[order.index(c) for c in answers] for answers in right]
    assert best_ranks(torch.tensor(shuffled), moved) == best_ranks(torch.tensor(scores), right)


@given(scored())
def test_a_better_score_of_a_right_answer_never_hurts(case):
    scores, right = case
    before = best_ranks(torch.tensor(scores), right)
    better = torch.tensor(scores)
    for query, answers in enumerate(right):
        better[query, answers[0]] = better[query, answers[0]].clamp(min=-1000) + 1
    assert all(b <= a for a, b in zip(before, best_ranks(better, right), strict=True))


def test_a_case_by_hand():
    scores = torch.tensor([[0.9, 0.1, 0.5], [0.9, 0.9, 0.1], [-math.inf, 0.3, 0.2]])
    assert best_ranks(scores, [[0], [1], [0]]) == [1, 2, math.inf]
    assert best_ranks(scores, [[2, 1], [2, 1], [0, 2]]) == [2, 2, 2]


def test_a_model_that_cannot_tell_candidates_apart_is_as_good_as_chance():
    assert recall(best_ranks(torch.zeros(20, 20), [[i] for i in range(20)])).r1 == 5


def test_recall_by_hand():
    found = recall([1, 1, 3, 7, 11, math.inf, math.inf, 2])
    assert found.r1 == 25
    assert found.r5 == 50
    assert found.r10 == 62.5
    assert found.mean_recall == pytest.approx((25 + 50 + 62.5) / 3)
    assert found.median_rank == 5
    assert (found.num_queries, found.num_lost) == (8, 2)


def test_a_lost_query_is_a_miss_however_few_candidates_there_are():
    found = recall([math.inf, 1])
    assert (found.r1, found.r5, found.r10) == (50, 50, 50)
    assert found.median_rank is None


def test_both_directions_are_averaged():
    ranks = [random.Random(0).randint(1, 12) for _ in range(30)]
    one, other = recall(ranks), recall([1.0, 6.0])
    both = retrieval_metrics(text_to_video=one, video_to_text=other)
    assert both.mean_r1 == (one.r1 + 50) / 2
    assert both.mean_r5 == (one.r5 + 50) / 2
    assert both.mean_r10 == (one.r10 + 100) / 2


def test_accuracy_is_a_percentage():
    assert accuracy([True, False, False, True]) == 50


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: best_ranks(torch.zeros(2, 3), [[0]]), "answer for each of 2 queries, got 1"),
        (lambda: best_ranks(torch.zeros(2, 3), [[0], []]), "got 2 lists and an empty one"),
        (lambda: best_ranks(torch.full((1, 2), math.nan), [[0]]), "scores must be numbers"),
        (lambda: recall([]), "ranks must be of at least one query"),
        (lambda: accuracy([]), "answers must be at least one"),
    ],
)
def test_what_has_no_number_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
