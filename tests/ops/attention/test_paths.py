import pytest
import torch

from vidtldr.ops.attention import attend, paths
from vidtldr.ops.attention.paths import ROWS, choose_path, runnable_paths


def queries(dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(1, 2, 300, 8).to(dtype)


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Pretend to be on another processor."""

    def pretend(processor: str, *, with_kernel: bool = True) -> None:
        monkeypatch.setattr(paths, "cpu_capability", lambda: processor)
        monkeypatch.setattr(paths, "can_run_native", lambda device, dtype: with_kernel)
        paths._find_rows.cache_clear()

    yield pretend
    paths._find_rows.cache_clear()


@pytest.mark.parametrize("processor", paths.EVERY_CPU)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_every_processor_scores_by_the_kernel_or_in_blocks(  # type: ignore[no-untyped-def]
    on, processor: str, dtype: torch.dtype
) -> None:
    on(processor)
    assert choose_path(queries(dtype), is_scored=True) == "native"
    on(processor, with_kernel=False)
    assert choose_path(queries(dtype), is_scored=True) == "blocked"


@pytest.mark.parametrize(
    ("processor", "dtype", "expected"),
    [
        ("amx", torch.bfloat16, "fused"),
        ("avx512-bf16", torch.bfloat16, "native"),
        ("avx512-bf16", torch.float32, "native"),
        ("avx2", torch.bfloat16, "native"),
        ("avx2", torch.float16, "native"),
        ("avx2", torch.float32, "fused"),
        ("arm", torch.bfloat16, "fused"),
        ("other", torch.float32, "fused"),
    ],
)
def test_without_a_score_the_processor_decides(  # type: ignore[no-untyped-def]
    on, processor: str, dtype: torch.dtype, expected: str
) -> None:
    on(processor)
    assert choose_path(queries(dtype), is_scored=False) == expected


def test_float64_goes_the_ways_that_keep_it() -> None:
    assert choose_path(queries(torch.float64), is_scored=True) == "blocked"
    assert choose_path(queries(torch.float64), is_scored=False) == "fused"


def test_auto_goes_the_way_that_is_chosen() -> None:
    q = queries(torch.float32)
    chosen = choose_path(q, is_scored=True)
    auto, named = (attend(q, q, q, scale=0.3, score="sharpness", impl=i) for i in ("auto", chosen))  # type: ignore[arg-type]
    assert auto.x.equal(named.x)
    assert auto.score is not None
    assert auto.score.equal(named.score)


def test_the_choice_is_among_what_can_run_here() -> None:
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        for is_scored in (True, False):
            q = queries(dtype)
            assert choose_path(q, is_scored=is_scored) in runnable_paths(q, is_scored=is_scored)


def test_every_row_says_what_supports_it() -> None:
    assert all(row.evidence for row in ROWS)
    assert {name for row in ROWS for name in row.processors} <= {*paths.EVERY_CPU, "gpu"}
