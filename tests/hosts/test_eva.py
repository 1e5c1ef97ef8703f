"""timm's Eva: EVA-02, Perception Encoder, DINOv3, mixed rotary positions."""

import copy
import pickle
import threading
from functools import partial
from typing import Any

import pytest
import torch
from support.encoder_oracle import PAPER
from support.tiny_encoders import images
from support.tiny_timm import DINOV3, EVA02, PERCEPTION_ENCODER, ROPE_MIXED, ROTARY, eva
from torch import Tensor, nn

import vidtldr
from vidtldr.budget.counts import forward_costs
from vidtldr.config import MergeConfig
from vidtldr.hosts.registry import find_host
from vidtldr.measure.flops import count_flops
from vidtldr.ops.attention import attend

pytestmark = pytest.mark.timm
timm = pytest.importorskip("timm", reason="timm is in the environment of `make test-timm`")

from support.timm_oracle import angles_of, merged_grid, parts_of  # noqa: E402

GROUPED = {"attn_type": "rope", "num_kv_heads": 1, "qkv_fused": False, "qk_norm": True, **ROTARY}
NAMED: dict[str, dict[str, Any]] = {
    "eva02": EVA02,
    "dinov3": DINOV3,
    "perception_encoder": PERCEPTION_ENCODER,
    "mixed": ROPE_MIXED,
    "grouped": GROUPED | {"init_values": 0.5, "attn_only_layer_scale": True},
    "mrope": {"rope_type": "mrope", "rope_mrope_section": (2, 3, 3), **ROTARY},
    "no_rope": {"init_values": 0.5, "qk_norm": True},
}
CONFIGS: list[dict[str, Any]] = [
    *NAMED.values(),
    {"qkv_bias": False, "scale_attn_inner": True, **ROTARY},
    {"swiglu_mlp": True, "class_token": False, **ROTARY},
    ROPE_MIXED | {"num_reg_tokens": 2, "qk_norm": True, "rope_grid_indexing": "xy"},
    *({"global_pool": pool, **ROTARY} for pool in ("token", "max", "avgmax", "map", "")),
]
R = [5, 0, 4]


