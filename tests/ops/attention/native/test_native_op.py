import math
import os
import subprocess
import sys
from functools import partial

import pytest
import torch
from torch import Tensor

from vidtldr.measure.memory import peak_tensor_bytes
from vidtldr.ops.attention import attend
from vidtldr.ops.attention.native import native_op
from vidtldr.ops.attention.native.build import KernelError
from vidtldr.ops.attention.native.kernel import Kernel, find_kernel, load_kernel, rows_of_a_block

SCORES = ["sharpness", "sharpness-per-head", "received", None]


@pytest.fixture(scope="module", autouse=True)
def kernel() -> Kernel:
    found = find_kernel()
    if isinstance(found, KernelError):
        pytest.skip(f"the kernel cannot be built here: {found}")
    return found


@pytest.fixture(scope="module")
def with_emulated_bfloat16(kernel: Kernel) -> Kernel:
    """Built so that loops do what instructions for bfloat16 do, on any processor."""
    return load_kernel("-DVIDTLDR_EMULATE_BFLOAT16")


def drawn(
    shape: tuple[int, int, int, int], dtype: torch.dtype, logit_std: float = 3.0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """q, k, v (B, H, N, D) as a fused projection leaves them, and mass (B, N)."""
    batch, heads, tokens, channels = shape
    q, k, v = torch.randn(batch, tokens, 3, heads, channels).permute(2, 0, 3, 1, 4).unbind(0)
    return (q * logit_std).to(dtype), k.to(dtype), v.to(dtype), 1 + 9 * torch.rand(batch, tokens)


def errors(found: tuple[Tensor, Tensor | None], truth: tuple[Tensor, Tensor | None]) -> list[float]:
    return [
        (one.double() - other).abs().max().item()
        for one, other in zip(found, truth, strict=True)
        if one is not None and other is not None
    ]


def eager_at(
    dtype: torch.dtype, q: Tensor, k: Tensor, v: Tensor, scale: float, mass: Tensor | None
) -> Tensor:
    """Plain attention with every step rounded to `dtype`."""
    logits = q @ k.transpose(-1, -2) * scale
    if mass is not None:
        logits = logits + mass.log().to(dtype)[:, None, None]
    return logits.softmax(-1) @ v


def score_bound(q: Tensor, k: Tensor, scale: float) -> float:
    """Sums of N terms of at most log N each, in float32 whatever the dtype of q."""
    logits = (q.double() @ k.double().transpose(-1, -2) * scale).abs().max().item()
    log_n = math.log(q.shape[2])
    return 8 * torch.finfo(torch.float32).eps * (logits + log_n + 1) * (1 + log_n)


def truth_of(
    q: Tensor, k: Tensor, v: Tensor, scale: float, mass: Tensor | None, score: str | None
) -> tuple[Tensor, Tensor | None]:
    fine = [t.double() for t in (q, k, v)]
    mass = None if mass is None else mass.double()
    return attend(*fine, scale=scale, mass=mass, score=score, impl="reference")


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "shape", [(1, 1, 1, 1), (2, 3, 2, 5), (1, 2, 37, 64), (3, 5, 61, 24), (2, 2, 130, 80)]
)
@pytest.mark.parametrize("scale", [0.2, -0.2, 0.0])
def test_odd_sizes_and_any_scale_stay_within_rounding(
    shape: tuple[int, int, int, int], dtype: torch.dtype, score: str | None, scale: float
) -> None:
    q, k, v, mass = drawn(shape, dtype)
    for weights in (mass, None):
        found = attend(q, k, v, scale=scale, mass=weights, score=score, impl="native")
        truth = truth_of(q, k, v, scale, weights, score)
        off = errors(found, truth)
        eager = eager_at(dtype, q, k, v, scale, weights)
        rounding = torch.finfo(dtype).eps * v.double().abs().max().item()
        assert off[0] <= 2 * ((eager.double() - truth[0]).abs().max().item() + rounding)
        assert all(each <= score_bound(q, k, scale) for each in off[1:])


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("shape", [(2, 3, 37, 64), (1, 2, 601, 25), (2, 1, 1, 7)])
def test_products_of_bfloat16_stay_within_rounding(
    with_emulated_bfloat16: Kernel, shape: tuple[int, int, int, int], score: str | None
) -> None:
    assert with_emulated_bfloat16.multiplies_bfloat16
    q, k, v, mass = drawn(shape, torch.bfloat16)
    for weights in (mass, None):
        for scale in (0.2, -0.2):
            x = native_op._empty_values(v)
            score_of = with_emulated_bfloat16.run(q, k, v, x, scale, weights, score)
            off = errors((x, score_of), truth_of(q, k, v, scale, weights, score))
            # Weights are rounded to bfloat16, as by torch's own fused attention.
            assert off[0] <= 2 * torch.finfo(torch.bfloat16).eps * max(v.abs().max().item(), 1)
            assert all(each <= score_bound(q, k, scale) for each in off[1:])


