"""Processor features that decide which implementation is fastest."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

import torch

__all__ = [
    "CpuCapability",
    "bfloat16_is_native",
    "capability_of",
    "cpu_capability",
    "cpuinfo_fields",
    "fields_of",
]

CPUINFO = Path("/proc/cpuinfo")

#: Most capable first: matrix units for bfloat16, 512-bit vectors with and without bfloat16
#: products, 256-bit vectors, Arm with and without bfloat16 products, and any other.
CpuCapability = Literal["amx", "avx512-bf16", "avx512", "avx2", "arm-bf16", "arm", "other"]

# Feature names of x86, the same in Linux and torch, and of Arm, where the last one differs.
_NEEDED: dict[CpuCapability, tuple[str, ...]] = {
    "amx": ("amx_bf16",),
    "avx512-bf16": ("avx512_bf16",),
    "avx512": ("avx512f", "avx512_f"),
    "avx2": ("avx2",),
    "arm-bf16": ("bf16", "svebf16", "sve_bf16"),
    "arm": ("asimd", "neon"),
}
_MULTIPLY_BFLOAT16: tuple[CpuCapability, ...] = ("amx", "avx512-bf16", "arm-bf16")


def cpuinfo_fields() -> dict[str, str]:
    """The first processor in `/proc/cpuinfo`, taken for all; empty on other systems than Linux."""
    return fields_of(CPUINFO.read_text()) if CPUINFO.exists() else {}


def fields_of(cpuinfo: str) -> dict[str, str]:
    """Names and values of the first processor in the text of `/proc/cpuinfo`."""
    pairs = (line.partition(":") for line in cpuinfo.split("\n\n")[0].splitlines())
    fields: dict[str, str] = {}
    for name, _, value in pairs:
        fields.setdefault(name.strip(), value.strip())
    return fields


def cpu_capability() -> CpuCapability:
    """The capability of this machine's processor."""
    if fields := cpuinfo_fields():
        return capability_of(fields)
    capabilities = torch.cpu.get_capabilities()
    return _most_of({name for name, is_there in capabilities.items() if is_there is True})


def capability_of(fields: Mapping[str, str]) -> CpuCapability:
    """The capability of a processor, from its fields.

    Args:
        fields: As returned by `fields_of`.
    """
    features = fields.get("flags") or fields.get("Features") or ""
    return _most_of(set(features.split()))


def bfloat16_is_native(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware; assumed of every GPU.

    Elsewhere software emulates it through float32.
    """
    return device.type != "cpu" or cpu_capability() in _MULTIPLY_BFLOAT16


def _most_of(features: set[str]) -> CpuCapability:
    known = (capability for capability in get_args(CpuCapability) if capability in _NEEDED)
    return next((c for c in known if not features.isdisjoint(_NEEDED[c])), "other")
