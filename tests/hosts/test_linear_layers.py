"""A linear layer is called, never read: adapters, quantization and hooks replace or wrap it."""

import copy
from collections.abc import Callable

import pytest
import torch
from support.plus_one import PlusOne
from support.tiny_models import clips, spread_out_weights, videomae, vivit
from support.tiny_umt import TINY
from torch import Tensor, nn

import vidtldr
from vidtldr.hosts.registry import find_host
from vidtldr.models.umt.vision import VisionEncoder
from vidtldr.ops.attention import attend

R = [5, 3]


def umt() -> nn.Module:
    return spread_out_weights(VisionEncoder(TINY))


FAMILIES: list[Callable[..., nn.Module]] = [videomae, vivit, umt]
LINEAR_LAYERS = [
    pytest.param(build, name, id=f"{build.__name__}-{name}")
    for build in FAMILIES
    for name, module in find_host(build()).blocks[1].named_modules()
    if isinstance(module, nn.Linear)
]


def run(model: nn.Module) -> Tensor:
    weight = next(model.parameters())
    if isinstance(model, VisionEncoder):
        return model(clips()[:, :3, :, :12, :12].to(weight.dtype)).pooled
    return model(pixel_values=clips().to(weight.dtype)).logits


class LowRank(nn.Module):
    """An adapter: the layer itself, and a product of two thin matrices that is trained."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear
        generator = torch.Generator().manual_seed(0)
        down = 0.3 * torch.randn(2, linear.in_features, generator=generator)
        up = 0.3 * torch.randn(linear.out_features, 2, generator=generator)
        self.down = nn.Parameter(down.to(linear.weight.dtype))
        self.up = nn.Parameter(up.to(linear.weight.dtype))

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) + x @ self.down.T @ self.up.T

    def folded(self) -> nn.Linear:
        """One linear layer that does the same."""
        folded = copy.deepcopy(self.linear)
        folded.weight.data += self.up.data @ self.down.data
        return folded


def replace_linear_layers(
    module: nn.Module, replacement: Callable[[nn.Module], nn.Module], kind: type = nn.Linear
) -> None:
    for name, child in list(module.named_children()):
        if isinstance(child, kind):
            setattr(module, name, replacement(child))
        else:
            replace_linear_layers(child, replacement, kind)


@pytest.mark.parametrize(("build", "name"), LINEAR_LAYERS)
def test_a_layer_that_adds_one_counts_walked_as_in_the_hosts_own_forward(
    build: Callable[..., nn.Module], name: str
) -> None:
    model = build().double()
    host = find_host(model)
    block = host.blocks[1]
    added = PlusOne(block.get_submodule(name))
    block.set_submodule(name, added)
    with torch.no_grad():
        x = torch.randn(2, 21, next(block.parameters()).shape[-1], dtype=torch.float64)
        own = block(x)
        assert added.num_calls == 1
        walked = host.mlp_half(block, host.attention_half(block, x, attend).x)
        assert added.num_calls == 2
        assert torch.allclose(walked, own, atol=1e-12)


@pytest.mark.parametrize(("build", "name"), LINEAR_LAYERS)
def test_a_layer_that_adds_one_leaves_merging_of_nothing_bit_identical(
    build: Callable[..., nn.Module], name: str
) -> None:
    model = build()
    block = find_host(model).blocks[1]
    block.set_submodule(name, PlusOne(block.get_submodule(name)))
    with torch.no_grad():
        own = run(model)
        vidtldr.apply_patch(model, r=[0, 0])
        assert torch.equal(run(model), own)
        vidtldr.apply_patch(model, r=R)
        assert not torch.equal(run(model), own)
        vidtldr.remove_patch(model)
        assert torch.equal(run(model), own)


@pytest.mark.parametrize("build", FAMILIES)
@pytest.mark.parametrize("patched_first", [False, True])
def test_adapters_merge_as_their_folded_weights_do_and_are_trained(
    build: Callable[..., nn.Module], patched_first: bool
) -> None:
    model = build().double()
    if patched_first:
        vidtldr.apply_patch(model, r=R)
    for block in find_host(model).blocks:
        replace_linear_layers(block, LowRank)
    folded = copy.deepcopy(model)
    vidtldr.remove_patch(folded)
    replace_linear_layers(folded, LowRank.folded, LowRank)
    vidtldr.apply_patch(folded, r=R)
    vidtldr.apply_patch(model, r=R)
    found = run(model)
    with torch.no_grad():
        assert torch.allclose(found, run(folded), atol=1e-10)
        assert not torch.allclose(found, run(vidtldr.apply_patch(build().double(), r=R)), atol=1e-3)
    found.sum().backward()
    for name, parameter in model.named_parameters():
        if name.endswith((".down", ".up")):
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("build", FAMILIES)
@pytest.mark.parametrize("patched_first", [False, True])
def test_a_model_of_dynamic_int8_merges_about_as_in_float32(
    build: Callable[..., nn.Module], patched_first: bool
) -> None:
    model = build()
    expected = run(vidtldr.apply_patch(copy.deepcopy(model), r=R))
    if patched_first:
        vidtldr.apply_patch(model, r=R)
    model = torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)
    vidtldr.apply_patch(model, r=R)
    with torch.no_grad():
        assert (run(model) - expected).abs().max() < 0.3 * expected.abs().max()


def test_every_linear_layer_of_umt_is_called_once_a_forward() -> None:
    model = umt()
    replace_linear_layers(model, PlusOne)
    with torch.no_grad():
        run(model)
    counts = [module.num_calls for module in model.modules() if isinstance(module, PlusOne)]
    assert counts == [1] * len(counts)


def test_projections_keep_the_dtype_that_autocast_gives_them() -> None:
    """UMT adds its biases itself: in float32 they would take attention out of autocast."""
    model = umt()
    tokens = torch.randn(2, 27, 12, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = model.blocks[0].attn.project(tokens)
    assert [x.dtype for x in found] == [torch.bfloat16] * 3
