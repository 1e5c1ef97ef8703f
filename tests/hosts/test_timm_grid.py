"""What timm's models pass on: tokens, or the grid for feature maps and pools that count."""

import pickle
from typing import Any

import pytest
import torch
from support.encoder_oracle import PAPER
from support.tiny_encoders import images
from support.tiny_timm import (
    DINOV2,
    DINOV3,
    EVA02,
    PERCEPTION_ENCODER,
    ROPE_MIXED,
    SIGLIP,
    eva,
    vit,
)
from torch import Tensor, nn

import vidtldr
from vidtldr.hosts.registry import find_host

pytestmark = pytest.mark.timm
timm = pytest.importorskip("timm", reason="timm is in the environment of `make test-timm`")

from support.timm_oracle import merged_grid, parts_of  # noqa: E402

BUILDS: dict[str, Any] = {
    "dinov2": lambda: vit(**DINOV2),
    "siglip": lambda: vit(**SIGLIP),
    "eva02": lambda: eva(**EVA02),
    "dinov3": lambda: eva(**DINOV3),
    "mixed": lambda: eva(**ROPE_MIXED),
    "perception_encoder": lambda: eva(**PERCEPTION_ENCODER),
}
R = [5, 0, 4]


def entered(model: nn.Module, pixels: Tensor) -> Tensor:
    """Tokens that enter the first block."""
    found: list[Tensor] = []
    handle = model.blocks[0].register_forward_pre_hook(lambda _, args: found.append(args[0]))
    model(pixels)
    handle.remove()
    return found[0]


@pytest.mark.parametrize("name", BUILDS)
def test_intermediates_are_the_merged_tokens_at_every_place(name: str) -> None:
    model, pixels = BUILDS[name]().double(), images(3).double()
    prefix = model.num_prefix_tokens
    with torch.no_grad():
        x, parts = entered(model, pixels), parts_of(model)
        plain = model.forward_intermediates(pixels)[1]
        vidtldr.apply_patch(model, r=R, output="grid", **PAPER)
        last, maps = model.forward_intermediates(pixels)
        for layer, found in enumerate(maps):
            _, grid, _ = merged_grid(x, parts[: layer + 1], R, prefix)
            expected = grid[:, prefix:].transpose(1, 2).unflatten(-1, (5, 5))
            assert found.shape == plain[layer].shape == (3, 48, 5, 5)
            assert (found - expected).abs().max() < 1e-9
        assert torch.equal(last, model.forward_features(pixels))


@pytest.mark.parametrize("name", BUILDS)
def test_every_form_of_intermediates_has_its_unmerged_shape(name: str) -> None:
    model = BUILDS[name]()
    asked: list[dict[str, Any]] = [
        {"indices": [0, 2], "norm": True},
        {"indices": 2, "stop_early": True, "intermediates_only": True},
        {"output_fmt": "NLC", "return_prefix_tokens": model.num_prefix_tokens > 0},
    ]
    layers = getattr(model, "get_intermediate_layers", lambda *_, **__: [])

    def forms() -> list[Any]:
        with torch.no_grad():
            found = [model.forward_intermediates(images(), **each) for each in asked]
            return [*found, layers(images(), n=2, reshape=True)]

    before = forms()
    vidtldr.apply_patch(model, r=R, output="grid")
    after = forms()
    vidtldr.remove_patch(model)
    again = forms()
    for one, other, removed in zip(*map(tensors_in, (before, after, again)), strict=True):
        assert other.shape == one.shape
        assert torch.equal(removed, one)


def tensors_in(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [tensor for part in value for tensor in tensors_in(part)]


@pytest.mark.parametrize("name", BUILDS)
def test_intermediates_of_merged_tokens_are_refused_and_name_the_grid(name: str) -> None:
    model = BUILDS[name]()
    plain = model.forward_intermediates(images(), intermediates_only=True)
    vidtldr.apply_patch(model, r=R, output="tokens")
    methods = ["forward_intermediates"]
    methods += ["get_intermediate_layers"] if hasattr(model, "get_intermediate_layers") else []
    for merging in (model, pickle.loads(pickle.dumps(model))):
        for method in methods:
            with pytest.raises(NotImplementedError, match="output='grid'"):
                getattr(merging, method)(images())
    vidtldr.remove_patch(model)
    again = model.forward_intermediates(images(), intermediates_only=True)
    assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))


@pytest.mark.parametrize("output", ["tokens", "grid"])
@pytest.mark.parametrize("r", [[1], [12], [5, 0, 4], [0, 7, 3, 2]], ids=str)
@pytest.mark.parametrize("name", ["dinov2", "siglip"])
def test_a_merged_forward_equals_the_float64_oracle(name: str, r: list[int], output: str) -> None:
    model, pixels = BUILDS[name]().double(), images(3).double()
    with torch.no_grad():
        x = entered(model, pixels)
        tokens, grid, holders = merged_grid(x, parts_of(model), r, model.num_prefix_tokens)
        expected = model.norm(grid if output == "grid" else tokens)
        vidtldr.apply_patch(model, r=r, output=output, **PAPER)
        with vidtldr.trace(model) as trace:
            found = model.forward_features(pixels)
    assert (found - expected).abs().max() < 1e-9
    assert trace.source.tolist() == holders


