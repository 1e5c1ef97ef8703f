from dataclasses import replace

import pytest
from support.tiny_world_model import tiny_world_model

from vidtldr.baselines.schedules import PAPER
from vidtldr.bench.preset_choice import choose_preset
from vidtldr.bench.quality import QualityOptions
from vidtldr.config import SCORES
from vidtldr.measure.result_store import ResultStore

OPTIONS = QualityOptions(num_clips=6, seeds=(0, 1), split="validation", batch_size=8)


@pytest.mark.slow
def test_the_best_on_validation_clips_is_chosen() -> None:
    sets = ((0, 1), (3, 4), (1, 2))
    choice = choose_preset(tiny_world_model(), OPTIONS, ResultStore(), 0.6, layer_sets=sets)
    # layers 3 and 4 cannot save so much, nor 1 and 2 where a score costs an MLP more
    assert len(choice.grid) == 2 * len(SCORES) - 1
    for rows in (choice.grid, choice.finalists):
        merits = [
            sum(row.measures[name].mean for name in ("r1", "answering", "labels"))
            for row in rows
            if row.measures is not None
        ]
        assert len(merits) == len(rows)
        assert merits == sorted(merits, reverse=True)
        assert all(row.timing is None for row in rows)
    assert all(len(row.measures["r1"].values) == 1 for row in choice.grid if row.measures)
    assert all(len(row.measures["r1"].values) == 2 for row in choice.finalists if row.measures)
    settings = [row.setting for row in choice.finalists if row.setting and row.method != PAPER]
    assert {"kind": "merging", **choice.config.to_dict()} == settings[0]
    assert {setting["metric"] for setting in settings} == {"x", "keys"}
    assert PAPER in {row.method for row in choice.finalists}
    assert all(row.flop_ratio is not None and row.flop_ratio <= 0.6 for row in choice.finalists)


def test_test_clips_choose_nothing() -> None:
    with pytest.raises(ValueError, match="split must be 'validation' where something is chosen"):
        choose_preset(tiny_world_model(), replace(OPTIONS, split="test"), ResultStore(), 0.6)


def test_layers_that_save_too_little_are_refused() -> None:
    with pytest.raises(ValueError, match=r"layer_sets must reach a FLOP ratio of 0.6, got \[\(4,"):
        choose_preset(tiny_world_model(), OPTIONS, ResultStore(), 0.6, layer_sets=((4,),))
