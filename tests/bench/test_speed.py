"""Variants, settings and rooflines on tiny models; nothing here depends on how fast anything is."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny_models import clips, videomae
from support.tiny_umt import TINY, spread_weights
from torch import nn
from torch._inductor.exc import InductorError

from vidtldr.baselines.materialised import eager_twin, materialised_twin, two_maps
from vidtldr.bench import speed
from vidtldr.bench.resident import MemoryRow, peak_in_fresh_process
from vidtldr.bench.roofline import count_bytes, measure_ceilings
from vidtldr.bench.scaling import SIDES, measure_scaling
from vidtldr.bench.speed import Setting, measure_setting
from vidtldr.bench.speed_plot import latency_plot, memory_plot
from vidtldr.bench.speed_variants import SpeedVariant, choose_variants, speed_variants
from vidtldr.bench.subject import BUILT_IN, build_subject, scaled_schedule
from vidtldr.config import MergeConfig
from vidtldr.measure.timing import Timing
from vidtldr.models.umt import build_vision_encoder
from vidtldr.ops.attention import attend
from vidtldr.patch.twin import merged_twin, twin
from vidtldr.visualize.plot import NARROW_INCHES, WIDE_INCHES

CPU = torch.device("cpu")
CONFIG = MergeConfig(r=[0, 9, 5], score="sharpness")
SETTING = Setting(2, "float32", 6, 32)


def outputs(model: nn.Module) -> torch.Tensor:
    return speed.forward_of(model, clips())()


def test_two_maps_are_the_reference_of_attend() -> None:
    q, k, v = torch.randn(3, 2, 3, 11, 8)
    mass = 1 + torch.rand(2, 11)
    found = two_maps(q, k, v, scale=0.3, mass=mass, with_score=True)
    truth = attend(q, k, v, scale=0.3, mass=mass, score="sharpness", impl="reference")
    torch.testing.assert_close(found.x, truth.x)
    torch.testing.assert_close(found.score, truth.score)
    assert two_maps(q, k, v, scale=0.3, mass=None, with_score=False).score is None


def test_models_that_store_maps_have_the_outputs_of_those_that_do_not() -> None:
    model = videomae()
    torch.testing.assert_close(outputs(eager_twin(model)), outputs(model), rtol=0, atol=1e-4)
    merged = outputs(merged_twin(model, CONFIG))
    materialised = outputs(materialised_twin(model, CONFIG))
    torch.testing.assert_close(materialised, merged, rtol=0, atol=1e-4)
    assert torch.equal(outputs(twin(model)), outputs(model))


def test_maps_are_stored_and_tokens_pooled_by_mass() -> None:
    encoder = spread_weights(build_vision_encoder(TINY), seed=0)
    size = encoder.config.image_size
    x = torch.randn(2, encoder.config.num_frames, 3, size, size)
    config = MergeConfig(r=[3, 2], pooling="mass")
    found = speed.forward_of(materialised_twin(encoder, config), x)()
    expected = speed.forward_of(merged_twin(encoder, config), x)()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_a_variant_is_named_once_and_brings_what_it_is_compared_with() -> None:
    names = [variant.name for variant in choose_variants(CONFIG, None)]
    assert names[:3] == ["unmerged", "unmerged, eager", "merged"]
    assert "merged by sharpness" not in names  # that is merged itself
    assert {"merged by received", "merged by nothing", "ToMe", "materialised"} <= set(names)
    compiled = {variant.name for variant in choose_variants(CONFIG, None, with_compiled=True)}
    assert compiled - set(names) == {"unmerged, compiled", "merged, compiled"}
    few = [variant.name for variant in choose_variants(CONFIG, ["materialised"])]
    assert few == ["unmerged", "merged", "materialised"]
    tome = MergeConfig(r=[9], score=None, metric="keys")
    assert "ToMe" not in speed_variants(tome)
    assert speed_variants(tome)["materialised"].reference == "merged by sharpness"
    spared = MergeConfig(r=[9], score="sharpness", spare_norms=4)  # the authors' code spares none
    assert speed_variants(spared)["materialised"].reference == "merged by sharpness"


def test_what_is_drawn_by_chance_is_compared_with_no_other_draw() -> None:
    variants = speed_variants(MergeConfig(r=[9], metric="random"))
    assert variants["merged, compiled"].reference is None
    assert speed_variants(CONFIG)["merged, compiled"].reference == "merged"


def test_an_unknown_peer_is_refused() -> None:
    with pytest.raises(ValueError, match=r"`baselines` must be among .*, got 'fast'\. Sep"):
        choose_variants(CONFIG, ["fast"])


def test_every_variant_is_measured_and_compared() -> None:
    model, steps = videomae(), []
    variants = choose_variants(CONFIG, None)
    rows = measure_setting(
        model, clips(), SETTING, variants, num_rounds=2, on_step=lambda: steps.append(1)
    )
    found = {row.variant: row for row in rows}
    assert len(steps) == len(variants) * 4
    assert all(len(row.times_ms) == 2 for row in rows)
    assert found["unmerged"].speedup == {"median": 1, "lowest": 1, "highest": 1}
    assert found["unmerged"].drift == 0
    assert found["merged"].drift > 0
    assert found["merged"].difference is None
    assert found["materialised"].difference < 1e-5
    assert found["merged"].flops < found["unmerged"].flops == found["unmerged, eager"].flops
    assert found["unmerged, eager"].moved_bytes > found["unmerged"].moved_bytes
    report = found["merged"].to_dict()
    assert report["clips_per_second"] == pytest.approx(2e3 / report["median_ms"])
    assert report["flops_per_second"] == pytest.approx(1e3 * report["flops"] / report["median_ms"])


def test_half_types_say_how_far_they_are_from_float32_and_leave_the_model_alone() -> None:
    model = videomae()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    variants = choose_variants(CONFIG, ["merged"])
    half = Setting(2, "bfloat16", 6, 32)
    rows = measure_setting(model, clips(), half, variants, num_rounds=1, num_warmups=0)
    assert all(0 < row.rounding < 1 for row in rows)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


class Wrong(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return torch.full((2, 7), self.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (float("nan"), r"outputs of 'wrong' must be finite, got NaN or inf\. Use float32\."),
        (1.0, r"outputs of 'wrong' must be those of 'unmerged' within 0\.001 .*, got "),
    ],
)
def test_wrong_outputs_are_not_timed(value: float, message: str) -> None:
    wrong = SpeedVariant("wrong", lambda _: Wrong(value), "unmerged")
    variants = [speed_variants(CONFIG)["unmerged"], wrong]
    with pytest.raises(FloatingPointError, match=message):
        measure_setting(videomae(), clips(), SETTING, variants, num_rounds=1)


class Uncompilable(nn.Module):
    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        raise InductorError(OSError("no such compiler"), None)


def test_a_compiler_that_does_not_work_is_said() -> None:
    broken = SpeedVariant("broken", lambda _: Uncompilable())
    variants = [speed_variants(CONFIG)["unmerged"], broken]
    with pytest.raises(ImportError, match=r"`compile` must find compilers .* no such compiler"):
        measure_setting(videomae(), clips(), SETTING, variants, num_rounds=1)


def test_bytes_of_a_product_worked_by_hand() -> None:
    a, b = torch.zeros(3, 5), torch.zeros(5, 7)
    assert count_bytes(lambda: a @ b) == 4 * (15 + 35 + 21)
    assert count_bytes(lambda: a.t().contiguous()[1:]) == 4 * (15 + 15)  # the copy alone
    one_row = torch.zeros(1, 5).expand(3, 5)
    assert count_bytes(lambda: a + one_row) == 4 * (15 + 5 + 15)  # not the rows that it stands for


def test_ceilings_are_rates_of_what_was_done(monkeypatch: pytest.MonkeyPatch) -> None:
    def timed(runs: Any, **_: Any) -> dict[str, Timing]:
        return {name: Timing((4.0, 2.0)) for name in runs}  # ms

    monkeypatch.setattr("vidtldr.bench.roofline.time_in_turn", timed)
    found = measure_ceilings(CPU, torch.float32, matrix_side=8, copied_bytes=64)
    assert found.flops_per_second == pytest.approx(2 * 8**3 / 2e-3)
    assert found.bytes_per_second == pytest.approx(2 * 64 / 2e-3)


def scaling(most_map_bytes: int, dtype: torch.dtype = torch.float32) -> list[Any]:
    return [
        row
        for num_tokens in (32, 64, 128)
        for row in measure_scaling(
            num_tokens,
            num_heads=2,
            channels=8,
            batch=1,
            device=CPU,
            dtype=dtype,
            num_rounds=1,
            most_map_bytes=most_map_bytes,
        )
    ]


def test_memory_of_a_scored_layer_grows_with_tokens_and_not_with_their_square() -> None:
    rows = {(row.side, row.num_tokens): row for row in scaling(2**30)}
    assert len(rows) == 3 * len(SIDES)
    peaks = [rows["mass, sharpness", count].peak_bytes for count in (64, 128)]
    assert peaks[1] <= 2.2 * peaks[0]
    stored = [rows["both maps stored", count].peak_bytes for count in (64, 128)]
    assert stored[1] > 3 * stored[0]


def test_maps_that_are_too_large_are_not_stored() -> None:
    rows = {(row.side, row.num_tokens): row for row in scaling(4 * 2 * 32**2 * 4)}
    assert rows["both maps stored", 32].times_ms
    assert rows["both maps stored", 64].to_dict()["median_ms"] is None
    assert rows["mass, sharpness", 64].times_ms


def test_the_average_in_float32_of_maps_of_half_types_needs_room_too() -> None:
    def fits(most_map_bytes: int) -> bool:
        rows = {(r.side, r.num_tokens): r for r in scaling(most_map_bytes, torch.bfloat16)}
        return bool(rows["both maps stored", 32].times_ms)

    num_pairs = 2 * 32**2
    assert not fits((4 * 2 + 3) * num_pairs)
    assert fits((4 * 2 + 4) * num_pairs)


def test_every_curve_is_drawn_and_named_at_any_width() -> None:
    pytest.importorskip("matplotlib")
    variants = choose_variants(CONFIG, ["unmerged"])
    rows = measure_setting(videomae(), clips(), SETTING, variants, num_rounds=1)
    plot = latency_plot(rows, {"float32": scaling(2**30)})
    for _, *panels in (plot.draw(WIDE_INCHES).axes, plot.draw(NARROW_INCHES).axes):
        assert len(panels) == 2
        for panel in panels:
            assert panel.get_legend_handles_labels()[1] == list(SIDES)
            assert len({line.get_color() for line in panel.lines}) == len(SIDES)


def test_memory_is_set_against_the_unmerged_models_of_the_same_round() -> None:
    row = MemoryRow("merged", SETTING, (3, 4, 8), (6, 4, 8))
    assert row.over_unmerged == {"median": 1, "lowest": 0.5, "highest": 1}
    found = row.to_dict()
    assert (found["ratio"], found["median_bytes"]) == (4 / 6, 4)
    assert (found["peaks_bytes"], found["spread_bytes"]) == ((3, 4, 8), (3, 8))
    nothing = MemoryRow("merged", SETTING, (3,), (0,))
    assert nothing.ratio is nothing.over_unmerged is None


def test_pictures_are_drawn(tmp_path: Path) -> None:
    variants = choose_variants(CONFIG, ["merged"])
    rows = measure_setting(videomae(), clips(), SETTING, variants, num_rounds=1)
    files = latency_plot(rows, {"float32": scaling(0)}).write(tmp_path / "latency")
    peaks = MemoryRow("unmerged", SETTING, (10**6, 2 * 10**6), (10**6, 2 * 10**6))
    files += memory_plot([peaks]).write(tmp_path / "memory.png")
    assert [file.suffix for file in files] == [".png", ".svg"] * 2
    assert all(file.stat().st_size > 1000 for file in files)


def test_built_in_models_are_the_same_every_time_and_leave_the_generator_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def build(num_frames: int, image_size: int) -> nn.Module:
        nn.init.normal_(torch.empty(3))  # as weights do that are drawn
        return videomae(num_frames=num_frames, image_size=image_size)

    tiny = dataclasses.replace(BUILT_IN["videomae-b"], build=build)
    monkeypatch.setitem(BUILT_IN, "tiny", tiny)
    before = torch.random.get_rng_state()
    small = [build_subject("tiny", 6, 32) for _ in range(2)]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert small[0].input_shape == (6, 3, 32, 32)
    assert small[0].r == (18, 6, 3)  # 600, 200 and 100 of 1568, of 48
    weights = [next(each.model.parameters()) for each in small]
    assert torch.equal(*weights)
    assert torch.equal(small[0].pixel_values(2), small[1].pixel_values(2))
    with pytest.raises(ValueError, match=r"`frames` must be left out for vit-b, .* got 4\."):
        build_subject("vit-b", 4)


def test_a_schedule_is_scaled_to_the_tokens_there() -> None:
    encoder = spread_weights(build_vision_encoder(TINY), seed=0)
    num_tokens = encoder.config.num_frames * encoder.encoder.num_patches
    assert scaled_schedule(encoder, (100, 50), 200) == (num_tokens // 2, num_tokens // 4)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads Linux's /proc")
def test_the_peak_above_load_sees_what_a_forward_takes() -> None:
    program = (
        "import torch; from vidtldr.bench.resident import peak_above_load; "
        "print(peak_above_load(lambda: torch.ones(2**24), torch.device('cpu')))"
    )  # in a fresh process: one that ran other tests has freed memory to reuse
    assert peak_in_fresh_process(["-c", program]) >= 0.9 * 2**26


def test_a_fresh_process_gives_a_number_or_the_reason() -> None:
    assert peak_in_fresh_process(["-c", "print(int(input()) + 1)"], "41") == 42
    with pytest.raises(ChildProcessError, match="ended with an error: ValueError: no room"):
        peak_in_fresh_process(["-c", "raise ValueError('no room')"])
