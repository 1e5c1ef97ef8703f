"""Scores that are formed around attention, and random pairs; tests/hosts/oracle.py has the rest."""

import copy
import math
from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch
from support.tiny_models import clips, videomae, vivit
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import vidtldr
from vidtldr.config import SALIENCY_WEIGHTINGS, Score, Weighting
from vidtldr.hosts.registry import find_host
from vidtldr.hosts.token_score import ATTENTION_SCORES, WEIGHTINGS, level_noise, token_score
from vidtldr.ops.attention import attend

SCORES = [*get_args(Score), None]
HOSTS = [videomae, vivit]
R = [9, 5]


def logits(model: nn.Module, pixel_values: Tensor | None = None) -> Tensor:
    with torch.no_grad():
        return model(pixel_values=clips() if pixel_values is None else pixel_values).logits


def choices(score: str | None, weighting: str) -> dict[str, Any]:
    """A score that weighs nothing must be used to protect."""
    protect = 0.3 if score is not None and weighting == "mass" else 0.0
    return {"score": score, "weighting": weighting, "protect": protect}


def gradients(model: nn.Module) -> list[Tensor]:
    model.zero_grad()
    model(pixel_values=clips().to(next(model.parameters()).dtype)).logits.square().sum().backward()
    return [parameter.grad.clone() for parameter in model.parameters()]


