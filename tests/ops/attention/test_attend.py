import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.torch_version import TorchVersion

from vidtldr.method.matching import match_tokens
from vidtldr.method.merging import merge_tokens
from vidtldr.method.saliency import masked_saliency
from vidtldr.ops.attention import attend
from vidtldr.ops.attention.blocked import _blocks_of_attention

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
SCORES = ["sharpness", "sharpness-per-head", "received"]
IMPLS = ["reference", "blocked", "auto"]
IMPLS_BELOW_FLOAT64 = [*IMPLS, "native"]


def oracle(
    q: Tensor, k: Tensor, v: Tensor, scale: float, mass: Tensor, score: str
) -> tuple[Tensor, Tensor]:
    """The definition with loops in float64 for one clip: q, k, v (H, N, D), mass (N,)."""
    heads, num_tokens, channels = q.shape
    q, k, v, m = q.double(), k.double(), v.double(), mass.double().tolist()
    x = torch.zeros(heads, num_tokens, channels, dtype=torch.float64)
    attn = torch.zeros(num_tokens, num_tokens, dtype=torch.float64)
    entropy_of_heads = torch.zeros(num_tokens, dtype=torch.float64)
    for h in range(heads):
        for i in range(num_tokens):
            logits = [scale * math.fsum((q[h, i] * k[h, j]).tolist()) for j in range(num_tokens)]
            top = max(logits)
            e = [math.exp(logit - top) for logit in logits]
            weighed = [ej * mj for ej, mj in zip(e, m, strict=True)]
            share = [ej / math.fsum(e) for ej in e]
            entropy_of_heads[i] += math.fsum(p * math.log(p) for p in share if p > 0) / heads
            for j in range(num_tokens):
                attn[i, j] += share[j] / heads
                x[h, i] += v[h, j] * (weighed[j] / math.fsum(weighed))
    if score == "received":
        return x, attn.mean(dim=0)
    if score == "sharpness-per-head":
        return x, entropy_of_heads
    entropy = [math.fsum(p * math.log(p) for p in row if p > 0) for row in attn.tolist()]
    return x, torch.tensor(entropy, dtype=torch.float64)


def spread_out(
    batch: int, heads: int, num_tokens: int, channels: int, logit_std: float = 3.0
) -> list[Tensor]:
    """q, k, v in float64 whose logits at scale D**-0.5 have the given deviation."""
    q, k, v = (
        torch.randn(batch, heads, num_tokens, channels, dtype=torch.float64) for _ in range(3)
    )
    return [q * logit_std, k, v]


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("shape", [(2, 2, 5, 4), (1, 3, 17, 6), (2, 1, 1, 2)])
def test_every_implementation_equals_the_oracle(
    impl: str, score: str, shape: tuple[int, ...]
) -> None:
    q, k, v = spread_out(*shape)
    mass = 1 + 20 * torch.rand(shape[0], shape[2], dtype=torch.float64)
    found = attend(q, k, v, scale=shape[3] ** -0.5, mass=mass, score=score, impl=impl)
    for b in range(shape[0]):
        x, expected = oracle(q[b], k[b], v[b], shape[3] ** -0.5, mass[b], score)
        assert (found.x[b] - x).abs().max() < 1e-12
        assert (found.score[b] - expected).abs().max() < 1e-12


