"""open_clip's own vision tower, and timm's towers inside open_clip."""

import copy
import pickle
import threading
from functools import partial
from typing import Any

import pytest
import torch
from support.encoder_oracle import PAPER
from support.tiny_encoders import images
from support.tiny_models import spread_out_weights
from support.tiny_timm import open_clip_vit
from torch import Tensor, nn

import vidtldr
from vidtldr.budget.counts import forward_costs
from vidtldr.config import MergeConfig
from vidtldr.hosts.registry import find_host
from vidtldr.measure.flops import count_flops
from vidtldr.ops.attention import attend

pytestmark = pytest.mark.timm
open_clip = pytest.importorskip(
    "open_clip", reason="open_clip is in the environment of `make test-timm`"
)

from support.timm_oracle import merged_grid, parts_of  # noqa: E402

OWN_ATTENTION = {"qk_norm": True, "scale_heads": True, "scale_attn_inner": True}
NAMED: dict[str, dict[str, Any]] = {
    "plain": {},
    "layer_scale": {"ls_init_value": 0.5, "no_ln_pre": True},
    "own_attention": OWN_ATTENTION | {"scale_attn": True, "scale_fc": True},
    "custom_block": {"block_type": "custom", "ls_init_value": 0.5},
}
POOLS: dict[str, dict[str, Any]] = {
    "tok": {},
    "tok_and_tokens": {"output_tokens": True},
    "avg": {"pool_type": "avg", "final_ln_after_pool": True},
    "none": {"pool_type": "none"},
    "attention": {"attentional_pool": True, "attn_pooler_queries": 7},
    "attention_none": {"attentional_pool": True, "pool_type": "none", "attn_pooler_queries": 7},
    # With two pools, open_clip itself needs the output to be as wide as the tokens.
    "parallel": {"attentional_pool": "parallel", "attn_pooler_queries": 7, "output_dim": 48},
    "cascade": {"attentional_pool": "cascade", "attn_pooler_queries": 7, "output_dim": 48},
}
CONFIGS = [*NAMED.values(), *POOLS.values(), {"pos_embed_type": "sin_cos_2d"}]
R = [5, 0, 4]


