"""Fixtures that every room's tests share."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from vidtldr.measure import timing
from vidtldr.measure.busyness import IDLE
from vidtldr.ops.cpp_compiler import cpp_compiler, finds_cpp_compiler

_SHARED = Path(os.environ.get("VIDTLDR_SHARED", Path(__file__).resolve().parents[2] / "shared"))


# Shells start what runs in the background with this signal ignored, and its children inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def _idle() -> Iterator[None]:
    """What is printed and kept must not depend on who else is on the machine that tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timing, "busy_between", lambda *_, **__: IDLE)
        yield


@pytest.fixture(scope="session")
def compiler() -> None:
    """What `torch.compile` needs on a CPU."""
    if not finds_cpp_compiler():
        pytest.skip(f"compiling for a CPU needs the C++ compiler {cpp_compiler()} (or CXX)")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Ray on this machine."""
    pytest.importorskip("ray.data")
    from vidtldr.pipeline.ray import require_ray

    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    # Ray reads this name as it is; at its usual niceness a busy machine lets actors wait for ever.
    os.environ.update(RAY_worker_niceness="0")
    ray = require_ray()
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield ray
    ray.shutdown()


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