class Float32Norm(nn.LayerNorm):
    """What autocast makes of a norm on a GPU."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.float())


def outputs(model: nn.Module, pixels: Tensor | None = None) -> Tensor:
    with torch.no_grad():
        return model(images() if pixels is None else pixels)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("fused", [True, False])
def test_off_and_removed_are_bit_identical(config: dict[str, Any], fused: bool) -> None:
    timm.layers.set_fused_attn(fused)
    try:
        model = eva(**config)
    finally:
        timm.layers.set_fused_attn(True)
    before = outputs(model)
    assert torch.equal(outputs(vidtldr.apply_patch(model, r=[0] * 4)), before)
    vidtldr.apply_patch(model, r=R, output="grid")
    assert not torch.equal(outputs(model), before)
    assert torch.equal(outputs(vidtldr.remove_patch(model)), before)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_walking_a_block_without_merging_equals_its_own_forward(config: dict[str, Any]) -> None:
    model = eva(**config).double()
    with torch.no_grad():
        for layer in range(4):
            assert_walked(model, layer)


def assert_walked(model: Any, layer: int) -> None:
    """Check that the two halves of a block, with positions, are its own forward."""
    block, host = model.blocks[layer], find_host(model)
    rope = angles_of(model)
    inputs = {"rope": rope[layer] if model.rope_mixed else rope}
    x = torch.randn(2, model.num_prefix_tokens + 25, 48, dtype=torch.float64)
    places = torch.arange(x.shape[1]).expand(2, -1)

    def attend_at(q: Tensor, k: Tensor, v: Tensor, *, scale: float) -> Any:
        if host.is_rotary:
            q, k = host.rotate(block, q, k, places, inputs)
        return attend(q, k, v, scale=scale)

    walked = host.mlp_half(block, host.attention_half(block, x, attend_at).x)
    assert torch.allclose(walked, block(x, **inputs), atol=1e-12)


def test_a_gate_and_biases_added_in_a_step_of_their_own_are_walked() -> None:
    model = eva(**ROTARY)
    model.blocks[1].attn.gate = nn.Linear(48, 48)
    model.blocks[1].attn.qkv_bias_separate = True
    with torch.no_grad():
        assert_walked(model.double(), 1)


class PlusOne(nn.Module):
    """A layer in place of a linear one, of which only its call is known."""

    def __init__(self, linear: nn.Module) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) + 1


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        *(("eva02", f"attn.{layer}_proj") for layer in "qkv"),
        ("perception_encoder", "attn.qkv"),
        *(("dinov3", layer) for layer in ("attn.proj", "mlp.fc1", "mlp.fc2")),
    ],
)
def test_a_layer_that_adds_one_counts_walked_as_in_the_own_forward(name: str, layer: str) -> None:
    model = eva(**NAMED[name]).double()
    block = model.blocks[1]
    block.set_submodule(layer, PlusOne(block.get_submodule(layer)))
    with torch.no_grad():
        assert_walked(model, 1)


@pytest.mark.parametrize("output", ["tokens", "grid"])
@pytest.mark.parametrize("r", [[1], [12], [5, 0, 4], [0, 7, 3, 2]], ids=str)
@pytest.mark.parametrize("name", NAMED)
def test_a_merged_forward_equals_the_float64_oracle(name: str, r: list[int], output: str) -> None:
    model = eva(**NAMED[name]).double()
    pixels = images(3).double()
    entered: list[Tensor] = []
    handle = model.blocks[0].register_forward_pre_hook(lambda _, args: entered.append(args[0]))
    outputs(model, pixels)
    handle.remove()
    prefix = model.num_prefix_tokens
    with torch.no_grad():
        tokens, grid, holders = merged_grid(entered[0], parts_of(model), r, prefix)
    expected = grid if output == "grid" else tokens
    vidtldr.apply_patch(model, r=r, output=output, **PAPER)
    found: list[Tensor] = []
    handle = model.blocks[-1].register_forward_hook(lambda _, __, x: found.append(x))
    with vidtldr.trace(model) as trace:
        outputs(model, pixels)
    handle.remove()
    assert found[0].shape == expected.shape
    assert (found[0] - expected).abs().max() < 1e-9
    assert trace.source.tolist() == holders
    assert trace.num_tokens[-1] == prefix + 25 - sum(r)


@pytest.mark.parametrize("config", NAMED.values(), ids=NAMED)
def test_positions_of_what_is_left_are_right_where_patches_are_dropped(
    config: dict[str, Any],
) -> None:
    """In training the positions are those of each clip's own patches."""
    model = eva(**config | {"patch_drop_rate": 0.4, "global_pool": "token"}).double().train()
    torch.manual_seed(0)
    with torch.no_grad():
        before = model(images().double())
        # The class token, which alone is read, has attended when the last layer merges.
        with vidtldr.patched(model, r=[0, 0, 0, 1]):
            torch.manual_seed(0)
            assert torch.allclose(model(images().double()), before, atol=1e-9)
        with vidtldr.patched(model, r=[0, 0, 1]):
            torch.manual_seed(0)
            assert not torch.allclose(model(images().double()), before, atol=1e-9)


def test_dynamic_sizes_have_positions_of_their_own() -> None:
    model = eva(**DINOV3 | {"dynamic_img_size": True}).double()
    pixels = torch.randn(2, 3, 24, 56).double()
    before = outputs(model, pixels)
    with vidtldr.patched(model, r=[0, 0, 0, 1], output="tokens"), vidtldr.trace(model) as trace:
        outputs(model, pixels)
    assert trace.num_tokens == [26, 26, 26, 25]
    model.global_pool = "token"
    before = outputs(model, pixels)
    vidtldr.apply_patch(model, r=[0, 0, 0, 1])
    assert torch.allclose(outputs(model, pixels), before, atol=1e-9)


@pytest.mark.parametrize("output", ["tokens", "grid"])
@pytest.mark.parametrize("name", NAMED)
def test_flop_budgets_agree_with_the_counter(name: str, output: str) -> None:
    model, config = eva(**NAMED[name]), MergeConfig(r=(5, 0, 4), output=output)
    worked_out = forward_costs(find_host(model), config).flops(config.r)
    vidtldr.apply_patch(model, config).requires_grad_(False)
    counted = count_flops(lambda: model(images(1)))
    # Left out: one query of attention pooling, and the angles of mixed positions.
    is_whole = model.attn_pool is None and not model.rope_mixed
    assert worked_out == pytest.approx(counted, rel=0 if is_whole else 0.005)


@pytest.mark.parametrize(
    "name",
    [
        "eva02_tiny_patch14_224",
        "vit_pe_core_base_patch16_224",
        "vit_small_patch16_dinov3",
        "vit_small_patch16_rope_mixed_224",
        "eva_large_patch14_196",
    ],
)
def test_published_models_meet_a_budget(name: str) -> None:
    with torch.device("meta"), torch.inference_mode():
        model = timm.create_model(name, dynamic_img_size=False).eval()
        image = torch.empty(1, *model.default_cfg["input_size"])
        unmerged = count_flops(lambda: model(image))
        vidtldr.apply_patch(model, flop_ratio=0.6)
        assert 0.59 < count_flops(lambda: model(image)) / unmerged <= 0.6005


