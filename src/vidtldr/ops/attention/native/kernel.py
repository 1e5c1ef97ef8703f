"""Call the kernel on tensors.

Letters: `B` clips, `H` heads, `N` tokens now, `D` channels a head.
"""

import ctypes
import math
import os
import threading
from typing import NamedTuple

import torch
from torch import Tensor

from vidtldr.ops.attention.native.build import KernelError, load_library
from vidtldr.ops.processor import cpu_capability

__all__ = ["Kernel", "find_kernel", "load_kernel"]

# Must match problem.h.
_SCORES = {None: 0, "sharpness": 1, "sharpness-per-head": 2, "received": 3}
_PRODUCTS = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}
_NATIVE_BFLOAT16 = 3
_DONE = 0

# More rows read keys and values less often; fewer rows balance the load better (AMD EPYC 7003,
# 2352 tokens, 12 heads of 64 channels, one thread, time relative to fused attention: 1.5 with 12
# rows, 1.2 with 36, 1.05 with 48 to 96).
_MOST_ROWS, _LEAST_ROWS = 72, 24
_BLOCKS_OF_A_THREAD = 4  # at least, so that others take over from a thread that loses its core


class _Rows(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("clip_stride", ctypes.c_int64),
        ("head_stride", ctypes.c_int64),
        ("row_stride", ctypes.c_int64),
    )


class _Problem(ctypes.Structure):
    _fields_ = (
        *((name, _Rows) for name in ("q", "k", "v")),
        *((name, ctypes.c_void_p) for name in ("x", "mass", "score", "workspace")),
        *((name, ctypes.c_int64) for name in ("clips", "heads", "tokens", "channels", "rows")),
        *((name, ctypes.c_int32) for name in ("products", "score_kind", "threads")),
        ("scale", ctypes.c_float),
    )


class Kernel(NamedTuple):
    """The loaded library, and which products are correct on this processor.

    Attributes:
        library: The loaded shared library.
        usable: Bit mask over `Products` in problem.h.
    """

    library: ctypes.CDLL
    usable: int

    def supports(self, dtype: torch.dtype) -> bool:
        """Whether its results are correct for tensors of this dtype."""
        return dtype in _PRODUCTS and bool(self.usable & 1 << _PRODUCTS[dtype])

    @property
    def multiplies_bfloat16(self) -> bool:
        """Whether bfloat16 is multiplied in hardware, not through float32."""
        return bool(self.usable & 1 << _NATIVE_BFLOAT16)

    def run(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor | None,
        x: Tensor | None,
        scale: float,
        mass: Tensor | None,
        score: str | None,
    ) -> Tensor | None:
        """Write the attended values into `x`, if given, and return the score, if asked for.

        Args:
            q: Queries, shape (B, H, N, D), any strides.
            k: Keys, same shape and dtype.
            v: Values, same shape and dtype; None if `x` is.
            x: Output for the attended values: (B, H, N, D) with heads adjacent in memory, that is,
                contiguous as (B, N, H, D); None for the score only.
            scale: Factor of the logits.
            mass: Mass of each key, shape (B, N), positive, or None.
            score: A score of `attend`, or None.

        Returns:
            The score, shape (B, N), float32, or None.

        Raises:
            RuntimeError: If the workspace cannot be allocated, or torch's bfloat16 product fails.
        """
        shape = (q.shape[0], q.shape[2])
        found = None if score is None else q.new_zeros(shape, dtype=torch.float32)
        if q.numel() == 0:
            return found
        # Bound to names, so that copies made here live until the end of the call.
        q, k = _with_dense_rows(q), _with_dense_rows(k)
        v = None if v is None else _with_dense_rows(v)
        mass = None if mass is None else mass.to(torch.float32).contiguous()
        problem = self._problem_of(q, k, v, x, scale, mass, score)
        workspace = torch.empty(self._workspace_bytes(problem), dtype=torch.uint8)
        problem.score = None if found is None else found.data_ptr()
        problem.workspace = workspace.data_ptr()
        if self.library.vidtldr_attention(ctypes.byref(problem)) != _DONE:
            raise RuntimeError('attention by impl="native" failed. Pass impl="blocked".')
        return found

    def workspace_bytes(
        self, q: Tensor, v: Tensor | None, mass: Tensor | None, score: str | None
    ) -> int:
        """Bytes that `run` needs besides results and contiguous copies; arguments as in `run`."""
        return self._workspace_bytes(self._problem_of(q, q, v, v, 1.0, mass, score))

    def _workspace_bytes(self, problem: _Problem) -> int:
        return int(self.library.vidtldr_workspace_bytes(ctypes.byref(problem)))

    def _problem_of(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor | None,
        x: Tensor | None,
        scale: float,
        mass: Tensor | None,
        score: str | None,
    ) -> _Problem:
        """All fields except the pointers to the score and the workspace."""
        batch, heads, num_tokens, channels = q.shape
        threads = torch.get_num_threads()
        return _Problem(
            q=_rows(q),
            k=_rows(k),
            v=_Rows() if v is None else _rows(v),
            x=None if x is None else x.data_ptr(),
            mass=None if mass is None else mass.data_ptr(),
            clips=batch,
            heads=heads,
            tokens=num_tokens,
            channels=channels,
            rows=rows_of_a_block(batch * num_tokens, threads),
            products=self._products_of(q.dtype),
            score_kind=_SCORES[score],
            threads=threads,
            scale=scale,
        )

    def _products_of(self, dtype: torch.dtype) -> int:
        # Torch refuses its bfloat16 product if oneDNN is turned off.
        if dtype == torch.bfloat16 and self.multiplies_bfloat16 and torch.backends.mkldnn.enabled:
            return _NATIVE_BFLOAT16
        return _PRODUCTS[dtype]


