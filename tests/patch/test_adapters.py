"""Weights behind adapters of PEFT and parametrizations of torch: merging sees what they add."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from support.every_family import FAMILIES, equal, largest_difference, outputs
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

import vidtldr
from vidtldr.hosts.registry import find_host

R = [5, 3]
ATTENTION = {
    "VideoMAE": ["query", "key", "value", "attention.output.dense"],
    "V-JEPA 2": ["query", "key", "value", "attention.proj"],
    "CLIP": ["q_proj", "k_proj", "v_proj", "out_proj"],
    "SigLIP": ["self_attn.q_proj", "k_proj", "v_proj", "self_attn.out_proj"],
    "DINOv2": ["q_proj", "k_proj", "v_proj", "o_proj"],
    "DINOv3": ["q_proj", "k_proj", "v_proj", "o_proj"],
    "TimeSformer": ["qkv", "attention.output.dense", "temporal_dense"],
    "Qwen3VL": ["qkv", "attn.proj"],
    "UMT": ["qkv", "attn.proj"],
    "InternVideo2": ["qkv", "attn.proj"],
}
MLP = {
    "VideoMAE": ["intermediate.dense", "output.dense"],
    "TimeSformer": ["intermediate.dense", "output.dense"],
    "Qwen3VL": ["linear_fc1", "linear_fc2"],
}
adapted = pytest.mark.parametrize("name", ATTENTION)


def lora(name: str, **options: Any) -> Any:
    """Adapters on all projections, whose products are not zero, as they are before training."""
    peft = pytest.importorskip("peft", reason="PEFT is in the extra `dev`")
    targets = [*ATTENTION[name], *MLP.get(name, ["fc1", "fc2"])]
    return peft.LoraConfig(
        **{"r": 3, "lora_alpha": 6, "target_modules": targets, "init_lora_weights": False} | options
    )


def with_adapter(model: nn.Module, config: Any) -> Any:
    from peft import get_peft_model

    return get_peft_model(model, config).eval()


def folded(model: Any) -> nn.Module:
    """The base model with the active adapter in its weights, without a patch."""
    plain: nn.Module = vidtldr.remove_patch(copy.deepcopy(model)).merge_and_unload()
    assert not any("lora" in key for key in plain.state_dict())
    return plain


@adapted
def test_an_adapter_merges_as_its_folded_weights_in_or_out_of_them(name: str) -> None:
    family, inputs = FAMILIES[name], FAMILIES[name].inputs()
    model = with_adapter(family.build().double(), lora(name))
    before = outputs(model, inputs)
    expected = outputs(vidtldr.apply_patch(folded(model), r=R), inputs)
    of_base = outputs(vidtldr.apply_patch(family.build().double(), r=R), inputs)
    assert largest_difference(expected, of_base) > 1e-3

    vidtldr.apply_patch(model, r=R)
    merged = outputs(model, inputs)
    assert largest_difference(merged, expected) < 1e-6
    model.merge_adapter()
    assert largest_difference(outputs(model, inputs), expected) < 1e-6
    model.unmerge_adapter()
    assert largest_difference(outputs(model, inputs), expected) < 1e-6
    with model.disable_adapter():
        assert largest_difference(outputs(model, inputs), of_base) < 1e-6
    assert largest_difference(outputs(vidtldr.remove_patch(model), inputs), before) < 1e-6


@adapted
def test_an_adapter_is_switched_under_the_patch(name: str) -> None:
    inputs = FAMILIES[name].inputs()
    model = with_adapter(FAMILIES[name].build().double(), lora(name))
    model.add_adapter("other", lora(name, target_modules=ATTENTION[name]))
    vidtldr.apply_patch(model, r=R)
    found = {}
    for adapter in ("default", "other"):
        model.set_adapter(adapter)
        found[adapter] = outputs(model, inputs)
        expected = outputs(vidtldr.apply_patch(folded(model), r=R), inputs)
        assert largest_difference(found[adapter], expected) < 1e-6
    assert largest_difference(found["other"], found["default"]) > 1e-3


@adapted
def test_the_patch_is_the_same_on_both_models_and_before_the_adapter(name: str) -> None:
    """The model of PEFT wraps the base model, whose layers it replaced in place."""
    inputs, config = FAMILIES[name].inputs(), lora(name)
    base = FAMILIES[name].build()
    model = with_adapter(base, config)
    before = outputs(model, inputs)
    weights = model.state_dict()
    vidtldr.apply_patch(model, r=R)
    merged = outputs(model, inputs)
    assert not equal(merged, before)
    assert vidtldr.describe(base).r == tuple(R)
    vidtldr.remove_patch(base)
    assert equal(outputs(model, inputs), before)
    vidtldr.apply_patch(base, r=R)
    assert equal(outputs(model, inputs), merged)
    vidtldr.remove_patch(model)
    assert equal(outputs(model, inputs), before)

    first = with_adapter(vidtldr.apply_patch(FAMILIES[name].build(), r=R), config)
    first.load_state_dict(weights)
    assert equal(outputs(first, inputs), merged)
    assert equal(outputs(vidtldr.remove_patch(first), inputs), before)


def test_an_adapter_that_scales_weights_merges_as_its_folded_weights() -> None:
    inputs = FAMILIES["VideoMAE"].inputs()
    model = with_adapter(FAMILIES["VideoMAE"].build().double(), lora("VideoMAE", use_dora=True))
    expected = outputs(vidtldr.apply_patch(folded(model), r=R), inputs)
    assert largest_difference(outputs(vidtldr.apply_patch(model, r=R), inputs), expected) < 1e-6


def test_an_adapter_is_trained_where_tokens_merge() -> None:
    inputs = FAMILIES["VideoMAE"].inputs()
    config = lora("VideoMAE", modules_to_save=["classifier"])
    model = with_adapter(vidtldr.apply_patch(FAMILIES["VideoMAE"].build(), r=R), config).train()
    model(**inputs).logits.sum().backward()
    trained = {key for key, each in model.named_parameters() if each.grad is not None}
    assert trained == {key for key, each in model.named_parameters() if each.requires_grad}
    assert all("lora" in key or "classifier" in key for key in trained)
    assert all(model.get_parameter(key).grad.abs().sum() > 0 for key in trained)


@pytest.mark.parametrize("name", ["VideoMAE", "SigLIP", "V-JEPA 2", "UMT"])
def test_pooling_by_mass_is_found_under_an_adapter(name: str) -> None:
    inputs = FAMILIES[name].inputs()
    model = with_adapter(FAMILIES[name].build().double(), lora(name))
    expected = outputs(vidtldr.apply_patch(folded(model), r=R, pooling="mass"), inputs)
    vidtldr.apply_patch(model, r=R, pooling="mass")
    assert largest_difference(outputs(model, inputs), expected) < 1e-6


class LowRankWeight(nn.Module):
    """A parametrization: the weight and a product of two thin matrices."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.up = nn.Parameter(0.3 * torch.randn(len(weight), 2, generator=generator))
        self.down = nn.Parameter(0.3 * torch.randn(2, weight.shape[1], generator=generator))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (self.up @ self.down).to(weight.dtype)


