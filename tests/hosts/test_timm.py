"""timm's VisionTransformer, in the environment of `make test-timm`: timm needs torchvision."""

import copy
import pickle
from functools import partial
from typing import Any

import pytest
import torch
from support.wrapped_layers import PlusOne
from torch import Tensor, nn

import vidtldr

pytestmark = pytest.mark.timm
timm = pytest.importorskip("timm", reason="timm is in the environment of `make test-timm`")

SMALL = {
    "img_size": 64,
    "patch_size": 8,
    "embed_dim": 48,
    "depth": 4,
    "num_heads": 3,
    "num_classes": 5,
}
CONFIGS: list[dict[str, Any]] = [
    {},
    {"init_values": 0.5},  # LayerScale
    {"qk_norm": True},
    {"reg_tokens": 4},
    {"reg_tokens": 2, "class_token": False, "global_pool": "avg"},
    {"class_token": False, "global_pool": "avg", "pre_norm": True},
    {"global_pool": "map"},
    {
        "init_values": 0.3,
        "qk_norm": True,
        "reg_tokens": 3,
        "no_embed_class": True,
        "global_pool": "avg",
    },
    {"scale_attn_norm": True, "scale_mlp_norm": True},
]
R = [0, 13, 7]


def build(**config: Any) -> nn.Module:
    from support.tiny_models import spread_out_weights

    return spread_out_weights(
        timm.models.vision_transformer.VisionTransformer(**{**SMALL, **config})
    )


