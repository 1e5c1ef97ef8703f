"""The latency model of a device; times are injected, nothing depends on how fast anything is."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny_models import clips, videomae, vivit
from support.tiny_umt import TINY, spread_weights
from torch import nn

import vidtldr
from vidtldr import MergeConfig
from vidtldr.budget import measured_latency as module
from vidtldr.budget.counts import resolve_budget, resolved_r
from vidtldr.hosts.registry import find_host
from vidtldr.measure.busyness import IDLE, BusyReport
from vidtldr.measure.timing import Timing
from vidtldr.models.umt import build_vision_encoder
from vidtldr.ops.attention import api

CONFIG = MergeConfig(speedup=1.2, layers=[0, 1])
BUSY = BusyReport(0.5, True)
SECONDS = {"attention": 1.0, "weighed": 1.0, "scored": 1.2, "merging": 0.1, "mlp": 1.0}


class Clock:
    """Says that every half takes so long a token; the halves do run, once."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.busy_calls = 0  # so many of the first find a busy machine

    def __call__(self, runs: Mapping[str, Callable[[], object]], **_: Any) -> dict[str, Timing]:
        for run in runs.values():
            run()
        self.tokens.append(runs["mlp"]().shape[1])
        busy = BUSY if len(self.tokens) <= self.busy_calls else IDLE
        return {name: Timing((1e3 * SECONDS[name] * self.tokens[-1],), busy) for name in runs}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "_KNOWN", {})
    monkeypatch.setattr(module, "time_in_turn", clock)
    monkeypatch.setenv("VIDTLDR_CACHE", str(tmp_path / "cache"))
    return clock


def tiny_umt() -> nn.Module:
    return spread_weights(build_vision_encoder(TINY), seed=0)


@pytest.mark.parametrize("build", [videomae, vivit, tiny_umt])
@pytest.mark.parametrize("score", ["sharpness", "representation-shift", None])
def test_a_speedup_becomes_counts(clock: Clock, build: Any, score: Any) -> None:
    model = build()
    config = MergeConfig(speedup=1.1, layers=[0, 1], score=score)
    found = resolve_budget(config, find_host(model))
    assert sum(found.r) > 0
    assert found.speedup is found.layers is None
    assert resolved_r(config, find_host(model)) == found.r
    vidtldr.apply_patch(model, config)
    assert max(clock.tokens) == find_host(model).num_tokens


def test_a_device_is_measured_once(clock: Clock, tmp_path: Path) -> None:
    model = videomae()
    for _ in range(2):
        vidtldr.apply_patch(model, CONFIG)
        module._KNOWN.clear()  # as another process would
    assert clock.tokens == [6, 12, 18, 24, 30, 36, 42, 48]
    (file,) = (tmp_path / "cache" / "latency").iterdir()
    kept = json.loads(file.read_text())
    assert kept["fingerprint"]["num_threads"] == torch.get_num_threads()
    assert kept["seconds"]["scored"]["48"] == pytest.approx(1.2 * 48)


def test_what_was_measured_on_a_busy_machine_is_measured_once_more(
    clock: Clock, tmp_path: Path
) -> None:
    clock.busy_calls = 1
    vidtldr.apply_patch(videomae(), CONFIG)
    assert len(clock.tokens) == 2 * module.NUM_SIZES
    assert len(list((tmp_path / "cache" / "latency").iterdir())) == 1


def test_what_stays_busy_serves_this_process_alone(clock: Clock, tmp_path: Path) -> None:
    clock.busy_calls = 99
    with pytest.warns(UserWarning, match=r"other programs used 50 % of the processor .* idle mac"):
        vidtldr.apply_patch(videomae(), CONFIG)
    count = len(clock.tokens)
    assert count == 2 * module.NUM_SIZES
    assert not (tmp_path / "cache").exists()
    vidtldr.apply_patch(videomae(), CONFIG)  # in this process it is known
    assert len(clock.tokens) == count


@pytest.mark.parametrize(
    "other",
    [
        lambda model: model.bfloat16(),
        lambda _: videomae(intermediate_size=80),
        lambda _: videomae(num_frames=4),
    ],
)
def test_another_model_or_type_is_measured_anew(clock: Clock, other: Any) -> None:
    vidtldr.apply_patch(videomae(), CONFIG)
    count = len(clock.tokens)
    vidtldr.apply_patch(other(videomae()), CONFIG)
    assert len(clock.tokens) > count