def rows_of_a_block(num_rows: int, threads: int) -> int:
    """Query rows per block, few enough that all threads get about the same number.

    It changes no result: a row is computed the same way in a block of any size. The kernel rounds
    it up to whole tiles.

    Args:
        num_rows: Query rows of all clips.
        threads: Threads that share them.
    """
    own = num_rows / threads
    blocks = max(math.ceil(own / _MOST_ROWS), min(_BLOCKS_OF_A_THREAD, int(own / _LEAST_ROWS)), 1)
    return max(1, math.ceil(own / blocks))


def _with_dense_rows(tensor: Tensor) -> Tensor:
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()


def _rows(tensor: Tensor) -> _Rows:
    return _Rows(tensor.data_ptr(), *tensor.stride()[:3])


_LOADING = threading.Lock()
_FOUND: dict[str, Kernel | KernelError] = {}


def _renew_lock() -> None:
    """Replace the lock in a forked process, where the thread that held it does not exist."""
    global _LOADING
    _LOADING = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def find_kernel() -> Kernel | KernelError:
    """Return the kernel, built and checked at the first call, or the reason why there is none."""
    with _LOADING:
        if "kernel" not in _FOUND:
            try:
                _FOUND["kernel"] = load_kernel()
            except KernelError as error:
                _FOUND["kernel"] = error
        return _FOUND["kernel"]


def load_kernel(*flags: str) -> Kernel:
    """Build or load the kernel and check it against float64 loops.

    Args:
        flags: Additional compiler flags.

    Raises:
        KernelError: If it cannot be built, or its results are wrong on this processor.
    """
    library = load_library(*flags)
    library.vidtldr_attention.argtypes = library.vidtldr_workspace_bytes.argtypes = [
        ctypes.c_void_p
    ]
    library.vidtldr_workspace_bytes.restype = ctypes.c_int64
    usable = library.vidtldr_usable_products()
    if not flags and cpu_capability() not in ("amx", "avx512-bf16"):  # torch emulates them there
        usable &= ~(1 << _NATIVE_BFLOAT16)
    if not usable:
        raise KernelError("as the compiler built it, its results are wrong on this processor")
    return Kernel(library, usable)
