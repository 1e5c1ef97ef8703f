"""A linear layer is called, never read: adapters, quantization and hooks replace or wrap it."""

import copy

import pytest
import torch
from support.every_family import FAMILIES, largest_difference, outputs, umt
from support.exporters import flat
from support.wrapped_layers import (
    LowRank,
    PlusOne,
    R,
    check_each_adapter_merges_as_its_folded_weight,
    check_each_change_of_a_forward_counts,
    check_each_module_is_called_as_often_as_unmerged,
    replace_linear_layers,
)
from torch import nn

import vidtldr
from vidtldr.hosts import registry
from vidtldr.hosts.registry import find_host

OF_TIMM = {"VisionTransformer (timm)", "Eva (timm)", "open_clip (its own ViT)"}
every_family = pytest.mark.parametrize("name", FAMILIES)
a_few = pytest.mark.parametrize("name", ["VideoMAE", "ViViT", "UMT"])


def test_every_family_is_here_or_in_the_tests_of_timm() -> None:
    here = {find_host(family.build()).family for family in FAMILIES.values()}
    assert here | OF_TIMM == {family.family for family in registry.FAMILIES}


@every_family
def test_each_adapter_merges_as_its_folded_weight(name: str) -> None:
    check_each_adapter_merges_as_its_folded_weight(FAMILIES[name])


@every_family
def test_each_change_of_a_forward_counts(name: str) -> None:
    check_each_change_of_a_forward_counts(FAMILIES[name])


@every_family
def test_each_module_of_a_block_is_called_as_often_as_unmerged(name: str) -> None:
    check_each_module_is_called_as_often_as_unmerged(FAMILIES[name])


@a_few
@pytest.mark.parametrize("patched_first", [False, True])
def test_adapters_everywhere_merge_as_their_folded_weights_do_and_are_trained(
    name: str, patched_first: bool
) -> None:
    family = FAMILIES[name]
    model, inputs = family.build().double(), family.inputs()
    if patched_first:
        vidtldr.apply_patch(model, r=R)
    for block in find_host(model).blocks:
        replace_linear_layers(block, LowRank)
    folded = copy.deepcopy(model)
    vidtldr.remove_patch(folded)
    replace_linear_layers(folded, LowRank.folded, LowRank)
    vidtldr.apply_patch(folded, r=R)
    vidtldr.apply_patch(model, r=R)
    found = outputs(model, inputs)
    assert largest_difference(found, outputs(folded, inputs)) < 1e-10
    plain = vidtldr.apply_patch(family.build().double(), r=R)
    assert largest_difference(found, outputs(plain, inputs)) > 1e-3
    sum(x.sum() for x in flat(model(**{key: x.double() for key, x in inputs.items()}))).backward()
    for key, parameter in model.named_parameters():
        if key.endswith((".down", ".up")):
            assert parameter.grad is not None, key
            assert parameter.grad.abs().sum() > 0, key


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@a_few
@pytest.mark.parametrize("patched_first", [False, True])
def test_a_model_of_dynamic_int8_merges_about_as_in_float32(name: str, patched_first: bool) -> None:
    family = FAMILIES[name]
    model, inputs = family.build(), family.inputs()
    *_, expected = outputs(vidtldr.apply_patch(copy.deepcopy(model), r=R), inputs)
    if patched_first:
        vidtldr.apply_patch(model, r=R)
    model = torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    vidtldr.apply_patch(model, r=R)
    *_, found = outputs(model, inputs)  # logits, or tokens pooled
    assert largest_difference([found], [expected]) < 0.3


def test_every_linear_layer_of_umt_is_called_once_a_forward() -> None:
    model = umt()
    replace_linear_layers(model, PlusOne)
    outputs(model, FAMILIES["UMT"].inputs())
    counts = [module.num_calls for module in model.modules() if isinstance(module, PlusOne)]
    assert counts == [1] * len(counts)


def test_projections_keep_the_dtype_that_autocast_gives_them() -> None:
    """UMT adds its biases itself: in float32 they would take attention out of autocast."""
    model = umt()
    tokens = torch.randn(2, 27, 12, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = model.blocks[0].attn.project(tokens)
    assert [x.dtype for x in found] == [torch.bfloat16] * 3
