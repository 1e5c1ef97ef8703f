"""Compile the transformer inside a model for clips of one shape."""

import os
import shutil
from typing import TypeVar

from torch import nn

from vidtldr.hosts.refusals import refuse_compiled, refuse_several_devices
from vidtldr.hosts.registry import find_host

__all__ = ["compile_model"]

ModelT = TypeVar("ModelT", bound=nn.Module)

_COMPILERS = ("g++", "clang++", "c++")


def compile_model(model: ModelT) -> ModelT:
    """Compile the transformer that `model` holds, in place; patch first, if it is to merge.

    The first forward of each shape compiles, which takes from seconds to minutes; the next ones of
    that shape are the fast ones. On CUDA they are recorded as CUDA graphs, whose outputs live until
    the next forward: copy what is to be kept longer.

    Args:
        model: A model of a known family, in evaluation mode, patched or not.

    Returns:
        The same model. It cannot be patched or traced any more; `twin` makes a copy before.

    Raises:
        ValueError: If the family is not known, the model trains or is compiled already.
        NotImplementedError: If the family is refused, the device has no compiler of ours (only CPU
            and CUDA do), or the model is spread over several devices.
        ImportError: If there is no C++ compiler, which graphs for a CPU need.
    """
    root = find_host(model).root
    refuse_compiled(model)
    refuse_several_devices(model)
    if root.training:
        raise ValueError("model must be in evaluation mode to compile, got it training. Call eval.")
    device = next(root.parameters()).device.type
    if device not in ("cpu", "cuda"):
        raise NotImplementedError(
            f"device must be cpu or cuda to compile, got {device!r}. Leave out compile."
        )
    if device == "cpu" and not _finds_compiler():
        raise ImportError(
            f"compile must find a C++ compiler ({', '.join(_COMPILERS)} or CXX), got none. Install "
            "g++, or leave out compile."
        )
    mode = "reduce-overhead" if device == "cuda" else None
    # One graph, so that nothing falls back to eager in silence; fixed shapes, as clips have.
    root.compile(fullgraph=True, dynamic=False, mode=mode)
    return model


def _finds_compiler() -> bool:
    named = os.environ.get("CXX")
    return any(shutil.which(name) for name in ((named,) if named else _COMPILERS))
