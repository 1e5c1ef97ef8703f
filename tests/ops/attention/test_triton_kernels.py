"""The Triton kernels against float64: in Triton's interpreter (`make test-triton`) or on a GPU."""

import math
import os
import sys

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from vidtldr.ops.attention import attend
from vidtldr.ops.attention.triton_op import triton_attention, triton_score

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
SCORES = ["sharpness", "received", "sharpness-per-head"]
SCORES_OF_HEAD_MEAN = ["sharpness", "received"]  # which take the second kernel


@pytest.fixture(
    params=[
        pytest.param("cpu", marks=pytest.mark.triton),
        pytest.param("cuda", marks=pytest.mark.gpu),
    ]
)
def device(request: pytest.FixtureRequest) -> str:
    if request.param == "cuda":
        if not torch.cuda.is_available():
            pytest.skip("needs CUDA")
    elif sys.platform != "linux":
        pytest.skip("triton comes for Linux")
    elif os.environ.get("TRITON_INTERPRET") != "1":
        pytest.fail("TRITON_INTERPRET must be 1 before triton is imported. Run `make test-triton`.")
    return request.param


def spread_out(
    device: str, shape: tuple[int, ...], dtype: torch.dtype, logit_std: float = 3.0
) -> list[Tensor]:
    """q, k, v of one dtype whose logits at scale D**-0.5 have the given deviation."""
    q, k, v = (torch.randn(shape, dtype=torch.float64) for _ in range(3))
    return [t.to(device, dtype) for t in (q * logit_std, k, v)]


def true_score(q: Tensor, k: Tensor, scale: float, score: str) -> Tensor:
    """The definitions in float64."""
    attn = (q.double() @ k.double().transpose(-1, -2) * scale).softmax(dim=-1)
    if score == "sharpness-per-head":
        return torch.xlogy(attn, attn).sum(dim=-1).mean(dim=1)
    mean = attn.mean(dim=1)
    return mean.mean(dim=1) if score == "received" else torch.xlogy(mean, mean).sum(dim=-1)


def score_bound(q: Tensor, k: Tensor, scale: float) -> float:
    """Sums of N terms of at most log N each, in float32 whatever the dtype of q."""
    largest_logit = (q.double() @ k.double().transpose(-1, -2) * scale).abs().max().item()
    log_n = math.log(q.shape[2])
    return 8 * torch.finfo(torch.float32).eps * (largest_logit + log_n + 1) * (1 + log_n)


def check_values(
    found: Tensor, q: Tensor, k: Tensor, v: Tensor, scale: float, mass: Tensor | None
) -> None:
    """Within twice the error of eager attention at the same dtype."""
    fine = [t.double() for t in (q, k, v)]
    truth = attend(*fine, scale=scale, mass=mass, impl="reference").x
    logits = q @ k.transpose(-1, -2) * scale
    if mass is not None:
        logits = logits + mass.log().to(q.dtype)[:, None, None]
    eager_error = ((logits.softmax(-1) @ v).double() - truth).abs().max()
    rounding = torch.finfo(q.dtype).eps * v.double().abs().max()
    assert found.dtype == v.dtype
    assert (found.double() - truth).abs().max() <= 2 * (eager_error + rounding)


