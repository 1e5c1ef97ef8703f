"""The type of weights that is typed, and what is to be said of it."""

import torch
import typer

from vidtldr.ops.native_bfloat16 import bfloat16_is_native
from vidtldr.tasks.pretrained import resolve_dtype

__all__ = ["typed_dtype"]


def typed_dtype(name: str, device: torch.device) -> torch.dtype | None:
    """The dtype of a name; a note on stderr if the processor only imitates it.

    Raises:
        ValueError: As `resolve_dtype`.
    """
    dtype = resolve_dtype(name, device)
    if dtype == torch.bfloat16 and not bfloat16_is_native(device):
        typer.echo(
            "note: this processor has no products of bfloat16 (avx512_bf16, amx_bf16 or ARM's "
            "bf16): it works by way of float32, likely slower than --dtype float32",
            err=True,
        )
    return dtype
