"""The measured limits of a device, and what a forward demands of it."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vidtldr.measure.timing import time_in_turn

__all__ = ["Ceilings", "count_bytes", "measure_ceilings"]

# Too large for a cache or to be launch-bound, small enough for a laptop.
_SIDES: Mapping[str, int] = {"cpu": 2048, "cuda": 8192}
_COPIED_BYTES: Mapping[str, int] = {"cpu": 2**28, "cuda": 2**30}


@dataclass(frozen=True)
class Ceilings:
    """The fastest of several runs.

    Attributes:
        flops_per_second: Rate of one large product of square matrices; 1 MAC = 2 FLOPs.
        bytes_per_second: Rate of one large copy, counting both reads and writes.
        matrix_side: Rows and columns of the matrices.
        copied_bytes: Bytes that were copied.
    """

    flops_per_second: float
    bytes_per_second: float
    matrix_side: int
    copied_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """The figures, ready for JSON."""
        return asdict(self)


def measure_ceilings(
    device: torch.device,
    dtype: torch.dtype,
    *,
    num_repeats: int = 5,
    matrix_side: int | None = None,
    copied_bytes: int | None = None,
) -> Ceilings:
    """Time a large product and a large copy.

    Args:
        device: The device to measure.
        dtype: Dtype of the matrices.
        num_repeats: Repeats of each.
        matrix_side: Rows and columns; None for a size that suits the device.
        copied_bytes: Bytes; None for a size that suits the device.
    """
    side = matrix_side or _SIDES.get(device.type, 4096)
    size = copied_bytes or _COPIED_BYTES.get(device.type, 2**28)
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    product = torch.empty_like(a)
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.ones_like(source)
    runs: dict[str, Callable[[], object]] = {
        "product": lambda: torch.mm(a, b, out=product),
        "copy": lambda: target.copy_(source),
    }
    timings = time_in_turn(runs, num_repeats=num_repeats, device=device)
    seconds = {name: timing.spread_ms[0] / 1e3 for name, timing in timings.items()}
    return Ceilings(2 * side**3 / seconds["product"], 2 * size / seconds["copy"], side, size)


def count_bytes(run: Callable[[], object]) -> int:
    """Run once and sum the bytes its operators read and write; views move nothing.

    What one operator writes and the next reads counts twice, as if there were no cache.

    Args:
        run: Calls the forward, not compiled.
    """
    with _TrafficWatch() as watch:
        run()
    num_bytes: int = watch.num_bytes
    return num_bytes


class _TrafficWatch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sums the inputs and outputs of every operator that computes a new tensor."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.num_bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        inputs = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        outputs = [t for t in tree_leaves(out) if isinstance(t, Tensor)]
        if not func.is_view and "empty" not in func.__name__:
            self.num_bytes += sum(_num_bytes(tensor) for tensor in (*inputs, *outputs))
        return out


def _num_bytes(tensor: Tensor) -> int:
    """Count the bytes in memory: a broadcast row, such as log mass, counts once."""
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())