@pytest.mark.parametrize(
    ("channels", "score", "with_mass"),
    [
        *((channels, "sharpness", True) for channels in (32, 40, 64, 80, 128)),
        *((channels, "received", False) for channels in (32, 40, 64, 80, 128)),
        (64, "sharpness", False),
        (64, "received", True),
        (40, "sharpness-per-head", True),
        (64, "sharpness-per-head", False),
    ],
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_kernels_stay_within_rounding_of_float64(
    device: str, dtype: torch.dtype, channels: int, score: str, with_mass: bool
) -> None:
    q, k, v = spread_out(device, (2, 2, 45, channels), dtype)
    mass = 1 + 9 * torch.rand(2, 45, device=device) if with_mass else None
    scale = channels**-0.5
    found = attend(q, k, v, scale=scale, mass=mass, score=score, impl="triton")
    check_values(found.x, q, k, v, scale, mass)
    assert found.score.dtype == torch.float32
    error = (found.score.double() - true_score(q, k, scale, score)).abs().max()
    assert error <= score_bound(q, k, scale)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("shape", [(1, 1, 1, 32), (3, 2, 31, 8), (2, 1, 64, 33), (1, 5, 65, 32)])
def test_any_number_of_tokens_heads_and_channels(
    device: str, shape: tuple[int, ...], score: str
) -> None:
    q, k, v = spread_out(device, shape, torch.float32)
    mass = 1 + 9 * torch.rand(shape[0], shape[2], device=device)
    x, found = triton_attention(q, k, v, 0.4, mass, score)
    check_values(x, q, k, v, 0.4, mass)
    assert (found.double() - true_score(q, k, 0.4, score)).abs().max() <= score_bound(q, k, 0.4)
    alone = triton_score(q, k, 0.4, score)  # without values, so on a GPU perhaps in other tiles
    assert (alone - found).abs().max() <= 2 * score_bound(q, k, 0.4)


@pytest.mark.parametrize("score", SCORES_OF_HEAD_MEAN)
def test_parts_of_a_score_that_span_tiles_or_are_empty(
    device: str, score: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vidtldr.ops.attention import triton_launch

    monkeypatch.setattr(triton_launch, "_MAX_PARTS", 3)
    q, k, _ = spread_out(device, (2, 2, 97 if device == "cpu" else 1063, 32), torch.float32)
    found = triton_score(q, k, 0.2, score)
    assert (found.double() - true_score(q, k, 0.2, score)).abs().max() <= score_bound(q, k, 0.2)


def test_a_negative_scale_turns_the_order_of_keys_around(device: str) -> None:
    q, k, v = spread_out(device, (1, 2, 37, 32), torch.float32)
    x, found = triton_attention(q, k, v, -0.2, None, "sharpness")
    turned_x, turned = triton_attention(-q, k, v, 0.2, None, "sharpness")
    assert torch.equal(x, turned_x)
    assert torch.equal(found, turned)
    check_values(x, q, k, v, -0.2, None)


def test_inputs_need_not_be_contiguous(device: str) -> None:
    qkv = torch.randn(2, 33, 3, 2, 40, device=device).half()
    fused = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # as a fused projection leaves them
    channels_apart = [t.mT.contiguous().mT for t in fused]
    one_key_for_all_heads = [fused[0], fused[1][:, :1].expand_as(fused[1]), fused[2]]
    for strided in (fused, channels_apart, one_key_for_all_heads):
        packed = [t.contiguous() for t in strided]
        assert all(t.stride() != p.stride() for t, p in zip(strided, packed, strict=True))
        found = triton_attention(*strided, 0.3, None, "sharpness")
        expected = triton_attention(*packed, 0.3, None, "sharpness")
        assert torch.equal(found[0], expected[0])
        assert torch.equal(found[1], expected[1])


def test_tokens_more_than_two_to_the_31_elements_apart(device: str) -> None:
    if device == "cuda" and torch.cuda.mem_get_info()[0] < 8 * 2**30:
        pytest.skip("needs 8 GiB of free memory")
    far = torch.empty(2 * 2**30 + 64, dtype=torch.float16, device=device)  # a CPU never backs it
    q, k, v = spread_out(device, (1, 1, 3, 32), torch.float16)
    spread = far.as_strided((1, 1, 3, 32), (1, 1, 2**30, 1))
    spread.copy_(k)
    found = triton_attention(q, spread, v, 0.3, None, "sharpness")
    assert torch.equal(found[0], triton_attention(q, k, v, 0.3, None, "sharpness")[0])


def test_heads_of_the_result_join_without_a_copy(device: str) -> None:
    q, k, v = spread_out(device, (2, 3, 17, 32), torch.float16)
    out = attend(q, k, v, scale=0.2, score="sharpness", impl="triton")
    assert out.x.transpose(1, 2).is_contiguous()


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_probabilities_that_underflow_to_zero_give_no_nan(
    device: str, dtype: torch.dtype, score: str
) -> None:
    q, k, v = spread_out(device, (2, 2, 50, 32), dtype, logit_std=300)
    mass = torch.full((2, 50), 3.0, device=device)
    x, found = triton_attention(q, k, v, 32**-0.5, mass, score)
    assert x.isfinite().all()
    assert found.isfinite().all()
    assert found.unique().numel() > 1  # not flattened by a fallback either


@pytest.mark.parametrize("score", ["sharpness", "sharpness-per-head"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_logits_of_millions_keep_the_probabilities_exact(
    device: str, dtype: torch.dtype, score: str
) -> None:
    """Three keys share first place: log 3 has no digit left beside such a logit in float32."""
    q = torch.full((1, 1, 5, 64), 200.0, dtype=dtype, device=device)
    k = q * torch.tensor([1, -1, 1, 0.5, 1], dtype=dtype, device=device)[:, None]  # q k = ±2.56e6
    v = torch.randn_like(q)
    x, found = triton_attention(q, k, v, 1.0, None, score)
    assert torch.allclose(found, torch.full((1, 5), -math.log(3), device=device))
    expected = v[0, 0, [0, 2, 4]].float().mean(dim=0)
    assert torch.allclose(x[0, 0].float(), expected, atol=4 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("heaviest", [3e4, 1e7])
def test_masses_beyond_the_range_of_float16(
    device: str, dtype: torch.dtype, heaviest: float
) -> None:
    q, k, v = spread_out(device, (2, 2, 35, 32), dtype)
    mass = torch.ones(2, 35, device=device)
    mass[0, 7] = heaviest  # the other clip stays as it is
    x, _ = triton_attention(q, k, v, 32**-0.5, mass, "sharpness")
    check_values(x, q, k, v, 32**-0.5, mass)


@pytest.mark.parametrize("score", SCORES)
def test_equal_tokens_attend_evenly(device: str, score: str) -> None:
    q = torch.ones(2, 3, 43, 32, dtype=torch.bfloat16, device=device)
    expected = 1 / 43 if score == "received" else -math.log(43)
    found = triton_score(q, q, 0.5, score)
    assert torch.allclose(found, torch.full_like(found, expected), rtol=2e-6)


@pytest.mark.parametrize("score", SCORES)
def test_one_clip_alone_equals_that_clip_in_a_batch(device: str, score: str) -> None:
    q, k, v = spread_out(device, (3, 2, 33, 32), torch.bfloat16)
    mass = 1 + torch.rand(3, 33, device=device)
    x, found = triton_attention(q, k, v, 0.2, mass, score)
    assert not torch.equal(found[0], found[1])
    for b in range(3):
        one = slice(b, b + 1)
        x_alone, alone = triton_attention(q[one], k[one], v[one], 0.2, mass[one], score)
        assert torch.equal(x_alone, x[one])
        assert torch.equal(alone, found[one])


@pytest.mark.parametrize("score", SCORES)
def test_the_same_input_gives_the_same_bits(device: str, score: str) -> None:
    q, k, v = spread_out(device, (1, 2, 49, 32), torch.float16)
    first, second = (triton_attention(q, k, v, 0.2, None, score) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


@pytest.mark.parametrize("score", SCORES)
def test_gradients_are_those_of_fused_attention(device: str, score: str) -> None:
    inputs = [t.requires_grad_() for t in spread_out(device, (2, 2, 19, 32), torch.float32)]
    mass = (1 + torch.rand(2, 19, device=device)).requires_grad_()
    out = attend(*inputs, scale=0.2, mass=mass, score=score, impl="triton")
    bias = mass.detach().log()[:, None, None]
    expected = F.scaled_dot_product_attention(*inputs, attn_mask=bias, scale=0.2)
    upstream = torch.randn_like(expected)
    assert not out.score.requires_grad
    for found, true in zip(
        torch.autograd.grad(out.x, inputs, upstream),
        torch.autograd.grad(expected, inputs, upstream),
        strict=True,
    ):
        assert torch.equal(found, true)
    with torch.no_grad():
        alone = attend(*inputs, scale=0.2, mass=mass, score=score, impl="triton").score
        assert (alone - out.score).abs().max() <= 2 * score_bound(*inputs[:2], 0.2)


def test_mass_that_wants_gradients_gets_none(device: str) -> None:
    q, k, v = spread_out(device, (1, 2, 9, 32), torch.float32)
    mass = torch.ones(1, 9, device=device, requires_grad=True)
    out = attend(q, k, v, scale=0.2, mass=mass, score="sharpness", impl="triton")
    assert not out.x.requires_grad


def test_autocast_around_it_changes_nothing(device: str) -> None:
    q, k, v = spread_out(device, (1, 2, 33, 32), torch.float32)
    plain = attend(q, k, v, scale=0.2, score="sharpness", impl="triton")
    with torch.autocast(device, torch.bfloat16):
        inside = attend(q, k, v, scale=0.2, score="sharpness", impl="triton")
    assert torch.equal(inside.x, plain.x)
    assert torch.equal(inside.score, plain.score)


def test_an_empty_batch_gives_an_empty_result(device: str) -> None:
    q = torch.randn(0, 2, 5, 32, device=device)
    out = attend(q, q, q, scale=0.2, score="sharpness", impl="triton")
    assert out.x.shape == (0, 2, 5, 32)
    assert out.score.shape == (0, 5)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("with_mass", [True, False])
def test_the_operators_are_registered_right(device: str, with_mass: bool, score: str) -> None:
    """Schema, fake and autograd registration, also with strides of a fused projection."""
    qkv = torch.randn(2, 17, 3, 2, 40, device=device).permute(2, 0, 3, 1, 4)
    mass = 1 + torch.rand(2, 17, device=device) if with_mass else None
    torch.library.opcheck(triton_attention, (*qkv.unbind(0), 0.2, mass, score))
    torch.library.opcheck(triton_score, (*qkv[:2].unbind(0), 0.2, score))


@pytest.mark.parametrize("score", SCORES)
def test_it_compiles_to_one_graph_for_any_number_of_tokens(device: str, score: str) -> None:
    def run(q: Tensor, k: Tensor, v: Tensor, mass: Tensor) -> Tensor:
        out = attend(q, k, v, scale=0.2, mass=mass, score=score, impl="triton")
        return out.x.transpose(1, 2).flatten(2) * out.score[..., None]

    compiled = torch.compile(run, fullgraph=True, backend="aot_eager", dynamic=True)
    for num_tokens in (17, 41):
        q, k, v = spread_out(device, (2, 2, num_tokens, 32), torch.float32)
        mass = 1 + torch.rand(2, num_tokens, device=device)
        assert torch.equal(compiled(q, k, v, mass), run(q, k, v, mass))


@pytest.mark.gpu
@pytest.mark.parametrize("score", SCORES)
def test_it_can_be_recorded_in_a_cuda_graph(score: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs CUDA")
    q, k, v = spread_out("cuda", (2, 3, 101, 64), torch.bfloat16)
    mass = 1 + torch.rand(2, 101, device="cuda")
    triton_attention(q, k, v, 0.1, mass, score)  # compiled and timed before the recording
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        recorded = triton_attention(q, k, v, 0.1, mass, score)
    q.copy_(torch.randn_like(q))
    graph.replay()
    for found, expected in zip(recorded, triton_attention(q, k, v, 0.1, mass, score), strict=True):
        assert torch.equal(found, expected)
