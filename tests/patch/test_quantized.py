"""Quantized linear layers: called as modules, or through their tensors of torchao."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from support import tiny_encoders, tiny_models
from support.every_family import equal, largest_difference, outputs
from support.tiny_umt import TINY
from torch import Tensor, nn

import vidtldr
from vidtldr.hosts.registry import find_host
from vidtldr.models.umt.vision import VisionEncoder

R = [5, 3]
GROUP = 32  # weights that share a scale
WIDE = {"hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 128}

MODELS: dict[str, Callable[[], nn.Module]] = {
    "VideoMAE": lambda: tiny_models.videomae(**WIDE),
    "CLIP": lambda: tiny_encoders.clip(**WIDE),
    "DINOv3": lambda: tiny_encoders.dinov3(**WIDE),
    "UMT": lambda: tiny_models.spread_out_weights(
        VisionEncoder(replace(TINY, hidden_size=64, num_heads=4))
    ),
}


def inputs_of(model: Any) -> dict[str, Tensor]:
    if isinstance(model, VisionEncoder):
        return {"pixel_values": tiny_models.clips()[:, :3, :, :12, :12]}
    if "VideoMAE" in type(model).__name__:
        return {"pixel_values": tiny_models.clips()}
    return tiny_encoders.inputs_of(model)


def replace_linear_layers(model: nn.Module, made: Callable[[nn.Linear], nn.Module]) -> nn.Module:
    """Replace those of all blocks."""
    for block in find_host(model).blocks:
        for name, module in list(block.named_modules()):
            if isinstance(module, nn.Linear):
                block.set_submodule(name, made(module))
    return model


def dequantized(layer: nn.Linear) -> nn.Linear:
    """The plain layer that a layer of quantized weights, which is linear, computes."""
    plain = nn.Linear(layer.in_features, layer.out_features)
    with torch.no_grad():
        plain.bias.copy_(layer(torch.zeros(1, layer.in_features))[0])
        plain.weight.copy_((layer(torch.eye(layer.in_features)) - plain.bias).T)
    return plain


class DynamicInt8(nn.Module):
    """Each token, too, is rounded to int8; sums of such products are exact in float32."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.weight, self.scale, self.bias = layer.weight.qdata, layer.weight.scale, layer.bias

    def forward(self, x: Tensor) -> Tensor:
        scale = x.abs().amax(dim=-1, keepdim=True) / 127.5
        rounded = (x * (1 / scale)).round().clamp(-128, 127)
        y = (rounded @ self.weight.float().T) * scale * self.scale.flatten()
        return y if self.bias is None else y + self.bias


def int8() -> Any:
    from torchao.quantization import Int8WeightOnlyConfig

    return Int8WeightOnlyConfig()


def int4() -> Any:
    """`Int4WeightOnlyConfig` is for GPUs; this is torchao's for the CPU."""
    from torchao.prototype.quantization.int4 import PrototypeInt4WeightOnlyConfig

    return PrototypeInt4WeightOnlyConfig(group_size=GROUP)


def int4_unpacked() -> Any:
    from torchao.quantization import IntxWeightOnlyConfig, PerGroup

    return IntxWeightOnlyConfig(torch.int4, PerGroup(GROUP))


def dynamic_int8() -> Any:
    from torchao.quantization import Int8DynamicActivationInt8WeightConfig

    return Int8DynamicActivationInt8WeightConfig()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    ("config", "oracle"),
    [
        (int8, dequantized),
        (int4, dequantized),
        (int4_unpacked, dequantized),
        (dynamic_int8, DynamicInt8),
    ],
)
@pytest.mark.parametrize("patched_first", [False, True])
def test_quantized_weights_of_torchao_merge_as_plain_ones(
    name: str,
    config: Callable[[], Any],
    oracle: Callable[[nn.Linear], nn.Module],
    patched_first: bool,
) -> None:
    ao = pytest.importorskip("torchao", reason="torchao comes with `make test-torchao`")
    model = MODELS[name]()
    inputs, layers = inputs_of(model), set(quantizable(model))
    if patched_first:
        vidtldr.apply_patch(model, r=R)
    ao.quantization.quantize_(model, config(), lambda module, _: module in layers)
    assert all(type(layer.weight) is not nn.Parameter for layer in layers)
    vidtldr.remove_patch(model)
    unmerged = outputs(model, inputs)
    vidtldr.apply_patch(model, r=R)
    merged = outputs(model, inputs)
    plain = vidtldr.apply_patch(replace_linear_layers(copy.deepcopy(model), oracle), r=R)
    assert largest_difference(merged, outputs(plain, inputs)) < 1e-5
    in_full = vidtldr.apply_patch(MODELS[name](), r=R)
    assert largest_difference(merged, outputs(in_full, inputs)) > 1e-3
    assert equal(outputs(vidtldr.remove_patch(model), inputs), unmerged)


def quantizable(model: nn.Module) -> list[nn.Linear]:
    blocks = find_host(model).blocks
    return [m for block in blocks for m in block.modules() if isinstance(m, nn.Linear)]


class Linear8bitLt(nn.Linear):
    """Named and laid out as in bitsandbytes, which needs a GPU: int8 rows and their scales."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__(layer.in_features, layer.out_features, layer.bias is not None)
        self.bias = layer.bias
        scale = layer.weight.detach().abs().amax(dim=1, keepdim=True) / 127
        rows = (layer.weight.detach() / scale).round().to(torch.int8)
        self.weight, self.scale = nn.Parameter(rows, requires_grad=False), scale

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.scale * self.weight, self.bias)


class Linear4bit(nn.Linear):
    """Named and laid out as in bitsandbytes: two weights in each byte of one column."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__(layer.in_features, layer.out_features, layer.bias is not None)
        self.bias, self.shape = layer.bias, layer.weight.shape
        self.scale = layer.weight.detach().abs().max() / 7
        codes = ((layer.weight.detach() / self.scale).round() + 8).to(torch.uint8).reshape(-1, 2)
        packed = (16 * codes[:, :1] + codes[:, 1:]).contiguous()
        self.weight = nn.Parameter(packed, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        codes = torch.cat([self.weight // 16, self.weight % 16], dim=1).reshape(self.shape)
        return nn.functional.linear(x, (codes.float() - 8) * self.scale, self.bias)


for _kind in (Linear8bitLt, Linear4bit):
    _kind.__module__ = "bitsandbytes.nn.modules"


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("kind", [Linear8bitLt, Linear4bit])
def test_layers_named_as_those_of_bitsandbytes_are_called(
    name: str, kind: Callable[[nn.Linear], nn.Module]
) -> None:
    model = replace_linear_layers(MODELS[name](), kind)
    inputs = inputs_of(model)
    plain = replace_linear_layers(copy.deepcopy(model), dequantized)
    for fields in ({"r": R}, {"flop_ratio": 0.8}):
        vidtldr.apply_patch(model, **fields)
        vidtldr.apply_patch(plain, **fields)
        assert vidtldr.describe(model).r == vidtldr.describe(plain).r
        assert largest_difference(outputs(model, inputs), outputs(plain, inputs)) < 1e-5
