"""All groups of rows by their `--rows` names, in table order."""

from collections.abc import Mapping
from types import MappingProxyType

from vidtldr.bench.never_slower.attention_rows import attention_rows
from vidtldr.bench.never_slower.model_rows import (
    budget_bfloat16_rows,
    budget_rows,
    bundled_rows,
    example_rows,
    umt_b_bfloat16_rows,
    umt_b_rows,
    videomae_384_rows,
    videomae_b_bfloat16_rows,
    videomae_b_rows,
    vit_rows,
)
from vidtldr.bench.never_slower.operator_rows import operator_rows
from vidtldr.bench.never_slower.sharp_rows import sharp_rows, sharp_sweep_rows
from vidtldr.bench.row import RowFunction

__all__ = ["ROWS"]

#: Each yields one row or several. Read-only.
ROWS: Mapping[str, RowFunction] = MappingProxyType(
    {
        "umt-b": umt_b_rows,
        "videomae-b": videomae_b_rows,
        "umt-b-bfloat16": umt_b_bfloat16_rows,
        "videomae-b-bfloat16": videomae_b_bfloat16_rows,
        "budget": budget_rows,
        "budget-bfloat16": budget_bfloat16_rows,
        "bundled": bundled_rows,
        "videomae-384": videomae_384_rows,
        "example": example_rows,
        "vit": vit_rows,
        "sharp": sharp_rows,
        "sharp-sweep": sharp_sweep_rows,
        "attention": attention_rows,
        "operators": operator_rows,
    }
)
