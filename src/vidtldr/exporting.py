"""Whether a graph is being recorded that other engines will run."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

__all__ = ["is_exporting", "is_tracing", "merges_by_product", "merging_by_product"]

_by_product: ContextVar[bool] = ContextVar("_by_product", default=False)


def is_exporting() -> bool:
    """Whether `torch.export`, or `torch.jit.trace` (as `openvino.convert_model` uses), records.

    Such a graph may hold operators of plain torch only: none of this package's, none that write
    through `out=`, and no sort, which exporters to ONNX do not know as stable. `torch.compile`
    keeps the forms that are fastest in torch.
    """
    return torch.compiler.is_exporting() or is_tracing()


def is_tracing() -> bool:
    """Whether `torch.jit.trace` records."""
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]


@contextmanager
def merging_by_product() -> Iterator[None]:
    """Export models, inside a `with`, that add merged tokens up by a matrix product.

    For engines without a scatter of sums, such as TensorRT without plugins. It costs a product of
    sources and destinations, (N - S) x r x C multiply-accumulates in a merging layer of S sources.
    """
    before = _by_product.set(True)
    try:
        yield
    finally:
        _by_product.reset(before)


def merges_by_product() -> bool:
    """Whether a graph that is recorded now adds tokens up by a matrix product."""
    return _by_product.get()


# Evaluated by Python where torch.compile traces: dynamo before torch 2.14 takes
# `torch.compiler.is_exporting()` for True. Same as `torch.compiler.assume_constant_result`, which
# would load torch._dynamo.
is_exporting._dynamo_marked_constant = True  # type: ignore[attr-defined]
is_tracing._dynamo_marked_constant = True  # type: ignore[attr-defined]
merges_by_product._dynamo_marked_constant = True  # type: ignore[attr-defined]
