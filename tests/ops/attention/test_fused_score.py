import math

import pytest
import torch
from torch import Tensor

from vidtldr.bench.flops import count_flops
from vidtldr.ops.attention import attend, fused_score, scores_by_fused_call
from vidtldr.ops.attention.fused_score import can_fuse_score, fused_sharpness_per_head

CPU = torch.device("cpu")
PER_HEAD = "sharpness-per-head"


def true_score(q: Tensor, k: Tensor, scale: float) -> Tensor:
    """The definition in float64."""
    attn = (q.double() @ k.double().transpose(-1, -2) * scale).softmax(dim=-1)
    return torch.xlogy(attn, attn).sum(dim=-1).mean(dim=1)


def bound_of(q: Tensor, k: Tensor, scale: float) -> float:
    """A dozen roundings to float32 of the logits less those of the mean key, and of log N."""
    k = k.double() - k.double().mean(dim=2, keepdim=True)
    largest = (q.double() @ k.transpose(-1, -2) * scale).abs().max().item()
    return 12 * torch.finfo(torch.float32).eps * (largest + math.log(q.shape[2]) + 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(2, 3, 33, 8), (1, 2, 197, 16), (3, 1, 1, 4), (2, 12, 65, 64)])
@pytest.mark.parametrize("logit_std", [0.0, 1.0, 8.0, 300.0])
def test_it_stays_within_float32_rounding_of_float64(
    dtype: torch.dtype, shape: tuple[int, ...], logit_std: float
) -> None:
    q, k = (torch.randn(shape).to(dtype) for _ in range(2))
    q, scale = q * logit_std, shape[-1] ** -0.5
    found = fused_sharpness_per_head(q, k, scale)
    assert found.dtype == torch.float32
    assert (found.double() - true_score(q, k, scale)).abs().max() <= bound_of(q, k, scale)
    assert found.max() <= 0
    assert found.min() >= -math.log(shape[2]) - 1e-6


@pytest.mark.parametrize("offset", [10.0, 1e4])
def test_what_all_keys_share_costs_no_digits(offset: float) -> None:
    q, k = torch.randn(2, 2, 51, 16), torch.randn(2, 2, 51, 16)
    far = (k.double() + offset).float()
    found = fused_sharpness_per_head(q, far, 0.25)
    assert (found.double() - true_score(q, far, 0.25)).abs().max() <= bound_of(q, far, 0.25)


def test_logits_of_millions_are_finite_and_in_range() -> None:
    q = torch.full((1, 1, 4, 64), 200.0, dtype=torch.bfloat16)
    k = q * torch.tensor([1, -1, 1, 0.5], dtype=torch.bfloat16)[:, None]
    found = fused_sharpness_per_head(q, k, 1.0)
    assert found.isfinite().all()
    assert found.min() >= -math.log(4) - 1e-6
    assert found.max() <= 0


def test_the_score_knows_no_mass_and_the_values_do() -> None:
    q, k, v = (torch.randn(2, 3, 21, 8) for _ in range(3))
    mass = 1 + 9 * torch.rand(2, 21)
    plain, heavy = (attend(q, k, v, scale=0.35, mass=m, score=PER_HEAD) for m in (None, mass))
    assert torch.equal(plain.score, heavy.score)
    expected = attend(q, k, v, scale=0.35, mass=mass, score=PER_HEAD, impl="reference")
    torch.testing.assert_close(heavy.x, expected.x)
    assert not torch.allclose(plain.x, heavy.x, atol=1e-2)


def test_it_is_one_more_call_of_attention_and_counted_so() -> None:
    q = torch.zeros(2, 3, 11, 4)
    one_call = 2 * (2 * 2 * 3 * 11 * 11 * 4)
    assert count_flops(lambda: attend(q, q, q, scale=0.5)) == one_call
    assert count_flops(lambda: attend(q, q, q, scale=0.5, score=PER_HEAD)) == 2 * one_call


def test_only_automatic_scores_of_small_single_heads_on_a_cpu_are_made_so() -> None:
    assert scores_by_fused_call(PER_HEAD, "auto", CPU, 32)
    assert not scores_by_fused_call(PER_HEAD, "auto", CPU, 33)
    assert not scores_by_fused_call(PER_HEAD, "blocked", CPU, 32)
    assert not scores_by_fused_call("sharpness", "auto", CPU, 32)
    assert not scores_by_fused_call(None, "auto", CPU, 32)
    assert not scores_by_fused_call(PER_HEAD, "auto", torch.device("cuda"), 32)


@pytest.mark.parametrize("head_channels", [32, 64])
def test_both_ways_are_the_same_score(head_channels: int) -> None:
    q, k, v = (torch.randn(1, 2, 19, head_channels) for _ in range(3))
    found = attend(q, k, v, scale=0.35, score=PER_HEAD)
    expected = attend(q, k, v, scale=0.35, score=PER_HEAD, impl="reference")
    torch.testing.assert_close(found, expected)


def test_another_operator_of_that_name_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = (torch.randn(1, 2, 19, 8) for _ in range(3))
    fused = attend(q, k, v, scale=0.35, score=PER_HEAD)
    monkeypatch.setattr(fused_score, "_IS_KNOWN", False)
    assert not can_fuse_score(CPU)
    blocked = attend(q, k, v, scale=0.35, score=PER_HEAD, impl="blocked")
    fallen_back = attend(q, k, v, scale=0.35, score=PER_HEAD)
    assert torch.equal(fallen_back.score, blocked.score)
    torch.testing.assert_close(fused.score, blocked.score)
