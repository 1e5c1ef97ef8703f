"""Fixtures that every room's tests share."""

import os
from pathlib import Path

import pytest
import torch

from vidtldr.hosts.compiling import cpp_compiler, finds_cpp_compiler

_SHARED = Path(os.environ.get("VIDTLDR_SHARED", Path(__file__).resolve().parents[2] / "shared"))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def compiler() -> None:
    """What `torch.compile` needs on a CPU."""
    if not finds_cpp_compiler():
        pytest.skip(f"compiling for a CPU needs the C++ compiler {cpp_compiler()} (or CXX)")


@pytest.fixture(scope="session")
def golden() -> Path:
    """The authors' numbers, which are not part of the project."""
    folder = _SHARED / "golden"
    if not folder.is_dir():
        pytest.skip(
            "the authors' golden outputs lie beside the checkout (../shared/golden) or nowhere"
        )
    return folder


@pytest.fixture(scope="session")
def real_videos() -> Path:
    """Camera footage, which is not part of the project."""
    folder = _SHARED / "videos"
    if not folder.is_dir():
        pytest.skip("real footage lies beside the checkout (../shared/videos) or nowhere")
    return folder