def test_what_decides_the_times_is_in_the_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    host = find_host(videomae())
    prints = [module.fingerprint(host, CONFIG)]
    prints.append(module.fingerprint(host, MergeConfig(speedup=2, score="received")))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 97)
    prints.append(module.fingerprint(host, CONFIG))
    monkeypatch.setattr(module, "device_name", lambda _: "another processor")
    prints.append(module.fingerprint(host, CONFIG))
    monkeypatch.setattr(module, "source_digest", lambda: "other code")
    prints.append(module.fingerprint(host, CONFIG))
    assert len({json.dumps(each) for each in prints}) == 5


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"fingerprint": {}}', "null"])
def test_a_damaged_file_is_measured_anew(clock: Clock, tmp_path: Path, damage: str) -> None:
    vidtldr.apply_patch(videomae(), CONFIG)
    count = len(clock.tokens)
    (file,) = (tmp_path / "cache" / "latency").iterdir()
    file.write_text(damage)
    module._KNOWN.clear()
    vidtldr.apply_patch(videomae(), CONFIG)
    assert len(clock.tokens) == 2 * count


def test_processes_that_measure_at_once_find_one_schedule(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = find_host(videomae())
    (tmp_path / "other").mkdir()
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("VIDTLDR_CACHE", str(tmp_path / "other"))
        elsewhere.setitem(SECONDS, "mlp", 3.0)
        other = resolve_budget(CONFIG, host)
    module._KNOWN.clear()
    measure = module._measure

    def measured_while_another_ends(*args: Any) -> Any:
        shutil.copytree(tmp_path / "other", tmp_path / "cache")
        return measure(*args)

    monkeypatch.setattr(module, "_measure", measured_while_another_ends)
    assert resolve_budget(CONFIG, host) == other
    shutil.rmtree(tmp_path / "cache")  # and this process stays with it
    assert resolve_budget(CONFIG, host) == other


def test_the_unmerged_model_is_timed_as_it_attends(monkeypatch: pytest.MonkeyPatch) -> None:
    def another_way(*_: Any) -> Any:
        raise AssertionError("not the host's own attention")

    host = find_host(videomae())
    runs = module._runs(host, CONFIG, 48)
    monkeypatch.setattr(api, "choose_path", lambda q, is_scored: "native")
    monkeypatch.setitem(api.ATTENTIONS, "native", another_way)
    with torch.no_grad():
        runs["attention"]()
        with pytest.raises(AssertionError, match="not the host's own"):
            runs["weighed"]()


def test_a_place_that_cannot_be_written_to_is_said(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VIDTLDR_CACHE", str(tmp_path / "file"))
    with pytest.warns(UserWarning, match=r"will be measured again: .* Set VIDTLDR_CACHE to"):
        vidtldr.apply_patch(videomae(), CONFIG)
    count = len(clock.tokens)
    vidtldr.apply_patch(videomae(), CONFIG)  # in this process it is known
    assert len(clock.tokens) == count


def test_measuring_leaves_chance_and_the_model_alone(clock: Clock) -> None:
    model = videomae()
    before = model(pixel_values=clips()).logits
    state = torch.random.get_rng_state()
    resolve_budget(MergeConfig(speedup=1.1, metric="random"), find_host(model))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(model(pixel_values=clips()).logits, before)


def test_what_a_device_cannot_do_is_said(clock: Clock) -> None:
    with pytest.raises(ValueError, match=r"`speedup` must be at most 1\.\d+ where layer 0 merges"):
        vidtldr.apply_patch(videomae(), speedup=5, layers=[0])


def test_layers_of_different_sizes_are_refused(clock: Clock) -> None:
    model = videomae()
    layer = model.videomae.encoder.layer[1].intermediate
    layer.dense = nn.Linear(48, 90)
    with pytest.raises(NotImplementedError, match="`speedup` must be used on a model whose layers"):
        module.fingerprint(find_host(model), CONFIG)


class Int8Linear(nn.Linear):
    """Its weight, the first parameter of a block, is in another dtype than tokens."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__(layer.in_features, layer.out_features)
        self.weight = nn.Parameter((100 * layer.weight).to(torch.int8), requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x, self.weight.to(x.dtype) / 100, self.bias)


def test_weights_of_integers_are_measured_with_tokens_of_floats(clock: Clock) -> None:
    model = videomae()
    for layer in model.videomae.encoder.layer:
        layer.attention.attention.query = Int8Linear(layer.attention.attention.query)
    assert not next(model.videomae.encoder.layer[0].parameters()).is_floating_point()
    vidtldr.apply_patch(model, MergeConfig(speedup=1.1, layers=[0, 1]))
    assert max(clock.tokens) == find_host(model).num_tokens


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("build", [videomae, vivit, tiny_umt])
def test_a_model_of_dynamic_int8_is_measured_for_itself(clock: Clock, build: Any) -> None:
    model = build()
    quantized = torch.ao.quantization.quantize_dynamic(build(), {nn.Linear}, dtype=torch.qint8)
    known = [module.fingerprint(find_host(each), CONFIG) for each in (model, quantized)]
    assert known[0] != known[1]
    vidtldr.apply_patch(quantized, MergeConfig(speedup=1.1, layers=[0, 1]))
    assert max(clock.tokens) == find_host(quantized).num_tokens
