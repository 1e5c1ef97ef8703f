"""What is said of `--compile`."""

from typing import Any

import typer

from vidtldr.hosts.compiled_twin import CompiledTwin

__all__ = ["say_compiled"]


def say_compiled(compiled: CompiledTwin[Any] | None) -> None:
    """Say on stderr what compiling took, and for what; nothing if nothing is compiled."""
    if compiled is not None:
        shape = " x ".join(map(str, compiled.input_shape))
        typer.echo(f"compiled for {shape} in {compiled.compile_seconds:.1f} s", err=True)
