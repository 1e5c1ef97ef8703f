"""Peak memory of the tensors of a forward."""

import gc
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vidtldr.ops.attention.native.native_op import workspace_bytes

__all__ = ["peak_tensor_bytes"]


def peak_tensor_bytes(run: Callable[[], object], device: torch.device) -> int:
    """Run once and find the peak memory of intermediate tensors.

    Weights and inputs existed before and do not count, nor does scratch space inside torch's own
    CPU kernels; scratch space of our kernels does. The same forward always gives the same number.

    Args:
        run: Calls the forward.
        device: Where it runs. On CUDA the allocator's own statistics are used.

    Returns:
        Bytes.
    """
    if device.type == "cuda":
        gc.collect()  # patched models are cyclic: freed during the run, they would hide a peak
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        peak: int = torch.cuda.max_memory_allocated(device) - before
        return peak
    with _StorageWatch() as watch:
        run()
    peak_bytes: int = watch.peak_bytes
    return peak_bytes


class _StorageWatch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Tracks every storage that an operator returns, until it is freed."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live_bytes = 0
        self.peak_bytes = 0
        self._seen: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self._ignore((args, kwargs))
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._add(tensor.untyped_storage())
        scratch = workspace_bytes(func, args)
        self.peak_bytes = max(self.peak_bytes, self.live_bytes + scratch)
        return out

    def _ignore(self, inputs: Any) -> None:
        """Remember storages that existed before, so that views and in-place results add nothing."""
        for tensor in tree_leaves(inputs):
            if isinstance(tensor, Tensor) and tensor.untyped_storage()._cdata not in self._seen:
                self._watch(tensor.untyped_storage(), 0)

    def _add(self, storage: torch.UntypedStorage) -> None:
        if storage._cdata not in self._seen:
            self._watch(storage, storage.nbytes())

    def _watch(self, storage: torch.UntypedStorage, num_bytes: int) -> None:
        self._seen.add(storage._cdata)
        self.live_bytes += num_bytes
        weakref.finalize(storage, self._free, storage._cdata, num_bytes)

    def _free(self, key: int, num_bytes: int) -> None:
        self._seen.discard(key)
        self.live_bytes -= num_bytes
