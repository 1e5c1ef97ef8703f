"""The Triton kernels as custom torch operators, registered without loading Triton.

As operators they are one node in a compiled graph and can be captured in a CUDA graph. They have no
gradient: where one is needed, `attend` uses only the score, of detached queries and keys.

Letters: `B` clips, `H` heads, `N` tokens now, `D` channels a head.
"""

import os
import shutil
import sysconfig
import warnings
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

__all__ = ["can_run_triton", "triton_attention", "triton_score", "validate_triton"]

_DTYPES = (torch.float32, torch.float16, torch.bfloat16)
_LARGEST_D = 128  # above, tiles of queries and keys no longer fit a streaming multiprocessor
# Read once, as Triton reads the variable: compiled graphs treat both as constants.
_INSTALLED = find_spec("triton") is not None
_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


@torch.library.custom_op("vidtldr::attention_with_score", mutates_args=())
def triton_attention(
    q: Tensor, k: Tensor, v: Tensor, scale: float, mass: Tensor | None, score: str
) -> tuple[Tensor, Tensor]:
    """Compute `attend` with a score on a GPU. No gradient flows through it.

    Args:
        q: Queries, shape (B, H, N, D), any strides; see `validate_triton` for dtype and D.
        k: Keys, same shape and dtype.
        v: Values, same shape and dtype.
        scale: Factor of the logits.
        mass: Mass of each key, shape (B, N), positive, or None.
        score: `"sharpness"`, `"received"` or `"sharpness-per-head"` (the mean over heads of each
            head's negative row entropy).

    Returns:
        Attended values, shape (B, H, N, D), dtype of `v`, and the score, shape (B, N), float32.
    """
    from vidtldr.ops.attention.triton_launch import run_kernels

    x = _empty_values(v)
    return x, run_kernels(q, k, v, x, scale, mass, score)


@torch.library.custom_op("vidtldr::attention_score", mutates_args=())
def triton_score(q: Tensor, k: Tensor, scale: float, score: str) -> Tensor:
    """Compute the score only, shape (B, N), float32; arguments as in `triton_attention`."""
    from vidtldr.ops.attention.triton_launch import run_kernels

    return run_kernels(q, k, None, None, scale, None, score)


@triton_attention.register_fake
def _(
    q: Tensor, k: Tensor, v: Tensor, scale: float, mass: Tensor | None, score: str
) -> tuple[Tensor, Tensor]:
    return _empty_values(v), _empty_score(q)


@triton_score.register_fake
def _(q: Tensor, k: Tensor, scale: float, score: str) -> Tensor:
    return _empty_score(q)


def _empty_values(v: Tensor) -> Tensor:
    """Empty (B, H, N, D) with heads adjacent in memory, so that joining them copies nothing."""
    batch, heads, num_tokens, channels = v.shape
    return v.new_empty(batch, num_tokens, heads, channels).transpose(1, 2)


def _empty_score(q: Tensor) -> Tensor:
    return q.new_empty((q.shape[0], q.shape[2]), dtype=torch.float32)


def can_run_triton(q: Tensor) -> bool:
    """Whether the kernels can run on these queries, for `impl="auto"`.

    This takes a GPU that Triton supports (NVIDIA since Ampere, or AMD), Triton itself, the tools
    it builds its driver with, and a dtype and D that the kernels support. The interpreter does not
    count: it is far too slow.
    """
    return (
        q.device.type == "cuda"
        and _INSTALLED
        and q.dtype in _DTYPES
        and q.shape[-1] <= _LARGEST_D
        and _is_supported_gpu(q.device)
    )


def _is_supported_gpu(device: torch.device) -> bool:
    return torch.cuda.get_device_capability(device)[0] >= 8 and _can_build_driver()


@cache
def _can_build_driver() -> bool:
    """Whether Triton can build its driver; warns once if not, as the fallback is slower.

    CUDA runtime images often lack the compiler.
    """
    missing = _missing_for_driver()
    if missing is not None:
        warnings.warn(
            f"attention with a score runs in plain torch on this GPU, as Triton needs {missing} to "
            "build its driver and found none. Install gcc and the headers of Python.",
            stacklevel=2,
        )
    return missing is None


def _missing_for_driver() -> str | None:
    return _find_missing_for_driver()


@cache
def _find_missing_for_driver() -> str | None:
    """What is missing of the tools that Triton compiles its driver with at the first launch."""
    if os.environ.get("CC") is None and not any(map(shutil.which, ("gcc", "clang"))):
        return "a C compiler"
    scheme = sysconfig.get_default_scheme().replace("posix_local", "posix_prefix")  # as Triton does
    header = Path(sysconfig.get_path("include", scheme)) / "Python.h"
    return None if header.exists() else str(header)


# Same as `torch.compiler.assume_constant_result`, which loads torch._dynamo, which loads Triton.
_is_supported_gpu._dynamo_marked_constant = True  # type: ignore[attr-defined]
_missing_for_driver._dynamo_marked_constant = True  # type: ignore[attr-defined]


def validate_triton(q: Tensor) -> None:
    """Raise if the kernels cannot run on these queries.

    Args:
        q: Queries, shape (B, H, N, D); keys and values are like them.

    Raises:
        NotImplementedError: If the kernels do not support the device, the dtype or D.
        ImportError: If Triton is not installed, or cannot build its driver.
    """
    if q.dtype not in _DTYPES:
        raise NotImplementedError(
            f'q must be float32, float16 or bfloat16 for impl="triton", got {q.dtype}. Cast it or '
            'pass impl="auto".'
        )
    if q.shape[-1] > _LARGEST_D:
        raise NotImplementedError(
            f'q must have at most {_LARGEST_D} channels a head for impl="triton", got '
            f'{q.shape[-1]}. Pass impl="auto".'
        )
    if not _INSTALLED:
        raise ImportError(
            'impl="triton" must find the package triton, got none. Run `pip install triton` (a '
            'CUDA build of torch brings it along), or pass impl="auto".'
        )
    if q.device.type != "cuda" and not (q.device.type == "cpu" and _INTERPRETED):
        raise NotImplementedError(
            f'q must be on a CUDA device for impl="triton", got {q.device}. Move it, pass '
            'impl="auto", or set TRITON_INTERPRET=1 in the environment of the process to run the '
            "kernels, slowly, on the CPU."
        )
    if q.device.type == "cuda" and (missing := _missing_for_driver()) is not None:
        raise ImportError(
            f'impl="triton" must find {missing}, with which Triton builds its driver, got none. '
            'Install gcc and the headers of Python, or pass impl="auto".'
        )