class Float32Norm(nn.LayerNorm):
    """What autocast makes of a norm on a GPU."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.float())


def outputs(model: nn.Module, pixels: Tensor | None = None) -> list[Tensor]:
    """Every tensor that a tower returns."""
    with torch.no_grad():
        found = model(images() if pixels is None else pixels)
    return [found] if isinstance(found, Tensor) else list(found)


def equal(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def clip(towers: dict[str, Any] | None = None) -> nn.Module:
    """A whole model: image and text."""
    text = {"context_length": 9, "vocab_size": 50, "width": 48, "heads": 3, "layers": 2}
    vision = {"image_size": 40, "patch_size": 8, "width": 48, "head_width": 16, "layers": 4}
    settings: dict[str, Any] = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}
    return spread_out_weights(open_clip.CLIP(**settings | (towers or {})))


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_off_and_removed_are_bit_identical(config: dict[str, Any]) -> None:
    model = open_clip_vit(**config)
    before = outputs(model)
    assert equal(outputs(vidtldr.apply_patch(model, r=[0] * 4)), before)
    vidtldr.apply_patch(model, r=R, output="grid")
    assert not equal(outputs(model), before)
    assert equal(outputs(vidtldr.remove_patch(model)), before)


@pytest.mark.parametrize("name", NAMED)
def test_walking_a_block_without_merging_equals_its_own_forward(name: str) -> None:
    model = open_clip_vit(**NAMED[name]).double()
    host = find_host(model)
    x = torch.randn(2, 23, 48, dtype=torch.float64)
    with torch.no_grad():
        for block in host.blocks:
            walked = host.mlp_half(block, host.attention_half(block, x, attend).x)
            assert torch.allclose(walked, block(x), atol=1e-12)


@pytest.mark.parametrize("output", ["tokens", "grid"])
@pytest.mark.parametrize("r", [[1], [12], [5, 0, 4], [0, 7, 3, 2]], ids=str)
@pytest.mark.parametrize("name", NAMED)
def test_a_merged_forward_equals_the_float64_oracle(name: str, r: list[int], output: str) -> None:
    model, pixels = open_clip_vit(**NAMED[name]).double(), images(3).double()
    with torch.no_grad():
        entered = model._embeds(pixels)
        tokens, grid, holders = merged_grid(entered, parts_of(model), r, 1)
        expected = grid if output == "grid" else tokens
        vidtldr.apply_patch(model, r=r, output=output, **PAPER)
        with vidtldr.trace(model) as trace:
            found = model.transformer(entered)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < 1e-9
    assert trace.source.tolist() == holders
    assert trace.num_tokens[-1] == 26 - sum(r)


@pytest.mark.parametrize("output", ["tokens", "grid"])
@pytest.mark.parametrize("pool", POOLS)
def test_merging_equal_neighbours_changes_nothing(pool: str, output: str) -> None:
    """Without positions and with every patch twice, plain merging of all pairs is exact."""
    model = open_clip_vit(**POOLS[pool]).double()
    with torch.no_grad():
        model.positional_embedding.zero_()
    pixels = images(2).double().unfold(2, 8, 8).unfold(3, 8, 8).flatten(2, 3)
    pixels[:, :, 0:24:2] = pixels[:, :, 1:24:2]  # (B, 3, 25, 8, 8): the last one is alone
    pixels = pixels.unflatten(2, (5, 5)).transpose(3, 4).reshape(2, 3, 40, 40)
    expected = outputs(model, pixels)[0]
    vidtldr.apply_patch(model, r=[12], score=None, output=output)
    found = outputs(model, pixels)[0]
    if output == "tokens" and pool == "none":
        assert found.shape[1] == expected.shape[1] - 12
    else:  # a mean and an attention pool count the last patch twice as much as the others
        weighs_equally = output == "tokens" and not pool.startswith("tok")
        assert torch.allclose(found, expected, atol=1e-9) is not weighs_equally


@pytest.mark.parametrize("pool", POOLS)
def test_auto_is_the_grid_where_many_tokens_are_read(pool: str) -> None:
    model = vidtldr.apply_patch(open_clip_vit(**POOLS[pool]), r=[5])
    with torch.no_grad():
        width = model.transformer(torch.randn(2, 26, 48)).shape[1]
    assert width == (21 if pool == "tok" else 26)


@pytest.mark.parametrize("name", NAMED)
def test_intermediates_are_the_merged_tokens_at_every_place(name: str) -> None:
    model, pixels = open_clip_vit(**NAMED[name]).double(), images(3).double()
    with torch.no_grad():
        entered, parts = model._embeds(pixels), parts_of(model)
        plain = model.forward_intermediates(pixels)["image_intermediates"]
        vidtldr.apply_patch(model, r=R, output="grid", **PAPER)
        found = model.forward_intermediates(pixels)
        for layer, maps in enumerate(found["image_intermediates"]):
            _, grid, _ = merged_grid(entered, parts[: layer + 1], R, 1)
            expected = grid[:, 1:].transpose(1, 2).unflatten(-1, (5, 5))
            assert maps.shape == plain[layer].shape == (3, 48, 5, 5)
            assert (maps - expected).abs().max() < 1e-9
        assert torch.equal(found["image_features"], model(pixels))


def test_intermediates_of_merged_tokens_are_refused_and_name_the_grid() -> None:
    model = clip()
    plain = model.forward_intermediates(images())["image_intermediates"]
    vidtldr.apply_patch(model, r=R)
    for ask in (model.forward_intermediates, model.visual.forward_intermediates):
        with pytest.raises(NotImplementedError, match="output='grid'"):
            ask(images())
    vidtldr.apply_patch(model, r=R, output="grid")
    assert model.forward_intermediates(images())["image_intermediates"][0].shape == plain[0].shape
    vidtldr.remove_patch(model)
    again = model.forward_intermediates(images())["image_intermediates"]
    assert all(torch.equal(a, b) for a, b in zip(again, plain, strict=True))


def test_the_text_tower_is_not_touched() -> None:
    model = clip()
    text = torch.tensor([[1, 5, 7, 49, 0, 0, 0, 0, 0]])
    with torch.no_grad():
        words, pictures = model.encode_text(text), model.encode_image(images())
        vidtldr.apply_patch(model, r=[5, 4])
        assert torch.equal(model.encode_text(text), words)
        assert not torch.equal(model.encode_image(images()), pictures)
        assert type(model.transformer.resblocks[0]) is type(model.visual.transformer.resblocks[0])
        assert not any("forward" in vars(block) for block in model.transformer.resblocks)
        vidtldr.remove_patch(model)
        assert torch.equal(model.encode_image(images()), pictures)


@pytest.mark.parametrize("name", ["coca_ViT-B-32", "ViT-B-16", "ViT-B-16-SigLIP", "PE-Core-B-16"])
def test_published_models_meet_a_budget(name: str) -> None:
    with torch.device("meta"), torch.inference_mode():
        model = open_clip.create_model(name, load_weights=False, device="meta").eval()
        model.requires_grad_(False)  # torch's counter stumbles over the queries of pools
        image = torch.empty(1, 3, *model.visual.image_size)
        unmerged = count_flops(lambda: model.encode_image(image))
        vidtldr.apply_patch(model, flop_ratio=0.7)
        assert 0.69 < count_flops(lambda: model.encode_image(image)) / unmerged <= 0.7005


@pytest.mark.parametrize("output", ["tokens", "grid"])
@pytest.mark.parametrize("config", [*NAMED.values(), *POOLS.values()], ids=str)
def test_flop_budgets_agree_with_the_counter(config: dict[str, Any], output: str) -> None:
    model, merge = open_clip_vit(**config), MergeConfig(r=(5, 0, 4), output=output)
    worked_out = forward_costs(find_host(model), merge).flops(merge.r)
    vidtldr.apply_patch(model, merge).requires_grad_(False)
    assert worked_out == count_flops(lambda: model(images(1)))


@pytest.mark.parametrize(
    ("architecture", "family"),
    [
        ("vit_tiny_patch16_224", "VisionTransformer (timm)"),
        ("eva02_tiny_patch14_224", "Eva (timm)"),
    ],
)
def test_a_tower_of_timm_is_merged_by_timms_host(architecture: str, family: str) -> None:
    tower = {"timm_model_name": architecture, "image_size": 224, "timm_pool": "token"}
    text = {"context_length": 9, "vocab_size": 50, "width": 48, "heads": 3, "layers": 2}
    model = open_clip.CustomTextCLIP(embed_dim=16, vision_cfg=tower, text_cfg=text)
    spread_out_weights(model)
    pixels, words = torch.randn(1, 3, 224, 224), torch.tensor([[1, 5, 7, 49, 0, 0, 0, 0, 0]])
    with torch.no_grad():
        before, said = model.encode_image(pixels), model.encode_text(words)
        assert find_host(model).family == family
        vidtldr.apply_patch(model, r=[50, 30])
        with vidtldr.trace(model) as trace:
            after = model.encode_image(pixels)
        assert trace.num_tokens[0] - trace.num_tokens[1] == 30
        assert after.shape == before.shape
        assert not torch.equal(after, before)
        assert torch.equal(model.encode_text(words), said)
        vidtldr.apply_patch(model, r=[50, 30], output="grid")
        maps = model.visual.forward_intermediates(pixels)["image_intermediates"]
        assert all(x.shape == maps[0].shape for x in maps)
        vidtldr.remove_patch(model)
        assert torch.equal(model.encode_image(pixels), before)


@pytest.mark.parametrize("name", NAMED)
def test_old_promises(name: str) -> None:
    """Weights, pickle, deepcopy, threads, half types."""
    model = vidtldr.apply_patch(open_clip_vit(**NAMED[name]), r=R)
    [expected] = outputs(model)
    again = open_clip_vit(**NAMED[name])
    again.load_state_dict(model.state_dict())
    others = [vidtldr.apply_patch(again, r=R), pickle.loads(pickle.dumps(model))]
    for other in (*others, copy.deepcopy(model)):
        assert torch.equal(outputs(other)[0], expected)
    found: dict[int, Tensor] = {}
    run = partial(lambda i: found.update({i: outputs(model)[0]}))
    threads = [threading.Thread(target=run, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(found[i], expected) for i in range(3))
    for dtype in (torch.bfloat16, torch.float16):
        half = copy.deepcopy(model).to(dtype)
        assert outputs(half, images().to(dtype))[0].isfinite().all()
        assert outputs(half, torch.zeros(1, 3, 40, 40, dtype=dtype))[0].isfinite().all()


@pytest.mark.parametrize("name", NAMED)
def test_autocast_is_close_to_float32(name: str) -> None:
    """On a GPU norms of queries and keys return float32 there, and values do not."""
    model = vidtldr.apply_patch(open_clip_vit(**NAMED[name]), r=[0, 0, 0, 1])
    for block in model.transformer.resblocks if "attention" in name else ():
        block.attn.ln_q, block.attn.ln_k = Float32Norm(16), Float32Norm(16)
    [expected] = outputs(model)
    with torch.autocast("cpu", torch.bfloat16):
        assert (outputs(model)[0].float() - expected).norm() < 0.1 * expected.norm()


@pytest.mark.parametrize("name", ["plain", "layer_scale"])
def test_gradient_checkpointing_gives_the_same_gradients(name: str) -> None:
    """open_clip's custom blocks cannot be checkpointed: it hands them more than they take."""
    model = vidtldr.apply_patch(open_clip_vit(**NAMED[name]), r=R).double().train()
    gradients = []
    for checkpointed in (False, True):
        model.set_grad_checkpointing(checkpointed)
        model.zero_grad()
        sum(model(images(2, seed).double()).square().sum() for seed in (0, 1)).backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys() != set()
    for key, gradient in gradients[0].items():
        assert torch.allclose(gradient, gradients[1][key], rtol=1e-9, atol=1e-9), key


