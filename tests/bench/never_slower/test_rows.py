"""Every row, in the sizes of tests: what is measured and asked, never how long it took."""

import json
import math

import pytest
import torch

from vidtldr.bench.never_slower import attention_rows as attention_module
from vidtldr.bench.never_slower import gain as gain_module
from vidtldr.bench.never_slower.attention_rows import attention_rows, attention_target
from vidtldr.bench.never_slower.gain import gain_figures, pair_of
from vidtldr.bench.never_slower.model_rows import (
    bundled_rows,
    example_rows,
    umt_b_bfloat16_rows,
    umt_b_rows,
    videomae_384_rows,
    videomae_b_bfloat16_rows,
    videomae_b_rows,
    vit_rows,
)
from vidtldr.bench.never_slower.rows import ROWS
from vidtldr.bench.never_slower.sharp_rows import sharp_rows, sharp_sweep_rows
from vidtldr.bench.never_slower.workloads import bundled, sharpened, videomae_384, vit_like
from vidtldr.bench.row import Row, RowFunction, Settings
from vidtldr.bench.speed import validate_finite
from vidtldr.bundled import bundled_merge
from vidtldr.hosts.registry import find_host
from vidtldr.measure.timing import Timing

TINY = Settings(num_rounds=2, num_warmups=0, tiny=True)
ONE_ROW = (
    umt_b_rows,
    videomae_b_rows,
    umt_b_bfloat16_rows,
    videomae_b_bfloat16_rows,
    videomae_384_rows,
    example_rows,
)


@pytest.mark.parametrize("rows", ONE_ROW)
def test_a_model_is_measured_unmerged_and_merged(rows: RowFunction) -> None:
    (row,) = rows(TINY)
    is_whole(row)
    assert row.details["dtype"] == ("bfloat16" if "bfloat16" in row.name else "float32")
    assert row.details["drift"] > 0  # they are not the same model


def test_the_bundled_model_is_measured_at_one_clip_and_at_several() -> None:
    rows = list(bundled_rows(TINY))
    assert [row.details["batch"] for row in rows] == [1, 4, 8]
    assert rows[0].target is not None
    assert rows[0].target.at_least == 1.35


def test_the_bundled_model_is_the_one_of_the_package_with_its_own_merge() -> None:
    _, details = pair_of(bundled(False))
    flops = details["flops"]
    assert flops["unmerged"] / flops["merged"] == pytest.approx(1.67, abs=0.01)
    assert details["r"] == bundled_merge().r


def test_image_models_come_in_two_widths_two_sizes_and_two_batches() -> None:
    rows = list(vit_rows(TINY))
    assert len({row.name for row in rows}) == 8
    assert {row.target.at_least for row in rows if row.target} == {0.85, 0.93}
    assert {row.details["batch"] for row in rows} == {1, 8}


def test_image_models_have_the_tokens_that_they_are_named_by() -> None:
    with torch.device("meta"):
        host = find_host(vit_like(False, width=384, image_size=448).model)
    assert (host.num_tokens, host.num_prefix_tokens, len(host.blocks)) == (785, 1, 12)


def test_sharp_rows_compare_their_gain_with_that_of_flat_attention_on_one_thread() -> None:
    before = torch.get_num_threads()
    rows = [*sharp_rows(TINY), *sharp_sweep_rows(TINY)]
    assert torch.get_num_threads() == before
    assert [row.name for row in rows[:2]] == ["sharp-1", "sharp-12"]
    assert [row.name for row in rows[2:]] == [f"sharp-sweep-{x}" for x in (1, 3, 10, 30)]
    assert all(row.details["num_threads"] == 1 for row in rows)
    flat = rows[0].figures["gain_over_flat"]
    assert isinstance(flat, dict)
    assert flat["median"] == pytest.approx(1)
    assert len({row.workload for row in rows}) == len(rows)


def test_sharpening_multiplies_queries_and_keys_alone() -> None:
    flat, sharp = (videomae_384(True, sharpness=1).model for _ in range(2))
    sharpened(sharp, 12)
    pairs = zip(flat.named_parameters(), sharp.parameters(), strict=True)
    factors = {name: torch.equal(12 * a, b) for (name, a), b in pairs if a.dim() > 1}
    changed = {name for name, is_larger in factors.items() if is_larger}
    assert all(name.endswith(("query.weight", "key.weight")) for name in changed)
    assert len(changed) == 2 * 4


def test_attention_has_a_row_for_each_type_size_and_way() -> None:
    rows = list(attention_rows(TINY))
    assert len(rows) == len({row.name for row in rows}) == 2 * 2 * 2
    for row in rows:
        is_whole(row)
        assert set(row.details["times_ms"]) >= {"SDPA"}


@pytest.mark.parametrize(
    ("dtype", "score", "capability", "at_most"),
    [
        (torch.float32, None, "avx2", 1.1),
        (torch.float32, "sharpness", "amx", 1.3),
        (torch.bfloat16, None, "amx", 1.1),
        (torch.bfloat16, "sharpness", "amx", 1.8),
        (torch.bfloat16, "sharpness", "avx512-bf16", 1.8),
    ],
)
def test_what_is_asked_of_attention(
    dtype: torch.dtype, score: attention_module.AttentionScore, capability: str, at_most: float
) -> None:
    target = attention_target(dtype, score, capability)
    assert target is not None
    assert target.at_most == at_most


def test_nothing_is_asked_of_a_score_in_a_type_that_the_processor_only_imitates() -> None:
    assert attention_target(torch.bfloat16, "sharpness", "avx2") is None


def test_the_gain_is_that_of_pairs_and_is_set_against_the_flops() -> None:
    flops = {gain_module.UNMERGED: 30, gain_module.MERGED: 20}
    figures = gain_figures(Timing((4.0, 6.0, 9.0)), Timing((4.0, 3.0, 3.0)), flops)
    assert figures == {
        "gain": {"median": 2.0, "lowest": 1.0, "highest": 3.0},
        "flop_reduction": 1.5,
        "speedup_over_flop_reduction": {"median": 2 / 1.5, "lowest": 1 / 1.5, "highest": 2.0},
    }


def test_outputs_that_are_not_finite_are_an_error() -> None:
    with pytest.raises(FloatingPointError, match="the outputs of 'a model, merged' must be finite"):
        validate_finite("a model, merged", torch.tensor([1.0, math.nan]))


def test_every_group_has_a_name_of_its_own() -> None:
    assert len(set(ROWS.values())) == len(ROWS) == 14


def is_whole(row: Row) -> None:
    times = row.details["times_ms"]
    assert len(times) == 2
    assert all(len(measured) == TINY.num_rounds for measured in times.values())
    written = json.loads(json.dumps(row.to_dict()))
    assert written["is_met"] == row.is_met
    assert row.name
    assert row.workload in row.headline()
