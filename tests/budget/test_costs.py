import subprocess
import sys
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidtldr.budget.costs import (
    ForwardCosts,
    LayerCosts,
    default_layers,
    r_for_flop_ratio,
    r_for_num_tokens,
)

LAYER = LayerCosts(
    attention_per_token=80,
    attention_per_pair=4,
    mlp_per_token=160,
    match_per_pair=2,
    score_per_token=7,
)
SMALL = ForwardCosts((LAYER,) * 5, num_tokens=33, num_prefix_tokens=1, constant=999)


def test_a_forward_worked_by_hand() -> None:
    costs = ForwardCosts((LAYER,) * 3, 6, 1, constant=900, per_final_token=10, per_place=20)
    unmerged = 3 * (6 * 80 + 36 * 4 + 6 * 160)
    assert costs.flops() == costs.flops([0, 0, 0]) == 1000 + unmerged + 60
    # Layer 1 merges two of its five (3 sources, 2 destinations), layer 2 one of three (2 and 1).
    first = 6 * 80 + 36 * 4 + 6 * 160
    second = 6 * 80 + 36 * 4 + 3 * 2 * 2 + 6 * 7 + 4 * 160
    third = 4 * 80 + 16 * 4 + 2 * 1 * 2 + 4 * 7 + 3 * 160
    assert costs.flops([0, 2, 1]) == 1000 + first + second + third + 3 * 10
    assert costs.flops_per_layer([0, 2, 1]) == [first, second, third]
    with pytest.raises(ValueError, match="zip"):
        costs.flops([0, 0, 0, 1])


def reference_flops(costs: ForwardCosts, r: tuple[int, ...]) -> int:
    """A multiply-accumulate at a time where that is slow enough: pairs are counted one by one."""
    tokens, total = costs.num_tokens, costs.constant
    total += sum(costs.per_place for _ in range(costs.num_prefix_tokens, tokens))
    for layer, cost in enumerate(costs.layers):
        removed = r[layer] if layer < len(r) else 0
        for _query in range(tokens):
            total += cost.attention_per_token
            for _key in range(tokens):
                total += cost.attention_per_pair
        if removed:
            places = range(costs.num_prefix_tokens, tokens)
            for _source in places[0::2]:
                for _destination in places[1::2]:
                    total += cost.match_per_pair
            total += sum(cost.score_per_token for _ in range(tokens))
        tokens -= removed
        total += sum(cost.mlp_per_token for _ in range(tokens))
    return total + sum(costs.per_final_token for _ in range(tokens))


layer_costs = st.builds(
    LayerCosts,
    attention_per_token=st.integers(1, 300),
    attention_per_pair=st.integers(1, 30),
    mlp_per_token=st.integers(1, 300),
    match_per_pair=st.integers(0, 20),
    score_per_token=st.integers(0, 300),
)
forward_costs = st.builds(
    ForwardCosts,
    layers=st.lists(layer_costs, min_size=1, max_size=5).map(tuple),
    num_tokens=st.integers(3, 24),
    num_prefix_tokens=st.integers(0, 2),
    constant=st.integers(0, 10_000),
    per_final_token=st.integers(0, 100),
    per_place=st.integers(0, 100),
)


