"""Linear layers of timm and open_clip: called, or refused where the library itself reads them."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from support.every_family import Family, largest_difference, outputs
from support.tiny_encoders import images
from support.tiny_timm import DINOV3, EVA02, PERCEPTION_ENCODER, eva, open_clip_vit, vit
from support.wrapped_layers import (
    Around,
    LowRank,
    PlusOne,
    R,
    Transparent,
    check_a_wrapper_after_the_patch_is_noticed,
    check_a_wrapper_is_refused,
    check_each_adapter_merges_as_its_folded_weight,
    check_each_change_of_a_forward_counts,
    check_each_module_is_called_as_often_as_unmerged,
)
from torch import Tensor, nn
from torch.nn.utils import parametrize

import vidtldr
from vidtldr.hosts.registry import find_host

pytestmark = pytest.mark.timm
pytest.importorskip("open_clip", reason="open_clip is in the environment of `make test-timm`")


def family(build: Callable[..., nn.Module], **config: Any) -> Family:
    return Family(partial(build, **config), lambda: {"x": images()})


#: With biases beside `qkv`, timm reads its weight; of torch's attention, `out_proj` is read.
READ = {"Eva with biases": "attn.qkv", "open_clip": "attn.out_proj"}
FAMILIES = {
    "ViT": family(vit, init_values=0.5, qk_norm=True),
    "EVA-02": family(eva, **EVA02),
    "DINOv3": family(eva, **DINOV3 | {"qkv_bias": False}),
    "Perception Encoder": family(eva, **PERCEPTION_ENCODER),
    "Eva with biases": family(eva, init_values=0.5),
    "open_clip": family(open_clip_vit),
    "open_clip, own attention": family(
        open_clip_vit, qk_norm=True, scale_heads=True, scale_attn_inner=True
    ),
}
every_family = pytest.mark.parametrize("name", FAMILIES)


@every_family
def test_each_adapter_merges_as_its_folded_weight(name: str) -> None:
    check_each_adapter_merges_as_its_folded_weight(FAMILIES[name], READ.get(name, ""))


@every_family
def test_each_change_of_a_forward_counts(name: str) -> None:
    check_each_change_of_a_forward_counts(FAMILIES[name], READ.get(name, ""))


@every_family
def test_each_module_of_a_block_is_called_as_often_as_unmerged(name: str) -> None:
    check_each_module_is_called_as_often_as_unmerged(FAMILIES[name])


@every_family
@pytest.mark.parametrize("wrap", [Around, Transparent])
def test_a_wrapper_is_refused(name: str, wrap: Callable[[nn.Module], nn.Module]) -> None:
    check_a_wrapper_is_refused(FAMILIES[name], wrap)
    check_a_wrapper_after_the_patch_is_noticed(FAMILIES[name], wrap)


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("patched_first", [False, True])
def test_a_layer_that_the_library_reads_must_be_plain(name: str, patched_first: bool) -> None:
    model, inputs = FAMILIES[name].build(), FAMILIES[name].inputs()
    block = find_host(model).blocks[1]
    linear = block.get_submodule(READ[name])
    refused: Callable[[], object] = partial(vidtldr.apply_patch, model, r=R)
    if patched_first:
        vidtldr.apply_patch(model, r=R)
        refused = partial(outputs, model, inputs)

    for wrapper in (LowRank(linear), PlusOne(linear)):
        block.set_submodule(READ[name], wrapper)
        kind = rf"support\.wrapped_layers\.{type(wrapper).__name__}"
        with pytest.raises(
            NotImplementedError,
            match=rf"block 1: {READ[name]} must be a plain Linear.*, got {kind}.*merge_and_unload",
        ):
            refused()
    block.set_submodule(READ[name], linear)
    handle = linear.register_forward_hook(lambda *_: None)
    with pytest.raises(NotImplementedError, match=r"block 1: .* must have no forward or backward"):
        refused()
    handle.remove()
    linear.forward = lambda x: x
    with pytest.raises(NotImplementedError, match=r"block 1: .* must have its class's own forward"):
        refused()
    del linear.forward
    refused()


def test_timm_calls_qkv_where_it_adds_the_biases_by_themselves() -> None:
    """Then an adapter on it counts, unmerged and merged."""
    eva_with_biases = FAMILIES["Eva with biases"]

    def build() -> nn.Module:
        model = eva_with_biases.build()
        for block in find_host(model).blocks:
            block.attn.qkv_bias_separate = True
        return model

    check_each_adapter_merges_as_its_folded_weight(Family(build, eva_with_biases.inputs))


class Doubled(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("Eva with biases", {"attn.qkv": "weight", "attn": "q_bias", "": "gamma_1"}),
        ("Perception Encoder", {"attn.qkv": "weight", "attn.proj": "bias"}),
        ("open_clip", {"attn": "in_proj_weight", "attn.out_proj": "weight"}),
        ("open_clip, own attention", {"attn": "in_proj_weight"}),
    ],
)
def test_parameters_that_are_read_may_be_parametrized(
    name: str, parameters: dict[str, str]
) -> None:
    model, plain = (FAMILIES[name].build() for _ in range(2))
    inputs = FAMILIES[name].inputs()
    before = outputs(vidtldr.apply_patch(FAMILIES[name].build(), r=R), inputs)
    for path, parameter in parameters.items():
        for block, doubled in zip(find_host(model).blocks, find_host(plain).blocks, strict=True):
            parametrize.register_parametrization(block.get_submodule(path), parameter, Doubled())
            with torch.no_grad():
                getattr(doubled.get_submodule(path), parameter).mul_(2)
    for each in (model, plain):
        vidtldr.apply_patch(each, r=R)
    assert largest_difference(outputs(model, inputs), outputs(plain, inputs)) < 1e-6
    assert largest_difference(outputs(model, inputs), before) > 1e-3