@pytest.mark.parametrize("impl", IMPLS_BELOW_FLOAT64)
@pytest.mark.parametrize("score", [*SCORES, None])
@pytest.mark.parametrize("dtype", DTYPES[1:])
@pytest.mark.parametrize("with_mass", [True, False])
@pytest.mark.parametrize("num_tokens", [33, 197, 257])
def test_half_and_single_precision_stay_within_rounding_of_float64(
    impl: str, score: str | None, dtype: torch.dtype, with_mass: bool, num_tokens: int
) -> None:
    q, k, v = (t.to(dtype) for t in spread_out(2, 3, num_tokens, 8))
    mass = 1 + 9 * torch.rand(2, num_tokens, dtype=torch.float64) if with_mass else None
    fine = [t.double() for t in (q, k, v)]
    truth = attend(*fine, scale=8**-0.5, mass=mass, score=score, impl="reference")
    found = attend(
        q, k, v, scale=8**-0.5, mass=None if mass is None else mass.float(), score=score, impl=impl
    )
    eager = _eager_at(dtype, q, k, v, mass)
    rounding = torch.finfo(dtype).eps * v.double().abs().max()
    tolerance = 2 * ((eager.double() - truth.x).abs().max() + rounding)
    assert found.x.dtype == dtype
    assert (found.x.double() - truth.x).abs().max() <= tolerance
    if score is not None:
        # Sums of N terms of at most log N each, in float32 whatever the dtype of q.
        assert found.score.dtype == torch.float32
        logits = (fine[0] @ fine[1].transpose(-1, -2) * 8**-0.5).abs().max()
        bound = (
            8
            * torch.finfo(torch.float32).eps
            * (logits + math.log(num_tokens) + 1)
            * (1 + math.log(num_tokens))
        )
        assert (found.score.double() - truth.score).abs().max() <= bound


def _eager_at(dtype: torch.dtype, q: Tensor, k: Tensor, v: Tensor, mass: Tensor | None) -> Tensor:
    """Plain eager attention with every step rounded to `dtype`: what a host would do."""
    logits = q @ k.transpose(-1, -2) * 8**-0.5
    if mass is not None:
        logits = logits + mass.log().to(dtype)[:, None, None]
    return logits.softmax(-1) @ v


@pytest.mark.parametrize("impl", IMPLS)
def test_mass_does_not_change_the_score(impl: str) -> None:
    q, k, v = spread_out(2, 2, 9, 4)
    plain = attend(q, k, v, scale=0.5, score="sharpness", impl=impl)
    heavy = attend(q, k, v, scale=0.5, mass=torch.rand(2, 9) * 50 + 1, score="sharpness", impl=impl)
    assert torch.allclose(plain.score, heavy.score, atol=1e-14)
    assert not torch.allclose(plain.x, heavy.x, atol=1e-2)


def test_a_key_of_mass_two_counts_as_two_equal_keys() -> None:
    q, k, v = spread_out(1, 2, 6, 4)
    mass = torch.tensor([[2.0, 1, 1, 1, 1, 1]])
    twice = [torch.cat([t[:, :, :1], t], dim=2) for t in (q, k, v)]
    single = attend(q, k, v, scale=0.5, mass=mass, score="sharpness").x
    assert torch.allclose(attend(*twice, scale=0.5, score="sharpness").x[:, :, 1:], single)


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_probabilities_that_underflow_to_zero_give_no_nan(
    impl: str, score: str, dtype: torch.dtype
) -> None:
    q, k, v = (t.to(dtype) for t in spread_out(2, 2, 50, 8, logit_std=300))
    out = attend(q, k, v, scale=8**-0.5, mass=torch.full((2, 50), 3.0), score=score, impl=impl)
    assert out.x.isfinite().all()
    assert out.score.isfinite().all()
    assert out.score.unique().numel() > 1  # not flattened by a fallback either


