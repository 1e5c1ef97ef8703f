from dataclasses import replace

import pytest
from bench.tiny_world_model import tiny_world_model

from vidtldr.bench.preset_choice import CHOICES, choose_preset
from vidtldr.bench.quality import QualityOptions
from vidtldr.bench.result_store import ResultStore

OPTIONS = QualityOptions(num_clips=8, seeds=(0,), split="validation", batch_size=8)


def test_the_best_on_validation_clips_is_chosen() -> None:
    store = ResultStore()
    choice = choose_preset(tiny_world_model(), OPTIONS, store, layer_sets=((0, 1), (3, 4), (1, 2)))
    grid = [row for row in choice.rows if row.budget == 0.6]
    merits = [
        tuple(row.measures[name].mean for name in ("r1", "answering", "labels"))
        for row in grid
        if row.measures is not None
    ]
    # layers 3 and 4 cannot save so much, nor can 1 and 2 where the score costs a second MLP
    assert len(grid) == len(merits) == 2 * len(CHOICES) - 1
    assert merits == sorted(merits, reverse=True)
    assert choice.config.flop_ratio == 0.6
    assert choice.config.r is None
    assert choice.config.layers == grid[0].layers
    assert grid[0].setting is not None
    assert choice.config.score == grid[0].setting["score"]
    others = [row for row in choice.rows if row.budget != 0.6]
    assert {row.budget for row in others} == {0.7, 0.5}
    assert ("vid-TLDR", (0, 1, 2)) in {(row.method, row.layers) for row in others}
    assert len(others) == 2 * 6
    assert all(row.timing is None for row in choice.rows)


def test_test_clips_choose_nothing() -> None:
    with pytest.raises(ValueError, match="split must be 'validation' where something is chosen"):
        choose_preset(tiny_world_model(), replace(OPTIONS, split="test"), ResultStore())


def test_layers_that_save_too_little_are_refused() -> None:
    with pytest.raises(ValueError, match=r"layer_sets must reach a FLOP ratio of 0.6, got \[\(4,"):
        choose_preset(tiny_world_model(), OPTIONS, ResultStore(), layer_sets=((4,),))