def frames(batch: int = 2, seed: int = 0) -> Tensor:
    return torch.randn(batch, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


def logits(model: nn.Module, images: Tensor | None = None) -> Tensor:
    with torch.no_grad():
        return model(frames() if images is None else images)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("fused", [True, False])
def test_r_of_zero_and_removal_are_bit_identical(config: dict[str, Any], fused: bool) -> None:
    with _fused(fused):
        model = build(**config)
    before = logits(model)
    assert torch.equal(logits(vidtldr.apply_patch(model, r=[0] * 4)), before)
    assert not torch.equal(logits(vidtldr.apply_patch(model, r=R)), before)
    assert torch.equal(logits(vidtldr.remove_patch(model)), before)


class _fused:  # noqa: N801 - reads as a function: timm's switch is set at construction
    def __init__(self, enable: bool) -> None:
        self.enable = enable

    def __enter__(self) -> None:
        timm.layers.set_fused_attn(self.enable)

    def __exit__(self, *_: object) -> None:
        timm.layers.set_fused_attn(True)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_walking_a_block_without_merging_equals_timms_own_forward(config: dict[str, Any]) -> None:
    """LayerScale, norms of q and k, scale norms: a walk that forgot one would differ a lot."""
    from vidtldr.hosts.registry import find_host
    from vidtldr.ops.attention import attend

    model = build(**config).double()
    host = find_host(model)
    x = torch.randn(2, 23, 48, dtype=torch.float64)
    with torch.no_grad():
        for block in host.blocks:
            walked = host.mlp_half(block, host.attention_half(block, x, attend).x)
            assert torch.allclose(walked, block(x), atol=1e-12)


def test_a_gated_attention_is_walked_with_its_gate() -> None:
    from vidtldr.hosts.timm import TimmHost
    from vidtldr.ops.attention import attend

    model = build()
    block = model.blocks[0]
    block.attn.gate = nn.Linear(48, 48)
    x = torch.randn(1, 9, 48)
    with torch.no_grad():
        walked = TimmHost.mlp_half(block, TimmHost.attention_half(block, x, attend).x)
        assert torch.allclose(walked, block(x), atol=1e-5)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_prefix_tokens_survive_and_tokens_fall(config: dict[str, Any]) -> None:
    model = vidtldr.apply_patch(build(**config), r=[32, 16], score="sharpness")
    prefix = model.num_prefix_tokens
    with vidtldr.trace(model) as trace:
        assert logits(model).isfinite().all()
    assert trace.num_tokens == [prefix + n for n in (32, 16, 16, 16)]
    assert torch.equal(trace.source[:, :prefix], torch.arange(prefix).expand(2, -1))
    assert trace.mass[:, :prefix].eq(1).all()
    assert trace.saliency[1].shape == (2, 32)
    with pytest.raises(
        ValueError, match=r"`r\[0\]` must be in \[0, 32\] \(half of 64 mergeable tokens\)"
    ):
        vidtldr.apply_patch(model, r=[33])


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_implementations_agree(config: dict[str, Any]) -> None:
    model = build(**config).double()
    reference = logits(vidtldr.apply_patch(model, r=R, impl="reference"), frames().double())
    blocked = logits(vidtldr.apply_patch(model, r=R, impl="blocked"), frames().double())
    assert torch.allclose(reference, blocked, atol=1e-11)


def test_one_frame_alone_equals_that_frame_in_a_batch() -> None:
    model = vidtldr.apply_patch(build(reg_tokens=2), r=R)
    together = logits(model, frames(4))
    for b in range(4):
        assert torch.allclose(logits(model, frames(4)[b : b + 1])[0], together[b], atol=1e-4)


def test_gradient_checkpointing_gives_the_same_gradients() -> None:
    model = vidtldr.apply_patch(build(init_values=0.5), r=R).double().train()
    plain = gradients(model)
    model.set_grad_checkpointing(True)
    for found, expected in zip(gradients(model), plain, strict=True):
        assert torch.allclose(found, expected, rtol=1e-9, atol=1e-9)


def gradients(model: nn.Module) -> list[Tensor]:
    model.zero_grad()
    # Two forwards before one backward: recomputation must find each one's own mass.
    (
        model(frames().double()).square().sum() + model(frames(seed=1).double()).square().sum()
    ).backward()
    return [
        parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None
    ]


def test_a_patched_model_survives_pickle_and_deepcopy() -> None:
    model = vidtldr.apply_patch(build(), r=R)
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert torch.equal(logits(other), logits(model))


def test_a_patched_model_compiles_to_one_graph() -> None:
    model = vidtldr.apply_patch(build(depth=3, reg_tokens=1), r=R)
    assert torch.allclose(torch.compile(model, fullgraph=True)(frames()), logits(model), atol=1e-3)


class Float32Norm(nn.LayerNorm):
    """What autocast makes of a norm on a GPU."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.float())


def test_norms_of_queries_and_keys_work_under_autocast() -> None:
    """On a GPU they return float32 there, and values do not."""
    model = vidtldr.apply_patch(build(), r=[0, 0, 0, 1])
    for block in model.blocks:
        block.attn.q_norm, block.attn.k_norm = Float32Norm(16), Float32Norm(16)
    expected = logits(model)
    with torch.autocast("cpu", torch.bfloat16):
        assert (logits(model).float() - expected).norm() < 0.1 * expected.norm()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_finite_on_a_blank_frame(dtype: torch.dtype) -> None:
    model = vidtldr.apply_patch(build(), ratio=[0.5, 0.5]).to(dtype)
    assert logits(model, torch.zeros(1, 3, 64, 64, dtype=dtype)).isfinite().all()


def test_dynamic_image_sizes_are_checked_when_they_are_known() -> None:
    model = vidtldr.apply_patch(build(dynamic_img_size=True), r=[33])
    assert logits(model, torch.randn(1, 3, 96, 96)).isfinite().all()
    with pytest.raises(ValueError, match=r"`r\[0\]` must be in \[0, 32\]"):
        logits(model)


def test_an_attention_mask_is_refused_where_tokens_merge() -> None:
    model = vidtldr.apply_patch(build(), r=R)
    with pytest.raises(NotImplementedError, match="attention_mask must be None"):
        model(frames(), attn_mask=torch.zeros(2, 1, 1, 65))


@pytest.mark.parametrize(
    "name", ["eva02_enormous_patch14_clip_224", "beit_base_patch16_224", "hiera_tiny_224"]
)
def test_families_that_would_break_are_refused_by_name(name: str) -> None:
    with torch.device("meta"):
        model = timm.create_model(name)
    with pytest.raises(NotImplementedError, match="model must not hold a"):
        vidtldr.apply_patch(model, r=[1])


def test_a_block_of_ones_own_is_refused_by_name() -> None:
    class Block(timm.models.vision_transformer.Block):
        pass

    with pytest.raises(NotImplementedError, match=r"got .*Block in block 0: its forward"):
        vidtldr.apply_patch(build(block_fn=Block), r=[1])


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("ParallelScalingBlock", "side by side"),
        ("DiffParallelScalingBlock", "side by side"),
        ("ParallelThingsBlock", "side by side"),
        ("ResPostBlock", "normalises what attention and MLP return"),
    ],
)
def test_blocks_of_another_order_are_refused_with_the_reason(name: str, reason: str) -> None:
    model = build(block_fn=getattr(timm.models.vision_transformer, name))
    with pytest.raises(NotImplementedError, match=f"model must not hold a {name}: .*{reason}"):
        vidtldr.apply_patch(model, r=[1])


def test_a_distilled_model_has_two_prefix_tokens() -> None:
    model = timm.create_model("deit_tiny_distilled_patch16_224", depth=2)
    vidtldr.apply_patch(model.eval(), r=[98])
    with vidtldr.trace(model) as trace, torch.no_grad():
        model(torch.randn(1, 3, 224, 224))
    assert trace.num_tokens == [100, 100]


@pytest.mark.parametrize("config", [*CONFIGS, {"global_pool": "", "class_token": False}], ids=str)
@pytest.mark.parametrize("score", ["sharpness", "representation-shift", None])
@pytest.mark.parametrize("r", [(), (30, 10), (0, 9, 0, 5)], ids=str)
def test_what_a_forward_costs_is_worked_out_as_it_is_counted(
    config: dict[str, Any], score: Any, r: tuple[int, ...]
) -> None:
    from vidtldr.budget.counts import forward_costs
    from vidtldr.config import MergeConfig
    from vidtldr.hosts.registry import find_host
    from vidtldr.measure.flops import count_flops

    model = build(**config)
    merge = MergeConfig(r=r, score=score)
    worked_out = forward_costs(find_host(model), merge).flops(r)
    vidtldr.apply_patch(model, merge)
    model.requires_grad_(False)  # torch's counter stumbles over the query of attention pooling
    counted = count_flops(lambda: model(frames(1)))
    # The one query of attention pooling is all that is left out.
    assert worked_out == pytest.approx(counted, rel=0.003 if model.attn_pool else 0)


@pytest.mark.parametrize("name", ["vit_base_patch16_224", "vit_base_patch16_siglip_224"])
def test_published_sizes_meet_their_budgets_within_a_per_cent(name: str) -> None:
    from vidtldr.measure.flops import count_flops

    with torch.device("meta"), torch.inference_mode():
        model, image = timm.create_model(name).eval(), torch.empty(1, 3, 224, 224)
        unmerged = count_flops(lambda: model(image))
        for flop_ratio in (0.9, 0.6):
            vidtldr.apply_patch(model, flop_ratio=flop_ratio)
            share = count_flops(lambda: model(image)) / unmerged
            assert flop_ratio - 0.01 < share <= flop_ratio + 1e-4


def test_a_budget_counts_prefix_tokens_and_needs_a_fixed_size() -> None:
    model = vidtldr.apply_patch(build(reg_tokens=4), num_tokens=50)
    with vidtldr.trace(model) as trace:
        logits(model)
    assert trace.num_tokens[-1] == 50
    with pytest.raises(ValueError, match="must be used on a model of a fixed number of tokens"):
        vidtldr.apply_patch(build(dynamic_img_size=True), num_tokens=50)


def test_a_flop_budget_of_any_size_is_met_at_each() -> None:
    from vidtldr.measure.flops import count_flops

    model = build(dynamic_img_size=True, reg_tokens=4).requires_grad_(False)
    images = [frames(1), frames(1)[..., :48], frames(1)]
    unmerged = [count_flops(partial(model, each)) for each in images]
    vidtldr.apply_patch(model, flop_ratio=0.9)
    shares = [
        count_flops(partial(model, each)) / full
        for each, full in zip(images, unmerged, strict=True)
    ]
    assert all(0.88 < share <= 0.9 for share in shares)
    assert shares[0] == shares[2] != shares[1]


def test_a_backbone_before_the_blocks_cannot_be_counted() -> None:
    with torch.device("meta"):
        model = timm.create_model("vit_tiny_r_s16_p8_224")
    with pytest.raises(NotImplementedError, match="one convolution, which embeds patches, got"):
        vidtldr.apply_patch(model, flop_ratio=0.8)


@pytest.mark.parametrize("score", ["sharpness-per-head", "flatness", "representation-shift"])
def test_other_scores_agree_between_implementations_and_leave_the_prefix_alone(score: str) -> None:
    model = build(reg_tokens=2, init_values=0.5).double()
    outputs = []
    for impl in ("reference", "auto"):
        vidtldr.apply_patch(model, r=R, score=score, impl=impl)
        with vidtldr.trace(model) as trace:
            outputs.append(logits(model, frames().double()))
        assert trace.mass[:, :3].eq(1).all()
    assert torch.allclose(*outputs, atol=1e-11)


@pytest.mark.parametrize("name", ["attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"])
def test_a_layer_that_adds_one_counts_walked_as_in_timms_own_forward(name: str) -> None:
    from vidtldr.hosts.registry import find_host
    from vidtldr.ops.attention import attend

    model = build(qk_norm=True).double()
    host = find_host(model)
    block = host.blocks[1]
    added = PlusOne(block.get_submodule(name))
    block.set_submodule(name, added)
    x = torch.randn(2, 23, 48, dtype=torch.float64)
    with torch.no_grad():
        own = block(x)
        walked = host.mlp_half(block, host.attention_half(block, x, attend).x)
    assert added.num_calls == 2
    assert torch.allclose(walked, own, atol=1e-12)
