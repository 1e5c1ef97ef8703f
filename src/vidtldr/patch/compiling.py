"""Compile the transformer inside a model for clips of one shape."""

from collections.abc import Iterator
from contextlib import contextmanager
from inspect import signature
from subprocess import CalledProcessError
from typing import TypeVar

import torch
from torch import Tensor, nn

from vidtldr.hosts.registry import find_host
from vidtldr.ops.cpp_compiler import cpp_compiler, finds_cpp_compiler
from vidtldr.patch.refusals import refuse_compiled, refuse_several_devices

__all__ = ["bring_plain_tensors", "clear_compiler_errors", "compile_model"]

ModelT = TypeVar("ModelT", bound=nn.Module)


def compile_model(model: ModelT) -> ModelT:
    """Compile the transformer inside `model`, in place; patch it first if it is to merge.

    The first forward of each shape compiles, which takes seconds to minutes; later ones of that
    shape are fast. On CUDA they are recorded as CUDA graphs, whose outputs live only until the next
    forward: copy what must be kept longer.

    Args:
        model: A model of a known family, in evaluation mode, patched or not.

    Returns:
        The same model. It can no longer be patched or traced; make a copy with `twin` first.

    Raises:
        ValueError: If the family is not known, or the model is training or already compiled.
        NotImplementedError: If the family is refused, the device is neither CPU nor CUDA,
            or the model is spread over several devices.
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
            f"device must be cpu or cuda to compile, got {device!r}. Leave out `compile`."
        )
    if device == "cpu" and not finds_cpp_compiler():
        raise ImportError(
            f"`compile` must find the C++ compiler {cpp_compiler()!r} (the variable CXX names "
            "another), got none. Install g++, or leave out `compile`."
        )
    bring_plain_tensors(root)
    mode = "reduce-overhead" if device == "cuda" else None
    # One graph, so that nothing silently falls back to eager; static shapes, as clips have.
    root.compile(fullgraph=True, dynamic=False, mode=mode, **_counted_by_itself())
    return model


def bring_plain_tensors(root: nn.Module) -> None:
    """Move plain tensors, which `to` skips, to the device of the weights, in place.

    VideoMAE's position table is neither a parameter nor a buffer. On the CPU it would be copied in
    every forward, which prevents recording a CUDA graph.
    """
    device = next(root.parameters()).device
    for module in root.modules():
        for name, value in list(vars(module).items()):
            if isinstance(value, Tensor):
                setattr(module, name, value.to(device))


def _counted_by_itself() -> dict[str, bool]:
    """Options that let a ninth model of a family compile despite torch's recompile limit.

    Torch before 2.13 counts all models together. There each model compiled here raises the limit by
    one, so that the limit for the program's other code stays the same.
    """
    if "isolate_recompiles" in signature(torch.compile).parameters:
        return {"isolate_recompiles": True}
    torch._dynamo.config.recompile_limit += 1
    return {}


@contextmanager
def clear_compiler_errors() -> Iterator[None]:
    """Turn compiler errors of a compiled model's first forward into one that says what to install.

    Raises:
        ImportError: If a compiler is missing or does not work. Other compile errors are re-raised
            unchanged.
        torch.OutOfMemoryError: If memory runs out, instead of torch's wrapped error.
    """
    try:
        yield
    except torch._dynamo.exc.ShortenTraceback as error:  # of Triton, too, which is no backend's
        inner = getattr(error, "inner_exception", error)
        if isinstance(inner, torch.OutOfMemoryError):
            raise inner from error
        if not isinstance(inner, _no_compiler()):
            raise
        reason = (str(inner).strip().splitlines() or [type(inner).__name__])[0]
        raise ImportError(
            f"`compile` must find compilers that work, got an error from torch's: {reason:.200}. "
            "Install g++ (for a GPU, Triton), or leave out `compile`."
        ) from error


def _no_compiler() -> tuple[type[BaseException], ...]:
    """Errors that torch raises if a compiler is missing or broken; imported only when needed."""
    from torch._inductor.exc import (
        CppCompileError,
        GPUTooOldForTriton,
        InvalidCxxCompiler,
        TritonMissing,
    )

    missing = (InvalidCxxCompiler, TritonMissing, GPUTooOldForTriton, OSError)
    return (*missing, CppCompileError, CalledProcessError)