@pytest.mark.parametrize("name", NAMED)
def test_old_promises(name: str) -> None:
    """Weights, pickle, deepcopy, threads, half types."""
    model = vidtldr.apply_patch(eva(**NAMED[name]), r=R)
    expected = outputs(model)
    again = eva(**NAMED[name])
    again.load_state_dict(model.state_dict())
    others = [vidtldr.apply_patch(again, r=R), pickle.loads(pickle.dumps(model))]
    for other in (*others, copy.deepcopy(model)):
        assert torch.equal(outputs(other), expected)
    found: dict[int, Tensor] = {}
    run = partial(lambda i: found.update({i: outputs(model)}))
    threads = [threading.Thread(target=run, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(found[i], expected) for i in range(3))
    for dtype in (torch.bfloat16, torch.float16):
        half = copy.deepcopy(model).to(dtype)
        assert outputs(half, images().to(dtype)).isfinite().all()
        assert outputs(half, torch.zeros(1, 3, 40, 40, dtype=dtype)).isfinite().all()


@pytest.mark.parametrize("name", NAMED)
def test_autocast_is_close_to_float32(name: str) -> None:
    """On a GPU norms of queries and keys return float32 there, and values do not."""
    model = vidtldr.apply_patch(eva(**NAMED[name]), r=[0, 0, 0, 1])
    for block in model.blocks:
        block.attn.q_norm, block.attn.k_norm = Float32Norm(16), Float32Norm(16)
    expected = outputs(model)
    with torch.autocast("cpu", torch.bfloat16):
        assert (outputs(model).float() - expected).norm() < 0.1 * expected.norm()


@pytest.mark.parametrize("name", NAMED)
def test_gradient_checkpointing_gives_the_same_gradients(name: str) -> None:
    model = vidtldr.apply_patch(eva(**NAMED[name]), r=R).double().train()
    gradients = []
    for checkpointed in (False, True):
        model.set_grad_checkpointing(checkpointed)
        model.zero_grad()
        # Two forwards before one backward: recomputation must find each one's own positions.
        sum(model(images(2, seed).double()).square().sum() for seed in (0, 1)).backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys() != set()
    for key, gradient in gradients[0].items():
        assert torch.allclose(gradient, gradients[1][key], rtol=1e-9, atol=1e-9), key


@pytest.mark.parametrize(
    ("name", "output"), [("dinov3", "grid"), ("mixed", "tokens"), ("grouped", "grid")]
)
def test_it_compiles_in_one_graph(name: str, output: str) -> None:
    model = vidtldr.apply_patch(eva(**NAMED[name]), r=R, output=output)
    torch._dynamo.reset()  # or the other models count towards the limit of graphs
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    assert torch.allclose(outputs(compiled), outputs(model), atol=1e-4)


def test_post_norm_is_refused_with_the_reason() -> None:
    model = eva(use_post_norm=True, **ROTARY)
    with pytest.raises(NotImplementedError, match="normalises what attention and MLP return"):
        vidtldr.apply_patch(model, r=[1])


def test_a_block_or_an_attention_of_ones_own_is_refused() -> None:
    from timm.models.eva import EvaAttention, EvaBlock

    class Block(EvaBlock):
        pass

    class Attention(EvaAttention):
        pass

    for part, name in ((Block, "EvaBlock"), (Attention, "EvaAttention")):
        model = eva(**ROTARY)
        block = model.blocks[2]
        (block if part is Block else block.attn).__class__ = part
        with pytest.raises(NotImplementedError, match=f"must be built of timm.*{name}, got"):
            vidtldr.apply_patch(model, r=[1])


def test_a_mask_and_attention_dropout_are_refused_where_tokens_merge() -> None:
    model = vidtldr.apply_patch(eva(attn_drop_rate=0.1, **ROTARY), r=R)
    for refused in ({"attn_mask": torch.zeros(2, 1, 1, 26)}, {"is_causal": True}):
        with pytest.raises(NotImplementedError, match="attention_mask must be None"):
            model(images(), **refused)
    with pytest.raises(NotImplementedError, match="attention dropout must be 0"):
        model.train()(images())


def test_baselines_that_do_not_carry_positions_refuse_rotary_ones_only() -> None:
    from vidtldr.hosts.host import validate_plain_attention

    validate_plain_attention(find_host(eva()), "random dropping")
    with pytest.raises(NotImplementedError, match=r"without rotary positions.* got Eva"):
        validate_plain_attention(find_host(eva(**ROTARY)), "random dropping")
