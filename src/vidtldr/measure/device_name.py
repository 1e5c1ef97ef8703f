"""The name of the device that models run on."""

import platform

import torch

from vidtldr.ops.processor import cpuinfo_fields

__all__ = ["device_name"]


def device_name(device: torch.device) -> str:
    """Return the name of the GPU, or of the processor."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()


def _cpu_name() -> str:
    return cpuinfo_fields().get("model name") or platform.processor() or platform.machine()
