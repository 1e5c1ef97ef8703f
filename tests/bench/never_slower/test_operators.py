import torch
from support.tiny_models import clips, videomae

from vidtldr.bench.never_slower.operator_rows import operator_rows
from vidtldr.bench.never_slower.operators import count_operators
from vidtldr.bench.row import Settings
from vidtldr.bench.speed import forward_of
from vidtldr.config import MergeConfig
from vidtldr.hosts.videomae import VideoMAEHost
from vidtldr.patch.twin import merged_twin


def test_a_layer_that_merges_has_operators_in_every_part() -> None:
    model = merged_twin(videomae(), MergeConfig(r=(0, 8)))
    first, merging, behind, last = count_operators(model, forward_of(model, clips()))
    assert first.computing["merge"] == first.computing["mlp"] == 0  # not patched
    assert all(merging.computing[part] > 0 for part in ("attention", "merge", "mlp"))
    assert merging.computing["merge"] > behind.computing["merge"]
    assert behind == last
    assert merging.computing["mlp"] == behind.computing["mlp"]
    assert merging.total > first.total


def test_every_operator_of_a_layer_is_counted_once() -> None:
    model = videomae()

    class Doubled(torch.nn.Module):
        gradient_checkpointing = False

        def forward(self, x: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
            return (x * 2).view(x.shape)

    for layer in range(4):
        model.videomae.encoder.layer[layer] = Doubled()  # type: ignore[union-attr, operator]
    for layer in count_operators(model, forward_of(model, clips())):
        assert layer.computing == {"attention": 1, "merge": 0, "mlp": 0}
        assert layer.views == {"attention": 1, "merge": 0, "mlp": 0}


def test_counting_leaves_the_model_and_its_family_as_they_were() -> None:
    model = merged_twin(videomae(), MergeConfig(r=(8,)))
    halves = VideoMAEHost.__dict__["attention_half"], VideoMAEHost.__dict__["mlp_half"]
    before = forward_of(model, clips())()
    count_operators(model, forward_of(model, clips()))
    assert halves == (VideoMAEHost.__dict__["attention_half"], VideoMAEHost.__dict__["mlp_half"])
    assert all(not module._forward_hooks for module in model.modules())
    assert all(not module._forward_pre_hooks for module in model.modules())
    assert torch.equal(forward_of(model, clips())(), before)


def test_rows_of_operators_ask_nothing_and_add_up() -> None:
    rows = list(operator_rows(Settings(1, 0, tiny=True)))
    assert [row.name for row in rows] == [
        "operators-umt-b",
        "operators-videomae-384",
        "operators-bundled",
    ]
    for row in rows:
        assert row.is_met is None
        parts = [row.figures[f"of_that_{part}"] for part in ("attention", "merge", "mlp")]
        assert sum(parts) == row.figures["merging_layer"]  # type: ignore[arg-type]
        assert row.figures["merging_layer"] > row.figures["unmerged_layer"]  # type: ignore[operator]
