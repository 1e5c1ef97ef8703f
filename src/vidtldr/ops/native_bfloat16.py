"""Whether the processor multiplies bfloat16 itself, or software does it by way of float32."""

from pathlib import Path

import torch

__all__ = ["bfloat16_is_native", "has_bfloat16_products"]

CPUINFO = Path("/proc/cpuinfo")
# Of x86, which /proc/cpuinfo and torch call alike, and of ARM, whose last one they do not.
_FEATURES = ("avx512_bf16", "amx_bf16", "bf16", "svebf16", "sve_bf16")


def bfloat16_is_native(device: torch.device) -> bool:
    """Whether products of bfloat16 are an instruction of the device; of GPUs taken for granted."""
    if device.type != "cpu":
        return True
    if CPUINFO.exists():
        return has_bfloat16_products(CPUINFO.read_text())
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in _FEATURES)


def has_bfloat16_products(cpuinfo: str) -> bool:
    """Whether a Linux `/proc/cpuinfo` lists instructions that multiply bfloat16.

    Args:
        cpuinfo: Its text; the first processor speaks for all.
    """
    for line in cpuinfo.splitlines():
        name, _, features = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return not set(_FEATURES).isdisjoint(features.split())
    return False