@pytest.mark.parametrize("score", SCORES)
def test_neither_threads_nor_blocks_change_a_bit(score: str | None) -> None:
    q, k, v, mass = drawn((2, 3, 211, 16), torch.float32)
    threads = torch.get_num_threads()
    found = []
    try:
        for num_threads in (1, 2, 3):
            torch.set_num_threads(num_threads)
            found.append(attend(q, k, v, scale=0.2, mass=mass, score=score, impl="native"))
    finally:
        torch.set_num_threads(threads)
    alone = attend(q[1:], k[1:], v[1:], scale=0.2, mass=mass[1:], score=score, impl="native")
    assert all(each.x.equal(found[0].x) for each in found)
    assert alone.x.equal(found[0].x[1:])
    if score in ("sharpness", "sharpness-per-head"):
        assert all(each.score.equal(found[0].score) for each in found)
    if score == "received":  # each thread sums up its own rows first
        assert all(torch.allclose(each.score, found[0].score, rtol=1e-5) for each in found)


def test_threads_have_the_same_number_of_rows() -> None:
    for num_rows in (1, 50, 197, 588, 2352, 16384):
        for threads in (1, 2, 7, 64):
            rows = rows_of_a_block(num_rows, threads)
            assert 1 <= rows <= 72
            own = num_rows / threads
            rounds = math.ceil(math.ceil(num_rows / rows) / threads)  # blocks of the busiest thread
            assert rounds * rows <= math.ceil(own) + rounds


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tensors_of_any_strides_are_read_right(dtype: torch.dtype) -> None:
    q, k, v, mass = drawn((2, 3, 29, 8), dtype)
    plain = attend(q, k, v, scale=0.3, mass=mass, score="sharpness", impl="native")
    others = [
        [t.contiguous() for t in (q, k, v)],
        [t.transpose(-1, -2).contiguous().transpose(-1, -2) for t in (q, k, v)],
        [torch.stack([t, t], dim=-1)[..., 0] for t in (q, k, v)],
    ]
    for each in others:
        found = attend(*each, scale=0.3, mass=mass.double(), score="sharpness", impl="native")
        assert found.x.equal(plain.x)
        assert found.score.equal(plain.score)


def test_nothing_to_attend_to_is_no_error() -> None:
    for shape in ((0, 2, 5, 4), (2, 2, 0, 4)):
        q = torch.empty(shape)
        out = attend(q, q, q, scale=1.0, score="sharpness", impl="native")
        assert out.x.shape == shape
        assert out.score.shape == (shape[0], shape[2])


@pytest.mark.parametrize("score", SCORES)
def test_nan_and_infinity_reach_the_rows_that_see_them_and_no_others(score: str | None) -> None:
    q, k, v, _ = drawn((2, 2, 19, 8), torch.float32)
    for strange in (float("nan"), float("inf")):
        q = q.clone()
        q[1, 0, 3] = strange
        out = attend(q, k, v, scale=0.3, score=score, impl="native")
        expected = attend(q, k, v, scale=0.3, score=score, impl="reference")
        assert out.x.isnan().equal(expected.x.isnan())
        assert out.x[1, 0, 3].isnan().all()
        assert not out.x[0].isnan().any()
        if score is not None:
            assert out.score.isnan().equal(expected.score.isnan())


def test_logits_that_are_all_minus_infinity_give_nan_as_everywhere() -> None:
    q = torch.full((1, 1, 3, 4), 1e20)
    for impl in ("reference", "blocked", "native"):
        out = attend(q, -q, q, scale=1.0, score="sharpness", impl=impl)
        assert out.x.isnan().all()
        assert out.score.isnan().all()


def test_the_operators_are_what_torch_expects() -> None:
    q, k, v, mass = drawn((2, 3, 17, 8), torch.float32)
    checks = ("test_schema", "test_faketensor")
    for each in ("sharpness", None):
        arguments = (q, k, v, 0.3, mass, each)
        torch.library.opcheck(torch.ops.vidtldr.native_attention, arguments, test_utils=checks)
    torch.library.opcheck(
        torch.ops.vidtldr.native_score, (q, k, 0.3, "received"), test_utils=checks
    )


@pytest.mark.slow
def test_it_is_one_node_of_a_compiled_and_of_an_exported_graph(compiler: None) -> None:
    class Layer(torch.nn.Module):
        def forward(self, q: Tensor, k: Tensor, v: Tensor, mass: Tensor) -> tuple[Tensor, Tensor]:
            out = attend(q, k, v, scale=0.3, mass=mass, score="sharpness", impl="native")
            assert out.score is not None
            return out.x, out.score

    inputs = drawn((2, 3, 17, 8), torch.float32)
    with torch.no_grad():
        expected = Layer()(*inputs)
        exported = torch.export.export(Layer(), inputs)
        called = [node.target for node in exported.graph.nodes if node.op == "call_function"]
        assert called.count(torch.ops.vidtldr.native_attention.default) == 1
        assert torch.ops.aten.bmm.default not in called
        for layer in (
            torch.compile(Layer(), fullgraph=True),
            exported.module(),
        ):
            for one, other in zip(layer(*inputs), expected, strict=True):
                assert one.equal(other)


