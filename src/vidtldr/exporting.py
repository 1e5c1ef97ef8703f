"""Whether a graph is being recorded that other engines will run."""

import torch

__all__ = ["is_exporting", "is_tracing"]


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


# Evaluated by Python where torch.compile traces: dynamo before torch 2.14 takes
# `torch.compiler.is_exporting()` for True. Same as `torch.compiler.assume_constant_result`, which
# would load torch._dynamo.
is_exporting._dynamo_marked_constant = True  # type: ignore[attr-defined]
is_tracing._dynamo_marked_constant = True  # type: ignore[attr-defined]
