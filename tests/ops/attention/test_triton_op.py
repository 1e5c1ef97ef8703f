"""Where the Triton kernels run and where not. These tests load no Triton."""

import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from vidtldr.ops.attention import attend, triton_op
from vidtldr.ops.attention.paths import choose_path
from vidtldr.ops.attention.triton_op import can_run_triton

DTYPES = [torch.float32, torch.float16, torch.bfloat16]


def queries(dtype: torch.dtype = torch.float32, channels: int = 64, device: str = "cpu") -> Tensor:
    return torch.zeros(1, 2, 3, channels, dtype=dtype, device=device)


@pytest.fixture
def ampere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Triton is installed and can be built, and the GPU of fake tensors is one it supports."""
    headers = tmp_path / "include"
    headers.mkdir()
    (headers / "Python.h").touch()
    monkeypatch.setattr(triton_op, "_INSTALLED", True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(triton_op.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(triton_op.sysconfig, "get_path", lambda *_: str(headers))
    _forget()
    yield
    _forget()


def _forget() -> None:
    triton_op._can_build_driver.cache_clear()
    triton_op._find_missing_for_driver.cache_clear()


@pytest.mark.parametrize("missing", ["compiler", "header"])
def test_auto_on_a_gpu_is_blocked_where_triton_cannot_build_its_driver(
    ampere: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, missing: str
) -> None:
    if missing == "compiler":
        monkeypatch.setattr(triton_op.shutil, "which", lambda name: None)
        said = "Triton needs a C compiler to build"
    else:
        monkeypatch.setattr(triton_op.sysconfig, "get_path", lambda *_: str(tmp_path))
        said = r"Triton needs .*Python\.h to build"
    with FakeTensorMode():
        q = queries(device="cuda")
        with pytest.warns(UserWarning, match=said):
            assert not can_run_triton(q)
        with warnings.catch_warnings(action="error"):  # said once
            assert not can_run_triton(q)
        with pytest.raises(ImportError, match=r"Install gcc and the headers of Python, or pass im"):
            attend(q, q, q, scale=1.0, score="sharpness", impl="triton")
    monkeypatch.setenv("CC", "cc")
    _forget()
    assert (triton_op._missing_for_driver() is None) == (missing == "compiler")


def test_auto_on_the_cpu_is_not_triton(ampere: None) -> None:
    q, k, v = torch.randn(3, 1, 2, 37, 16)
    assert not can_run_triton(q)
    assert choose_path(q, is_scored=True) in ("native", "blocked")
    assert attend(q, k, v, scale=0.25, score="sharpness").x.isfinite().all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [4, 40, 64, 128])
def test_auto_on_a_gpu_is_triton(ampere: None, dtype: torch.dtype, channels: int) -> None:
    with FakeTensorMode():
        q = queries(dtype, channels, "cuda")
        assert can_run_triton(q)
        out = attend(q, q, q, scale=1.0, score="sharpness")
    # The kernels leave the heads side by side; blocked attention keeps the layout of the values.
    assert out.x.transpose(1, 2).is_contiguous()
    assert out.score.dtype == torch.float32


def test_auto_on_a_gpu_is_blocked_where_the_kernels_cannot_run(
    ampere: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeTensorMode():
        q = queries(device="cuda")
        assert not can_run_triton(queries(torch.float64, device="cuda"))
        assert not can_run_triton(queries(channels=129, device="cuda"))
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
        assert not can_run_triton(q)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
        assert can_run_triton(q)
        monkeypatch.setattr(triton_op, "_INSTALLED", False)
        assert not can_run_triton(q)


def test_a_compiled_graph_takes_the_choice_as_a_constant(ampere: None) -> None:
    def run(x: Tensor) -> Tensor:
        x = x + 1 if triton_op._is_supported_gpu(x.device) else x - 1
        return x + 1 if triton_op._missing_for_driver() is None else x - 1

    compiled = torch.compile(run, fullgraph=True, backend="eager")
    assert compiled(torch.zeros(1)) == 2


@pytest.mark.parametrize(
    ("q", "message"),
    [
        (queries(torch.float64), r"q must be float32, float16 or bfloat16 .* got torch.float64"),
        (queries(channels=129), r"q must have at most 128 channels a head .* got 129. Pass impl="),
        (queries(), r"q must be on a CUDA device .* got cpu. Move it, .*TRITON_INTERPRET=1"),
    ],
)
@pytest.mark.parametrize("score", ["sharpness", None])
def test_what_the_kernels_cannot_do_is_refused(
    ampere: None, monkeypatch: pytest.MonkeyPatch, q: Tensor, message: str, score: str | None
) -> None:
    monkeypatch.setattr(triton_op, "_INTERPRETED", False)
    with pytest.raises(NotImplementedError, match=message):
        attend(q, q, q, scale=1.0, score=score, impl="triton")


def test_without_triton_the_error_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_op, "_INSTALLED", False)
    with pytest.raises(ImportError, match=r"must find the package triton.*`pip install triton`"):
        attend(queries(), queries(), queries(), scale=1.0, impl="triton")


def test_registering_the_operators_loads_no_triton() -> None:
    code = (
        "import sys, torch; import vidtldr.ops.attention; torch.ops.vidtldr.attention_score; "
        "print('triton' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
