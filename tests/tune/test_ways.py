from dataclasses import replace
from pathlib import Path

import pytest
from support.tiny_models import videomae
from support.umt_sets import retrieval_model, write_tokenizer

from vidtldr.baselines.baseline import RandomDropping
from vidtldr.config import MergeConfig
from vidtldr.hosts.registry import find_host
from vidtldr.tune.ways import (
    OPTIONS,
    Option,
    Way,
    first_ways,
    flop_ratio_of,
    lowest_flop_ratio,
    places,
    variants,
)

WAY = Way.of((0, 1), score="received")


def test_places_start_early_or_late_in_a_row_or_apart() -> None:
    in_a_row = ((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (3, 4, 5, 6, 7))
    apart = ((0, 2, 4), (1, 3, 5), (0, 2, 4, 6), (1, 3, 5, 7))
    assert places(12) == (*in_a_row, *apart, (0, 1, 2, 3, 4, 5), tuple(range(9)), (0,))
    assert places(4) == ((0,), (1,), (2,), (1, 2), (0, 2), (0, 1), (0, 1, 2))
    assert places(1) == ((0,),)
    assert len(first_ways(12)) == 7 * len(places(12))


@pytest.mark.parametrize("ratio", [0.9, 0.6])
def test_a_way_costs_what_a_budget_allows(ratio: float) -> None:
    model = videomae()
    setting = WAY.at(model, ratio)
    assert setting.config.score == "received"
    assert ratio - 0.05 < flop_ratio_of(model, setting) <= ratio
    assert flop_ratio_of(model, RandomDropping(())) == 1
    assert flop_ratio_of(model, RandomDropping(setting.config.r)) < ratio  # matches no pairs


@pytest.mark.parametrize("way", [WAY, replace(WAY, shares="6:2:1")])
def test_the_lowest_share_is_reached_and_no_lower_one(way: Way) -> None:
    model = videomae()
    lowest = lowest_flop_ratio(model, way)
    assert flop_ratio_of(model, way.at(model, lowest)) <= lowest
    with pytest.raises(ValueError, match="`flop_ratio` must be at least"):
        way.at(model, lowest - 0.002)


def test_variants_change_one_choice_each() -> None:
    host = find_host(videomae())
    keys, linkages, weightings, protections, poolings, shares = variants(WAY, host)
    assert keys == [WAY.varied(metric="keys")]
    assert linkages == [WAY.varied(linkage="ward")]
    assert [way.method.protect for way in protections] == [0.3, 1.0]
    assert {way.method.weighting for way in protections} == {"mass"}
    assert poolings == [WAY.varied(pooling="mass")] * (host.pooling_method is not None)
    assert {way.method.weighting for way in weightings} == {"saliency", "mask"}
    assert [way.shares for way in shares] == ["6:2:1"]
    # Without a score there is nothing to weigh by, and one layer shares with none.
    assert list(variants(Way.of((1,), score=None, metric="keys"), host))[:4] == [
        [Way.of((1,), score=None)],
        [],
        [],
        [],
    ]


def test_a_model_that_pools_by_tokens_or_by_mass_is_tried_with_the_other(tmp_path: Path) -> None:
    host = find_host(retrieval_model(write_tokenizer(tmp_path)))
    for way, other in (("tokens", "mass"), ("mass", "tokens")):
        changed = list(variants(WAY.varied(pooling=way), host))
        assert [WAY.varied(pooling=other)] in changed


def test_names_say_what_differs_from_plain_merging() -> None:
    assert WAY.name == "received"
    everything = WAY.varied(score=None, metric="keys", weighting="mask", pooling="mass")
    name = "no score, keys, mask, by mass, 6:2:1"
    assert replace(everything, shares="6:2:1").name == name


def test_a_choice_lists_first_what_the_paper_does() -> None:
    paper = MergeConfig(r=(), score="sharpness")
    for option in OPTIONS:
        assert option.values[0] == getattr(paper, option.field)
        assert len(set(option.values)) > 1


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.field)
def test_each_choice_reaches_the_setting_and_the_name(option: Option) -> None:
    value = option.values[-1]
    way = WAY.varied(**{option.field: value})
    assert getattr(way.at(videomae(), 0.9).config, option.field) == value
    assert way.name == f"received, {option.label.format(value)}"