@pytest.mark.parametrize(("name", "output"), [("plain", "tokens"), ("own_attention", "grid")])
def test_it_compiles_in_one_graph(name: str, output: str) -> None:
    model = vidtldr.apply_patch(open_clip_vit(**NAMED[name]), r=R, output=output)
    torch._dynamo.reset()  # or the other models count towards the limit of graphs
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    assert torch.allclose(outputs(compiled)[0], outputs(model)[0], atol=1e-4)


def test_patches_dropped_in_training_are_not_merged() -> None:
    model = open_clip_vit(patch_dropout=0.5).train()
    with torch.no_grad(), vidtldr.trace(vidtldr.apply_patch(model, r=[3])) as trace:
        model(images())
    assert trace.num_tokens == [10] * 4  # a class token and 12 of 25 patches
    with pytest.raises(ValueError, match="must be used on a model of a fixed number of tokens"):
        vidtldr.apply_patch(model, num_tokens=8)


def test_what_cannot_work_is_refused_with_the_reason() -> None:
    model = open_clip_vit(scaled_cosine_attn=True)
    with pytest.raises(RuntimeError, match="must be a 3D tensor"):
        model(images())  # by itself
    with pytest.raises(NotImplementedError, match="scaled_cosine_attn must be off"):
        vidtldr.apply_patch(model, r=[1])
    model = open_clip_vit()
    model.transformer.batch_first = False
    with pytest.raises(NotImplementedError, match="batch_first must be True"):
        vidtldr.apply_patch(model, r=[1])


