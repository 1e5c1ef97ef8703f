"""Check that the kernels are correct before anything is timed."""

import os
import subprocess
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import vidtldr
from gpu_stages.bounds import Inputs, errors_of, is_within
from gpu_stages.stage import Work
from vidtldr.ops.attention import AttentionScore, attend

__all__ = ["check_kernels", "run_gpu_tests"]

TESTS = Path(__file__).resolve().parents[2] / "tests"
SCORES: tuple[AttentionScore, ...] = ("sharpness", "sharpness-per-head", "received")
BATCH = 2


@dataclass(frozen=True)
class Case:
    """One test case of the kernels."""

    dtype: torch.dtype
    score: AttentionScore
    with_mass: bool
    num_tokens: int

    def to_dict(self) -> dict[str, Any]:
        """Return the case, ready for JSON."""
        dtype = str(self.dtype).removeprefix("torch.")
        return vars(self) | {"dtype": dtype}


def check_kernels(work: Work) -> dict[str, Any]:
    """Compare `attend(impl="triton")` with float64, the most used cases first."""
    found: list[dict[str, Any]] = []
    cases = list(_cases(work.sizes.checked_tokens))
    for case in cases:
        if work.seconds_left <= 0:
            break
        found.append(case.to_dict() | _check(case, work))
        work.keep(_count(found, len(cases)))
    return _count(found, len(cases))


def _cases(checked_tokens: tuple[int, ...]) -> Iterator[Case]:
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        for score in SCORES:
            for with_mass in (True, False):
                for num_tokens in checked_tokens:
                    yield Case(dtype, score, with_mass, num_tokens)


def _check(case: Case, work: Work) -> dict[str, Any]:
    shape = (BATCH, work.sizes.num_heads, case.num_tokens, work.sizes.channels)
    inputs = Inputs.draw(shape, case.dtype, work.device)
    try:
        out = attend(
            inputs.q,
            inputs.k,
            inputs.v,
            scale=inputs.scale,
            mass=inputs.mass if case.with_mass else None,
            score=case.score,
            impl="triton",
        )
        errors = errors_of(out, inputs, with_mass=case.with_mass, score=case.score)
    except Exception:  # any error is the result of this case; the next one still runs
        return {"is_right": False, "traceback": traceback.format_exc()}
    return {"is_right": is_within(errors), "errors": errors}


def _count(found: list[dict[str, Any]], num_cases: int) -> dict[str, Any]:
    return {
        "num_checked": len(found),
        "num_left_out": num_cases - len(found),
        "num_wrong": sum(not case["is_right"] for case in found),
        "cases": found,
    }


def run_gpu_tests(work: Work) -> dict[str, Any]:
    """Run the tests marked gpu; their output is kept on a timeout."""
    files = sorted(str(p) for p in TESTS.rglob("test_*.py") if "mark.gpu" in p.read_text())
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-x", "-q", "-p", "no:cacheprovider"]
    source = str(Path(vidtldr.__file__).parents[1])
    try:
        done = subprocess.run(
            [*command, *files],
            cwd=TESTS.parent,
            env=os.environ | {"PYTHONPATH": source},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=max(1, work.seconds_left),
            check=False,
        )
    except subprocess.TimeoutExpired as stopped:
        said = stopped.stdout or b""
        said = said.decode(errors="replace") if isinstance(said, bytes) else said
        return {"exit_code": None, "note": "the time was up", "tail": said[-4000:]}
    return {"exit_code": done.returncode, "num_files": len(files), "tail": done.stdout[-4000:]}