@settings(deadline=None)
@given(costs=forward_costs, data=st.data())
def test_flops_equal_the_count_one_by_one(costs: ForwardCosts, data: st.DataObject) -> None:
    tokens, r = costs.num_tokens - costs.num_prefix_tokens, []
    for _ in costs.layers:
        r.append(data.draw(st.integers(0, tokens // 2)))
        tokens -= r[-1]
    assert costs.flops(r) == reference_flops(costs, tuple(r))


def subsets(num_layers: int) -> st.SearchStrategy[tuple[int, ...]]:
    return st.sets(st.integers(0, num_layers - 1), min_size=1).map(lambda s: tuple(sorted(s)))


@settings(deadline=None, max_examples=200)
@given(costs=forward_costs, flop_ratio=st.floats(0.01, 1), data=st.data())
def test_a_budget_of_flops_is_met_or_the_lowest_is_named(
    costs: ForwardCosts, flop_ratio: float, data: st.DataObject
) -> None:
    layers = data.draw(subsets(len(costs.layers)))
    try:
        r = r_for_flop_ratio(costs, flop_ratio, layers)
    except ValueError as error:
        lowest = float(str(error).split("at least ")[1].split()[0])
        assert flop_ratio < lowest
        r, flop_ratio = r_for_flop_ratio(costs, lowest, layers), lowest
    assert_valid(r, costs.num_tokens - costs.num_prefix_tokens, layers)
    assert costs.flops(r) / costs.flops() <= flop_ratio
    for layer in layers:  # no layer could keep one more
        if r[layer]:
            more = (*r[:layer], r[layer] - 1, *r[layer + 1 :])
            assert costs.flops(more) / costs.flops() > flop_ratio


def assert_valid(r: tuple[int, ...], mergeable: int, layers: tuple[int, ...]) -> None:
    for layer, removed in enumerate(r):
        assert 0 <= removed <= mergeable // 2
        assert removed == 0 or layer in layers
        mergeable -= removed


@pytest.mark.parametrize("layers", [(0,), (1, 2), (0, 1, 2), (0, 2, 4)])
def test_the_lowest_share_is_what_no_schedule_undercuts(layers: tuple[int, ...]) -> None:
    """Against every schedule there is."""
    with pytest.raises(ValueError, match="`flop_ratio` must be at least") as caught:
        r_for_flop_ratio(SMALL, 0.01, layers)
    named = float(str(caught.value).split("at least ")[1].split()[0])
    choices = [range(17) if layer in layers else (0,) for layer in range(5)]
    fitting = [r for r in product(*choices) if _fits(r)]
    best = min(SMALL.flops(r) for r in fitting) / SMALL.flops()
    assert named - 0.001 <= best <= named


def _fits(r: tuple[int, ...]) -> bool:
    tokens = 32
    for removed in r:
        if removed > tokens // 2:
            return False
        tokens -= removed
    return True


@pytest.mark.parametrize("mergeable", range(1, 42))
@pytest.mark.parametrize("layers", [(0,), (3,), (0, 1, 2), (1, 2, 4, 5)])
def test_every_number_of_tokens_is_met_exactly_or_refused(
    mergeable: int, layers: tuple[int, ...]
) -> None:
    lowest = mergeable
    for _ in layers:
        lowest -= lowest // 2
    for kept in range(lowest, mergeable + 1):
        r = r_for_num_tokens(mergeable, kept + 2, layers, num_prefix_tokens=2)
        assert_valid(r, mergeable, layers)
        assert mergeable - sum(r) == kept
    for wrong in (lowest - 1, mergeable + 1):
        message = rf"`num_tokens` must be in \[{lowest + 2}, {mergeable + 2}\] where layers? .* got"
        with pytest.raises(ValueError, match=f"{message} {wrong + 2}. Change it, or let more"):
            r_for_num_tokens(mergeable, wrong + 2, layers, num_prefix_tokens=2)


def test_layers_remove_the_same_share() -> None:
    r = r_for_num_tokens(2352, 1452, (0, 1, 2))
    assert sum(r) == 900
    tokens = 2352
    shares = []
    for removed in r:
        shares.append(removed / tokens)
        tokens -= removed
    assert max(shares) - min(shares) < 0.002


def test_nothing_is_removed_where_nothing_is_to_be_saved() -> None:
    assert r_for_flop_ratio(SMALL, 1.0, (0, 1)) == (0, 0)
    assert r_for_num_tokens(32, 33, (0, 1), num_prefix_tokens=1) == (0, 0)


def test_matching_that_costs_more_than_it_saves_is_not_taken_for_a_saving() -> None:
    """One token saves little and its matching costs much: a small saving needs many tokens."""
    layer = LayerCosts(10, 1, 10, match_per_pair=2)
    costs = ForwardCosts((layer, layer), 32, 0)
    assert costs.flops([1]) > costs.flops()
    r = r_for_flop_ratio(costs, 0.999, (0,))
    assert costs.flops(r) < costs.flops()
    expensive = ForwardCosts((LayerCosts(10, 1, 10, match_per_pair=1000),), 32, 0)
    with pytest.raises(ValueError, match=r"`flop_ratio` must be at least 1.0 where layer 0 merges"):
        r_for_flop_ratio(expensive, 0.999, (0,))


@pytest.mark.parametrize(("num_layers", "layers"), [(1, 1), (4, 1), (5, 2), (12, 3), (24, 6)])
def test_the_first_quarter_of_the_layers_merges(num_layers: int, layers: int) -> None:
    assert default_layers(num_layers) == tuple(range(layers))


def test_the_arithmetic_needs_no_torch() -> None:
    code = "import sys, vidtldr.budget.costs; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