def test_a_block_or_an_attention_of_ones_own_is_refused() -> None:
    class Block(open_clip.transformer.ResidualAttentionBlock):
        pass

    class Attention(nn.MultiheadAttention):
        pass

    for part, name in ((Block, "ResidualAttentionBlock"), (Attention, "MultiheadAttention")):
        model = open_clip_vit()
        block = model.transformer.resblocks[2]
        (block if part is Block else block.attn).__class__ = part
        with pytest.raises(NotImplementedError, match=f"must be built of .*{name}, got"):
            vidtldr.apply_patch(model, r=[1])


def test_a_mask_and_attention_dropout_are_refused_where_tokens_merge() -> None:
    model = vidtldr.apply_patch(open_clip_vit(), r=R)
    with pytest.raises(NotImplementedError, match="attention_mask must be None"):
        model.transformer(torch.randn(2, 26, 48), attn_mask=torch.zeros(26, 26))
    for name, set_dropout in (
        ("plain", lambda block: setattr(block.attn, "dropout", 0.1)),
        ("own_attention", lambda block: setattr(block.attn.attn_drop, "p", 0.1)),
    ):
        model = vidtldr.apply_patch(open_clip_vit(**NAMED[name]), r=R)
        set_dropout(model.transformer.resblocks[0])
        with pytest.raises(NotImplementedError, match="attention dropout must be 0"):
            model.train()(images())
