"""Compile the transformer inside a model for clips of one shape."""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import CalledProcessError
from typing import TypeVar

import torch
from torch import nn

from vidtldr.hosts.refusals import refuse_compiled, refuse_several_devices
from vidtldr.hosts.registry import find_host

__all__ = ["clear_compiler_errors", "compile_model", "cpp_compiler", "finds_cpp_compiler"]

ModelT = TypeVar("ModelT", bound=nn.Module)


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
    if device == "cpu" and not finds_cpp_compiler():
        raise ImportError(
            f"compile must find the C++ compiler {cpp_compiler()!r} (the variable CXX names "
            "another), got none. Install g++, or leave out compile."
        )
    mode = "reduce-overhead" if device == "cuda" else None
    # One graph, so that nothing falls back to eager in silence; fixed shapes, as clips have; and
    # counted by itself, or the ninth model of a family would be one recompilation too many.
    root.compile(fullgraph=True, dynamic=False, mode=mode, isolate_recompiles=True)
    return model


@contextmanager
def clear_compiler_errors() -> Iterator[None]:
    """Say what a person can do where a compiled model's first forward finds no working compiler.

    Raises:
        ImportError: In place of the errors of torch's compilers. Other errors of compiling are no
            fault of the machine, and pass.
        torch.OutOfMemoryError: As itself, not as an error of a compiler.
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
            f"compile must find compilers that work, got an error from torch's: {reason:.200}. "
            "Install g++ (for a GPU, Triton), or leave out compile."
        ) from error


def _no_compiler() -> tuple[type[BaseException], ...]:
    """What torch raises where a compiler is missing or broken; loaded only where one was asked."""
    from torch._inductor.exc import (
        CppCompileError,
        GPUTooOldForTriton,
        InvalidCxxCompiler,
        TritonMissing,
    )

    missing = (InvalidCxxCompiler, TritonMissing, GPUTooOldForTriton, OSError)
    return (*missing, CppCompileError, CalledProcessError)


def finds_cpp_compiler() -> bool:
    """Whether the compiler is there that torch takes for a CPU."""
    return shutil.which(cpp_compiler()) is not None


def cpp_compiler() -> str:
    """The name that torch's own config has, which looks for no other one."""
    return os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