@pytest.mark.parametrize("output", ["tokens", "grid"])
@pytest.mark.parametrize("pool", ["token", "max", "avg", "map"])
@pytest.mark.parametrize("build", [vit, eva])
def test_merging_equal_neighbours_changes_nothing(build: Any, pool: str, output: str) -> None:
    """Without positions and with every patch twice, plain merging of all pairs is exact."""
    model = build(global_pool=pool, no_embed_class=True).double()
    pixels = images(2).double().unfold(2, 8, 8).unfold(3, 8, 8).flatten(2, 3)
    pixels[:, :, 0:24:2] = pixels[:, :, 1:24:2]  # (B, 3, 25, 8, 8): the last one is alone
    pixels = pixels.unflatten(2, (5, 5)).transpose(3, 4).reshape(2, 3, 40, 40)
    with torch.no_grad():
        model.pos_embed.zero_()
        expected = model(pixels)
        vidtldr.apply_patch(model, r=[12], score=None, output=output)
        found = model(pixels)
    # A mean and an attention pool count the last patch twice as much as the others.
    weighs_equally = output == "tokens" and pool in ("avg", "map")
    assert torch.allclose(found, expected, atol=1e-9) is not weighs_equally


@pytest.mark.parametrize("build", [vit, eva])
@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        ("token", "tokens"),
        ("max", "tokens"),
        ("avg", "grid"),
        ("avgmax", "grid"),
        ("map", "grid"),
        ("", "grid"),
    ],
)
def test_auto_is_the_grid_where_many_tokens_are_read(build: Any, pool: str, expected: str) -> None:
    model = vidtldr.apply_patch(build(global_pool=pool), r=[5])
    with torch.no_grad():
        assert model.forward_features(images()).shape[1] == (21 if expected == "tokens" else 26)
        if expected == "tokens":  # the pool makes the same of both
            found = model(images())
            vidtldr.apply_patch(model, r=[5], output="grid")
            assert torch.equal(model(images()), found)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "eva02_tiny_patch14_224"])
def test_a_backbone_of_timm_gets_the_grid(name: str) -> None:
    side = 5 * (16 if "16" in name else 14)
    options = {"features_only": True, "img_size": side, "out_indices": (0, 2)}
    model = timm.create_model(name, **options).eval()
    with torch.no_grad():
        pixels = torch.randn(2, 3, side, side)
        plain = model(pixels)
        vidtldr.apply_patch(model, r=[5, 0, 4])
        merged = model(pixels)
        for one, other, num_left in zip(merged, plain, (20, 16), strict=True):
            assert one.shape == other.shape
            assert len(one[0].flatten(1).unique(dim=1).T) == num_left
        with pytest.raises(NotImplementedError, match=r"FeatureGetterNet.*output='grid'"):
            vidtldr.apply_patch(model, r=[5], output="tokens")
        vidtldr.remove_patch(model)
        assert all(torch.equal(a, b) for a, b in zip(model(pixels), plain, strict=True))


def test_transformers_wrapper_of_timm_is_found() -> None:
    from transformers import TimmWrapperConfig, TimmWrapperModel

    args = {"img_size": 32, "depth": 3, "embed_dim": 48, "num_heads": 3}
    config = TimmWrapperConfig(architecture="vit_small_patch16_dinov3", model_args=args)
    model = TimmWrapperModel(config).eval()
    with torch.no_grad():
        pixels = torch.randn(2, 3, 32, 32)
        before = model(pixels, output_hidden_states=True)
        assert find_host(model).family == "Eva (timm)"
        vidtldr.apply_patch(model, r=[1])
        after = model(pixels, output_hidden_states=True)
    assert after.last_hidden_state.shape == before.last_hidden_state.shape
    assert [x.shape for x in after.hidden_states] == [x.shape for x in before.hidden_states]
    assert not torch.equal(after.last_hidden_state, before.last_hidden_state)


def test_the_tower_of_perception_lm_passes_on_the_grid() -> None:
    from transformers import LlamaConfig, PerceptionLMConfig, PerceptionLMModel, TimmWrapperConfig

    args = {"img_size": 56, "depth": 3, "embed_dim": 64, "num_heads": 4, "global_pool": ""}
    tower = TimmWrapperConfig(architecture="vit_pe_lang_large_patch14_448", model_args=args)
    text = LlamaConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=99)
    config = PerceptionLMConfig(vision_config=tower, text_config=text, projector_pooling_ratio=2)
    model = PerceptionLMModel(config).eval()
    pixels = torch.randn(1, 2, 3, 56, 56)
    with torch.no_grad():
        before = model.get_image_features(pixels).pooler_output
        vidtldr.apply_patch(model, r=[3, 0, 2])
        after = model.get_image_features(pixels).pooler_output
        assert after.shape == before.shape
        assert not torch.equal(after, before)
        with pytest.raises(NotImplementedError, match="a tower inside PerceptionLMModel"):
            vidtldr.apply_patch(model, r=[3], output="tokens")