@pytest.mark.parametrize("build", HOSTS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_representation_shift_is_the_distance_from_a_token_to_its_mlp(
    build: Callable[..., nn.Module], dtype: torch.dtype
) -> None:
    host = find_host(build())
    block = host.blocks[1].to(dtype)
    x = torch.randn(3, 7, 48, dtype=torch.float64).to(dtype).requires_grad_()
    found = token_score("representation-shift", x, None, lambda y: host.mlp_half(block, y))
    assert not found.requires_grad
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    fine, block = x.detach().double(), block.double()
    moved = host.mlp_half(block, fine).detach()  # with the residual: x + MLP(LN x)
    # The block's own result is rounded: by eps of each of its parts.
    rounding = torch.finfo(dtype).eps * (moved.norm(dim=-1) + 8 * (moved - fine).norm(dim=-1))
    for b in range(3):
        for i in range(7):
            parts = ((a - c) - c for a, c in zip(moved[b, i], fine[b, i], strict=True))
            shift = sum(part**2 for part in parts) ** 0.5
            assert abs(found[b, i].double() - shift) <= 2 * rounding[b, i]


def test_flatness_is_the_sharpness_negated() -> None:
    sharpness = -torch.rand(2, 5)
    assert torch.equal(token_score("flatness", sharpness, sharpness, nn.Identity()), -sharpness)
    assert token_score("sharpness", sharpness, sharpness, nn.Identity()) is sharpness


@pytest.mark.parametrize("build", HOSTS)
def test_representation_shift_attends_by_the_fused_kernel_and_runs_the_mlp_twice(
    build: Callable[..., nn.Module],
) -> None:
    model = build()
    tokens = 49 if build is vivit else 48
    flops = {}
    for score in (None, "representation-shift"):
        vidtldr.apply_patch(model, r=[9], score=score)
        with FlopCounterMode(display=False) as counter:
            logits(model, clips(1))
        flops[score] = counter.get_total_flops()
    assert flops["representation-shift"] - flops[None] == 2 * tokens * (2 * 48 * 96)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("weighting", get_args(Weighting))
def test_gradients_flow_through_the_tokens_and_not_through_the_score(
    score: str | None, weighting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same weights as constants give the same gradients."""
    model = vidtldr.apply_patch(videomae(), r=R, **choices(score, weighting)).double()
    found = gradients(model)
    if score is not None:
        with vidtldr.trace(model) as trace:
            logits(model, clips().double())
        weights = [layer.weights for layer in trace.layers.values()]
        assert [each is None for each in weights] == [weighting == "mass"] * 2
        known = iter([None if each is None else each.clone() for each in weights])
        monkeypatch.setattr("vidtldr.hosts.merging.WEIGHTINGS", {weighting: lambda _: next(known)})
    for one, other in zip(found, gradients(model), strict=True):
        assert one.isfinite().all()
        assert torch.allclose(one, other, rtol=1e-10, atol=1e-12)


def test_representation_shift_leaves_every_parameter_its_gradient_under_autocast() -> None:
    """Autocast keeps the weights it casts; those cast for the score must not serve the tokens."""
    model = videomae().train()
    with torch.autocast("cpu", torch.bfloat16):
        vidtldr.apply_patch(model, r=R, score="representation-shift")
        assert all(gradient.isfinite().all() for gradient in gradients(model))


@pytest.mark.parametrize("score", SCORES)
def test_gradient_checkpointing_gives_the_same_gradients(score: str | None) -> None:
    model = vidtldr.apply_patch(videomae(), r=R, score=score, metric="random").double().train()
    torch.manual_seed(5)
    plain = gradients(model)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    torch.manual_seed(5)
    for found, expected in zip(gradients(model), plain, strict=True):
        assert torch.allclose(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("build", HOSTS)
@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("weighting", list(WEIGHTINGS))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_clips_with_and_without_content_are_finite_in_every_dtype(
    build: Callable[..., nn.Module], score: str | None, weighting: str, dtype: torch.dtype
) -> None:
    model = build().to(dtype)
    vidtldr.apply_patch(model, ratio=[0.5, 0.5, 0.5], **choices(score, weighting))
    mixed = torch.stack([torch.zeros(6, 3, 32, 32), torch.ones(6, 3, 32, 32), clips(1)[0]])
    with vidtldr.trace(model) as trace:
        assert logits(model, mixed.to(dtype)).isfinite().all()
    assert trace.mass.ge(1).all()
    assert all(layer.weights is None or _in_unit(layer.weights) for layer in trace.layers.values())


def _in_unit(weights: Tensor) -> bool:
    return bool(weights.ge(0).all() and weights.le(1).all())


@pytest.mark.parametrize("score", SCORES)
def test_tokens_that_are_all_equal_merge_with_equal_weights(score: str | None) -> None:
    model = vidtldr.apply_patch(videomae(), r=R, score=score)
    model.videomae.embeddings.position_embeddings.zero_()
    with vidtldr.trace(model) as trace:
        assert logits(model, torch.zeros(2, 6, 3, 32, 32)).isfinite().all()
    assert trace.mass.isfinite().all()


def test_saliency_drops_less_than_the_mask_and_the_mask_weighs_all_foreground_alike() -> None:
    model, weights = videomae(), {}
    for weighting in SALIENCY_WEIGHTINGS:
        vidtldr.apply_patch(model, r=[9], score="sharpness", weighting=weighting)
        with vidtldr.trace(model) as trace:
            logits(model)
        weights[weighting] = trace.layers[0].weights
    assert weights["saliency"].gt(0).sum() > weights["mask"].sum() > 0
    assert set(weights["mask"].unique().tolist()) == {0.0, 1.0}
    assert torch.equal(weights["masked-saliency"].gt(0).float(), weights["mask"])


@pytest.mark.parametrize("build", HOSTS)
def test_random_pairs_follow_the_global_generator(build: Callable[..., nn.Module]) -> None:
    model = vidtldr.apply_patch(build(), r=R, metric="random")
    outputs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outputs.append(logits(model))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.allclose(outputs[0], outputs[2])


def test_random_pairs_are_others_in_every_clip_and_leave_the_prefix_alone() -> None:
    model = vidtldr.apply_patch(vivit(), r=[24], metric="random", score=None)
    with vidtldr.trace(model) as trace:
        logits(model, clips(1).expand(3, -1, -1, -1, -1))  # the same clip three times
    sources = {tuple(source) for source in trace.source.tolist()}
    assert len(sources) == 3
    assert trace.source[:, 0].eq(0).all()
    assert trace.mass[:, 0].eq(1).all()
    # 24 sources among 24 destinations by chance: 24 (1 - 1/24)^24, about 8.6, get none.
    taken = trace.mass[:, 1:].gt(1).sum(dim=1)
    assert taken.ge(10).all()
    assert taken.le(21).all()


@pytest.mark.slow
@pytest.mark.parametrize("score", ["representation-shift", "sharpness-per-head"])
def test_new_scores_compile_to_one_graph(score: str) -> None:
    model = vidtldr.apply_patch(videomae(num_hidden_layers=2), r=R, score=score)
    expected = logits(model)
    assert torch.allclose(logits(torch.compile(model, fullgraph=True)), expected, atol=1e-3)


@pytest.mark.slow
def test_random_pairs_compile_to_one_graph() -> None:
    model = vidtldr.apply_patch(videomae(num_hidden_layers=2), r=R, metric="random")
    assert logits(torch.compile(model, fullgraph=True)).isfinite().all()


IMPLS = ["reference", "blocked", "auto"]


def oracle_score(q: Tensor, k: Tensor, score: str) -> Tensor:
    """The score of attention with one clip, in float64 and by its definition: q, k (1, H, N, D)."""
    attn = (q.double() @ k.double().transpose(-1, -2)).softmax(-1)
    if score == "sharpness-per-head":
        return torch.special.entr(attn).sum(-1).mean(1).neg()
    mean = attn.mean(1)
    if score == "received":
        return mean.mean(1)
    return torch.special.entr(mean).sum(-1) * (1 if score == "flatness" else -1)


def queries_and_keys(kind: str, num_tokens: int = 196) -> tuple[Tensor, Tensor]:
    """Logits that are all about equal, or attention of each token to itself alone."""
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 1, 3, num_tokens, 16, generator=generator)
    if kind == "flat":
        return 3 + 1e-4 * q, 3 + 1e-4 * k
    q = 40 * F.normalize(q, dim=-1)  # a token's logit for itself is 1600, for any other below 1500
    return q, q


@pytest.mark.parametrize("score", ["sharpness", "flatness", "sharpness-per-head"])
@pytest.mark.parametrize("kind", ["flat", "one-hot"])
@pytest.mark.parametrize("weighting", SALIENCY_WEIGHTINGS)
@pytest.mark.parametrize("impl", IMPLS)
def test_a_score_that_differs_by_rounding_alone_makes_no_background(
    score: Score, kind: str, weighting: Weighting, impl: str
) -> None:
    q, k = queries_and_keys(kind)
    eps = torch.finfo(torch.float32).eps
    true = oracle_score(q, k, score)
    assert true.max() - true.min() < eps  # nothing that float32 could tell apart
    found = attend(q, k, k, scale=1.0, score=ATTENTION_SCORES[score], impl=impl).score
    found = level_noise(-found if score == "flatness" else found, score, torch.float32)
    assert WEIGHTINGS[weighting](found).eq(1).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("impl", IMPLS)
def test_attention_to_one_token_alone_has_no_entropy_in_any_head(
    dtype: torch.dtype, impl: str
) -> None:
    q = queries_and_keys("one-hot")[0].to(dtype)
    found = attend(q, q, q, scale=1.0, score="sharpness-per-head", impl=impl).score
    assert (found - oracle_score(q, q, "sharpness-per-head")).abs().max() <= torch.finfo(dtype).eps


@pytest.mark.parametrize("score", ["sharpness", "flatness", "sharpness-per-head", "received"])
@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("spread", [0.05, 0.2, 1.0])
def test_a_spread_above_rounding_keeps_its_weights(score: Score, impl: str, spread: float) -> None:
    generator = torch.Generator().manual_seed(0)
    q, k = spread**0.5 * torch.randn(2, 1, 3, 196, 16, generator=generator)
    found = attend(q, k, k, scale=1.0, score=ATTENTION_SCORES[score], impl=impl).score
    found = -found if score == "flatness" else found
    assert level_noise(found, score, torch.float32).equal(found)
    true = oracle_score(q, k, score)
    # Both weights are stretched by the spread, and each score is off by less than the bound.
    error = noise_bound(true, score) / (true.max() - true.mean())
    difference = WEIGHTINGS["masked-saliency"](found).double() - WEIGHTINGS["masked-saliency"](true)
    assert difference.abs().max() <= 2 * error


def noise_bound(score: Tensor, name: str) -> Tensor:
    """`eps (1 + log2 N)` of a sum's size; an entropy adds the probabilities, which sum to 1."""
    size = score.abs().max() + (0 if name == "received" else 1)
    return torch.finfo(torch.float32).eps * (1 + math.log2(score.shape[1])) * size


@pytest.mark.parametrize("score", get_args(Score))
def test_only_a_clip_within_the_bound_is_levelled(score: Score) -> None:
    level = torch.full((1, 64), 3.0, dtype=torch.float64)
    bound = noise_bound(level, "received" if "shift" in score else score).item()
    noise = torch.linspace(0, 1, 64, dtype=torch.float64)
    clips_of = torch.stack([3 - 0.99 * bound * noise, 3 - 1.01 * bound * noise])
    found = level_noise(clips_of, score, torch.float32)
    assert found[0].eq(3).all()
    assert found[1].equal(clips_of[1])


def test_a_representation_shift_is_as_coarse_as_the_tokens_dtype() -> None:
    shift = 3 + 1e-3 * torch.rand(1, 64)
    assert level_noise(shift, "representation-shift", torch.float32).equal(shift)
    assert level_noise(shift, "representation-shift", torch.bfloat16).unique().numel() == 1
    assert level_noise(shift, "sharpness", torch.bfloat16).equal(shift)  # computed in float32


@pytest.mark.parametrize("build", HOSTS)
@pytest.mark.parametrize("score", ["sharpness", "flatness", "sharpness-per-head"])
def test_a_model_of_even_attention_merges_plainly_in_every_implementation(
    build: Callable[..., nn.Module], score: Score
) -> None:
    """Queries near zero attend to all tokens alike, so plain merging in float64 is right."""
    model = build()
    for name, parameter in model.named_parameters():
        if ".query." in name or ".q_proj." in name:
            parameter.data.mul_(1e-6)
    plain = logits(
        vidtldr.apply_patch(copy.deepcopy(model).double(), r=R, linkage="cosine"), clips().double()
    )
    for impl in IMPLS:
        vidtldr.apply_patch(model, r=R, score=score, impl=impl)
        with vidtldr.trace(model) as trace:
            found = logits(model)
        assert (found - plain).abs().max() < 1e-4
        assert all(layer.weights.eq(1).all() for layer in trace.layers.values())
        assert all(layer.saliency.eq(1).all() for layer in trace.layers.values())