def test_the_score_has_no_gradient_and_the_values_theirs() -> None:
    q, k, v, mass = drawn((2, 2, 9, 4), torch.float32)
    leaves = [t.detach().clone().requires_grad_() for t in (q, k, v)]
    out = attend(*leaves, scale=0.5, mass=mass, score="sharpness", impl="native")
    assert out.score is not None
    assert not out.score.requires_grad
    out.x.square().sum().backward()
    expected = [t.detach().double().requires_grad_() for t in (q, k, v)]
    fine = attend(*expected, scale=0.5, mass=mass.double(), impl="reference").x
    fine.square().sum().backward()
    for leaf, other in zip(leaves, expected, strict=True):
        assert (leaf.grad.double() - other.grad).abs().max() < 1e-4


def test_what_it_does_not_support_is_said() -> None:
    q = torch.randn(1, 1, 3, 4, dtype=torch.float64)
    with pytest.raises(
        NotImplementedError, match=r"float32, float16 or bfloat16.*got torch.float64"
    ):
        attend(q, q, q, scale=1.0, score="sharpness", impl="native")
    q = q.float().to("meta")
    with pytest.raises(NotImplementedError, match='on the CPU for impl="native", got meta'):
        attend(q, q, q, scale=1.0, score="sharpness", impl="native")


def test_a_build_that_is_wrong_for_a_dtype_is_not_used(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native_op, "find_kernel", lambda: kernel._replace(usable=1))
    q = torch.randn(1, 1, 3, 4)
    attend(q, q, q, scale=1.0, score="sharpness", impl="native")
    with pytest.raises(ImportError, match=r"not available here for torch\.bfloat16: as the compil"):
        attend(*[q.bfloat16()] * 3, scale=1.0, score="sharpness", impl="native")


@pytest.mark.parametrize(
    ("bytes_asked", "outcome", "said"),
    [(1 << 60, 0, "allocate memory"), (64, 1, 'impl="native" failed. Pass impl="blocked"')],
)
def test_too_little_memory_and_failure_are_said(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch, bytes_asked: int, outcome: int, said: str
) -> None:
    class Broken:
        def vidtldr_workspace_bytes(self, _: object) -> int:
            return bytes_asked

        def vidtldr_attention(self, _: object) -> int:
            return outcome

    monkeypatch.setattr(native_op, "find_kernel", lambda: kernel._replace(library=Broken()))
    q = torch.randn(1, 1, 3, 4)
    with pytest.raises(RuntimeError, match=said):
        attend(q, q, q, scale=1.0, score="sharpness", impl="native")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_memory_grows_with_tokens_and_is_seen_by_whoever_watches_operators(
    kernel: Kernel, dtype: torch.dtype
) -> None:
    peaks = []
    for num_tokens in (500, 1000, 2000):
        q, k, v, mass = drawn((1, 2, num_tokens, 16), dtype)
        run = partial(attend, q, k, v, scale=0.25, mass=mass, score="sharpness", impl="native")
        peaks.append(peak_tensor_bytes(run, q.device))
        copies = 2 * 4 * q.numel()  # keys and values in float32
        assert peaks[-1] > copies
    assert peaks[2] < 4 * 2 * 2000**2  # a map of both heads
    assert peaks[2] - peaks[1] < 2.2 * (peaks[1] - peaks[0])


def test_a_forked_process_that_has_one_thread_does_not_hang() -> None:
    """As workers of a DataLoader are: threads that its parent started were not forked."""
    program = (
        "import os, torch\n"
        "from vidtldr.ops.attention import attend\n"
        "torch.randn(600, 600) @ torch.randn(600, 600)\n"
        "(torch.randn(1 << 20) + 1).sum()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    torch.set_num_threads(1)\n"
        "    q = torch.randn(1, 2, 40, 4)\n"
        "    attend(q, q, q, scale=0.5, score='sharpness', impl='native')\n"
        "    os._exit(0)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    subprocess.run([sys.executable, "-c", program], env=environment, timeout=120, check=True)


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"CXX": "no-such-compiler"}, "there is no C++ compiler 'no-such-compiler'; install g++"),
        ({"CXX": "false"}, "the compiler 'false' does not build it"),
        ({"VIDTLDR_NATIVE": "0"}, ""),
    ],
)
def test_without_a_kernel_attention_goes_another_way_and_says_so(
    variables: dict[str, str], said: str
) -> None:
    program = (
        "import torch\n"
        "from vidtldr.ops.attention import attend\n"
        "q = torch.randn(1, 2, 9, 4)\n"
        "for _ in range(2):\n"
        "    found = attend(q, q, q, scale=0.5, score='sharpness')\n"
        "expected = attend(q, q, q, scale=0.5, score='sharpness', impl='blocked')\n"
        "assert found.x.equal(expected.x)\n"
        "try:\n"
        "    attend(q, q, q, scale=0.5, impl='native')\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr.count("attention runs in plain torch") == (1 if said else 0)
    assert said in done.stderr
    assert said in done.stdout