def linear_layers(model: nn.Module) -> list[nn.Linear]:
    blocks = find_host(model).blocks
    return [m for block in blocks for m in block.modules() if isinstance(m, nn.Linear)]


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("patched_first", [False, True])
def test_parametrized_weights_merge_as_plain_ones(name: str, patched_first: bool) -> None:
    model, inputs = FAMILIES[name].build().double(), FAMILIES[name].inputs()
    plain = outputs(vidtldr.apply_patch(copy.deepcopy(model), r=R), inputs)
    if patched_first:
        vidtldr.apply_patch(model, r=R)
    layers = linear_layers(model)
    for layer in layers:
        parametrize.register_parametrization(layer, "weight", LowRankWeight(layer.weight))
    vidtldr.apply_patch(model, r=R)
    found = outputs(model, inputs)
    assert largest_difference(found, plain) > 1e-3
    for layer in layers:
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
    assert equal(found, outputs(model, inputs))


@pytest.mark.parametrize("patched_first", [False, True])
def test_parameters_of_a_module_walked_around_may_be_parametrized(patched_first: bool) -> None:
    """UMT's attention has biases of its own, and its forward is not called."""

    class Doubled(nn.Module):
        def forward(self, bias: Tensor) -> Tensor:
            return 2 * bias

    model, inputs = FAMILIES["UMT"].build(), FAMILIES["UMT"].inputs()
    if patched_first:
        vidtldr.apply_patch(model, r=R)
    for block in find_host(model).blocks:
        parametrize.register_parametrization(block.attn, "q_bias", Doubled())
    found = outputs(vidtldr.apply_patch(model, r=R), inputs)
    plain = FAMILIES["UMT"].build()
    with torch.no_grad():
        for block in find_host(plain).blocks:
            block.attn.q_bias.mul_(2)
    assert equal(found, outputs(vidtldr.apply_patch(plain, r=R), inputs))


@pytest.mark.parametrize(
    "change",
    [
        parametrizations.weight_norm,
        parametrizations.spectral_norm,
        lambda layer: prune.l1_unstructured(layer, "weight", 0.5),
    ],
    ids=["weight norm", "spectral norm", "pruned"],
)
def test_weights_made_anew_before_each_forward_are_followed(
    change: Callable[[nn.Module], object],
) -> None:
    """By a parametrization, or by a hook that applies the mask of pruning."""
    family, inputs = FAMILIES["VideoMAE"], FAMILIES["VideoMAE"].inputs()
    model = vidtldr.apply_patch(family.build(), r=R)
    for layer in linear_layers(model):
        change(layer)
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.mul_(1.5)
    found = outputs(model.eval(), inputs)
    plain = family.build()
    with torch.no_grad():
        for layer, made in zip(linear_layers(plain), linear_layers(model), strict=True):
            layer.weight.copy_(made.weight)
            if layer.bias is not None:
                layer.bias.copy_(made.bias)
    vidtldr.apply_patch(plain, r=R)
    assert largest_difference(found, outputs(plain, inputs)) < 1e-6