@pytest.mark.parametrize("impl", ["blocked", "native"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("sharper", [1, 3, 10, 30])
def test_sharp_attention_is_right_within_rounding(
    impl: str, dtype: torch.dtype, sharper: int
) -> None:
    """Most probabilities of sharp attention are less than the least number of float32."""
    q, k, v = (t.to(dtype) for t in spread_out(2, 3, 150, 16, logit_std=3.0 * sharper))
    mass = 1 + 9 * torch.rand(2, 150)
    for score in SCORES:
        fine = [t.double() for t in (q, k, v)]
        truth = attend(*fine, scale=0.25, mass=mass.double(), score=score, impl="reference")
        found = attend(q, k, v, scale=0.25, mass=mass, score=score, impl=impl)
        logits = (fine[0] @ fine[1].transpose(-1, -2) * 0.25).abs().max().item()
        eps = torch.finfo(dtype).eps
        assert (found.x.double() - truth.x).abs().max() <= 4 * (1e-7 * logits + eps) * v.abs().max()
        bound = 8 * torch.finfo(torch.float32).eps * (logits + 6) * 6
        assert (found.score.double() - truth.score).abs().max() <= bound


def test_no_block_has_a_subnormal_number() -> None:
    """They make the product with the values hundreds of times slower on some processors."""
    rising = torch.linspace(0, 120, 400)[None, None, :, None]  # probabilities down to e ** -120
    q = torch.ones_like(rising)
    for dtype in (torch.float32, torch.bfloat16):
        for _, attn in _blocks_of_attention(q.to(dtype), rising.to(dtype), 1.0, torch.float32):
            assert (attn >= torch.finfo(torch.float32).tiny).all()
            assert attn.min() < 1e-30
            assert attn.sum(-1).allclose(torch.ones(()))


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_logits_beyond_the_range_of_half_precision_give_no_nan(
    impl: str, dtype: torch.dtype
) -> None:
    q = torch.full((1, 1, 4, 64), 200.0, dtype=dtype)
    k = q * torch.tensor([1, -1, 1, 0.5], dtype=dtype)[:, None]  # q k = ±2.56e6, above fp16's 65504
    out = attend(q, k, torch.randn_like(q), scale=1.0, score="sharpness", impl=impl)
    assert out.x.isfinite().all()
    assert torch.allclose(out.score, torch.full((1, 4), -math.log(2)))


@pytest.mark.parametrize("impl", IMPLS)
def test_a_masked_key_counts_for_nothing_and_gives_no_nan(impl: str) -> None:
    """log 0 = -inf in the bias: the same as if the key were not there, for the values."""
    q, k, v = spread_out(1, 2, 7, 4)
    mass = torch.ones(1, 7)
    mass[0, 3] = 0
    others = [0, 1, 2, 4, 5, 6]
    out = attend(q, k, v, scale=0.5, mass=mass, score="sharpness", impl=impl)
    rest = [t[:, :, others] for t in (q, k, v)]
    expected = attend(*rest, scale=0.5, impl="reference").x
    assert torch.allclose(out.x[:, :, others], expected, atol=1e-12)
    assert out.score.isfinite().all()


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("score", ["sharpness", "sharpness-per-head"])
def test_equal_tokens_attend_evenly(impl: str, score: str) -> None:
    q = torch.ones(2, 3, 11, 4)
    out = attend(q, q, q, scale=0.5, score=score, impl=impl)
    assert torch.allclose(out.score, torch.full((2, 11), -math.log(11)), atol=1e-6)
    assert masked_saliency(out.score).isfinite().all()


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**31),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(2, 40), st.integers(1, 9)),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    logit_std=st.sampled_from([0.0, 1e-3, 1.0, 4.0, 30.0, 1e3]),
    heaviest=st.sampled_from([1.0, 10.0, 1e4]),
    score=st.sampled_from([*SCORES, None]),
    impl=st.sampled_from(IMPLS),
    data=st.data(),
)
def test_attending_and_merging_never_produce_a_non_finite_value(
    seed: int,
    shape: tuple[int, int, int, int],
    dtype: torch.dtype,
    logit_std: float,
    heaviest: float,
    score: str | None,
    impl: str,
    data: st.DataObject,
) -> None:
    torch.manual_seed(seed)
    r = data.draw(st.integers(0, shape[2] // 2))
    q, k, v = (t.to(dtype) for t in spread_out(*shape, logit_std=logit_std))
    mass = 1 + (heaviest - 1) * torch.rand(shape[0], shape[2])
    out = attend(q, k, v, scale=shape[3] ** -0.5, mass=mass, score=score, impl=impl)
    x = out.x.transpose(1, 2).flatten(2)
    weights = None if out.score is None else masked_saliency(out.score)
    merged, merged_mass = merge_tokens(x, mass, match_tokens(x, r), weights)
    for tensor in (out.x, merged, merged_mass, *([] if weights is None else [out.score, weights])):
        assert tensor.isfinite().all()


@pytest.mark.parametrize("impl", IMPLS)
def test_heads_that_look_at_different_keys_are_sharp_alone_and_flat_together(impl: str) -> None:
    """Two heads, each sure of a key of its own: entropy 0 of each, log 2 of their mean."""
    q = torch.tensor([[[[30.0, 0.0]] * 2], [[[0.0, 30.0]] * 2]]).transpose(0, 1)  # (1, 2, 2, 2)
    k = torch.eye(2).expand(1, 2, 2, 2)
    per_head = attend(q, k, k, scale=1.0, score="sharpness-per-head", impl=impl).score
    together = attend(q, k, k, scale=1.0, score="sharpness", impl=impl).score
    assert torch.allclose(per_head, torch.zeros(1, 2), atol=1e-6)
    assert torch.allclose(together, torch.full((1, 2), -math.log(2)), atol=1e-6)


@pytest.mark.parametrize("score", SCORES)
def test_one_clip_alone_equals_that_clip_in_a_batch(score: str) -> None:
    q, k, v = (t.float() for t in spread_out(4, 2, 45, 8))
    mass = 1 + torch.rand(4, 45)
    together = attend(q, k, v, scale=0.3, mass=mass, score=score)
    for b in range(4):
        one = slice(b, b + 1)
        alone = attend(q[one], k[one], v[one], scale=0.3, mass=mass[one], score=score)
        assert torch.allclose(alone.x[0], together.x[b], atol=1e-6)
        assert torch.allclose(alone.score[0], together.score[b], atol=1e-6)


@pytest.mark.parametrize("score", [*SCORES, None])
def test_gradients_are_those_of_the_reference(score: str | None) -> None:
    mass = 1 + torch.rand(2, 7, dtype=torch.float64)
    inputs = [t.requires_grad_() for t in spread_out(2, 2, 7, 4)]
    upstream = torch.randn(2, 2, 7, 4, dtype=torch.float64)
    fast = attend(*inputs, scale=0.5, mass=mass, score=score)
    slow = attend(*inputs, scale=0.5, mass=mass, score=score, impl="reference")
    for found, expected in zip(
        torch.autograd.grad(fast.x, inputs, upstream),
        torch.autograd.grad(slow.x, inputs, upstream),
        strict=True,
    ):
        assert torch.allclose(found, expected, atol=1e-12)
    if score is not None:
        assert not fast.score.requires_grad
        assert not slow.score.requires_grad
        assert torch.allclose(fast.score, slow.score, atol=1e-12)


def test_inputs_need_not_be_contiguous() -> None:
    qkv = torch.randn(2, 21, 3, 4, 8).permute(2, 0, 3, 1, 4)  # as a fused projection leaves them
    strided = attend(*qkv.unbind(0), scale=0.35, score="sharpness")
    packed = attend(*qkv.contiguous().unbind(0), scale=0.35, score="sharpness")
    assert torch.allclose(strided.x, packed.x, atol=1e-6)
    assert torch.allclose(strided.score, packed.score, atol=1e-6)


def test_an_empty_batch_gives_an_empty_result() -> None:
    q = torch.randn(0, 2, 5, 4)
    out = attend(q, q, q, scale=0.5, score="sharpness")
    assert out.x.shape == (0, 2, 5, 4)
    assert out.score.shape == (0, 5)


@pytest.mark.parametrize("score", [*SCORES, None])
def test_it_compiles_to_one_graph(score: str | None) -> None:
    q, k, v = (t.float() for t in spread_out(1, 2, 40, 4))
    mass = 1 + torch.rand(1, 40)

    def run(q: Tensor, k: Tensor, v: Tensor, mass: Tensor) -> tuple[Tensor, Tensor | None]:
        return attend(q, k, v, scale=0.5, mass=mass, score=score)

    compiled = torch.compile(run, fullgraph=True)(q, k, v, mass)
    expected = run(q, k, v, mass)
    assert torch.allclose(compiled[0], expected[0], atol=1e-5)
    if score is not None:
        assert torch.allclose(compiled[1], expected[1], atol=1e-5)


class Attending(torch.nn.Module):
    def __init__(self, score: str | None, impl: str) -> None:
        super().__init__()
        self.score, self.impl = score, impl

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mass: Tensor) -> tuple[Tensor, ...]:
        x, score = attend(q, k, v, scale=0.5, mass=mass, score=self.score, impl=self.impl)
        return (x,) if score is None else (x, score)


def of_batch(num_clips: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(num_clips)
    q, k, v = torch.randn(3, num_clips, 2, 40, 4, generator=generator)
    return [q, k, v, 1 + torch.rand(num_clips, 40, generator=generator)]


@pytest.mark.parametrize("impl", IMPLS_BELOW_FLOAT64)
@pytest.mark.parametrize("score", [*SCORES, None])
def test_one_exported_graph_serves_any_number_of_clips(score: str | None, impl: str) -> None:
    attending = Attending(score, impl)
    batch = torch.export.Dim("batch", min=1, max=64)
    exported = torch.export.export(
        attending, tuple(of_batch(2)), dynamic_shapes=[{0: batch}] * 4
    ).module()
    for num_clips in (1, 3, 50):  # 50 clips are more than one block of the eager path
        inputs = of_batch(num_clips)
        for found, expected in zip(exported(*inputs), attending(*inputs), strict=True):
            assert torch.allclose(found, expected, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("impl", IMPLS_BELOW_FLOAT64)
@pytest.mark.parametrize("score", [*SCORES, None])
def test_one_more_compiled_graph_serves_all_further_numbers_of_clips(
    score: str | None, impl: str
) -> None:
    if impl == "blocked" and score is not None and TorchVersion(torch.__version__) < (2, 13):
        pytest.skip("torch before 2.13 takes the number of clips for a constant at `out=`")
    graphs = []

    def count(graph: torch.fx.GraphModule, _: list[Tensor]) -> object:
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    compiled = torch.compile(Attending(score, impl), backend=count, fullgraph=True)
    for num_clips in range(2, 9):
        compiled(*of_batch(num_clips))
    assert len(graphs) == 2  # torch takes the first number it sees for a constant


@pytest.mark.parametrize("score", SCORES)
def test_the_blocked_path_never_holds_the_map(score: str) -> None:
    """The largest tensor of the blocked path stays far below the map's B H N N numbers."""
    from torch.utils._python_dispatch import TorchDispatchMode

    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            for tensor in out if isinstance(out, tuple | list) else [out]:
                if isinstance(tensor, Tensor):
                    largest = max(
                        largest, tensor.untyped_storage().nbytes() // tensor.element_size()
                    )
            return out

    q = torch.randn(2, 4, 600, 16)
    with Watch():
        attend(q, q, q, scale=0.25, mass=torch.ones(2, 600), score=score, impl="blocked")
    assert largest <= 3 * q.numel()
    assert largest < 2 * 4 * 600 * 600 / 10


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"k": torch.zeros(1, 2, 4, 4)},
            ValueError,
            r"q, k, v must all be \(B, H, N, D\), got .*\(1, 2, 4, 4\)",
        ),
        ({"q": torch.zeros(2, 3, 4)}, ValueError, r"q, k, v must all be \(B, H, N, D\)"),
        (
            {"v": torch.zeros(1, 2, 3, 4, dtype=torch.half)},
            TypeError,
            "must share one floating-point dtype",
        ),
        (
            {"mass": torch.ones(1, 4)},
            ValueError,
            r"mass must be \(1, 3\), one a key, got shape \(1, 4\)",
        ),
        ({"score": "entropy"}, ValueError, r"score must be one of .*'sharpness'.* got 'entropy'"),
        ({"impl": "cuda"}, ValueError, r"impl must be one of .*'blocked'.* got 'cuda'"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(
    change: dict[str, object], error: type[Exception], message: str
) -> None:
    good = {name: torch.zeros(1, 2, 3, 4) for name in "qkv"}
    with pytest.raises(error, match=message):
        attend(**{**good, "scale": 1.0, **change})  # type: ignore[arg-type]


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("score", SCORES)
def test_autocast_around_it_changes_nothing(impl: str, score: str) -> None:
    q, k, v = (t.float() for t in spread_out(2, 2, 33, 8))
    mass = 1 + torch.rand(2, 33)
    plain = attend(q, k, v, scale=0.35, mass=mass, score=score, impl=impl)
    with torch.autocast("cpu", torch.bfloat16):
        inside = attend(q, k, v, scale=0.35, mass=mass, score=score, impl=impl)
    assert torch.equal(inside.score, plain.score)
    assert torch.equal(inside.x, plain.x)
