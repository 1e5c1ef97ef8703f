"""Random numbers that leave the program's own as they were."""

from contextlib import AbstractContextManager

import torch

__all__ = ["fork_rng"]


def fork_rng(device: torch.device) -> AbstractContextManager[None]:
    """Restore the random state of the CPU and of `device` at the end.

    torch's own function alone touches every GPU of the machine, which starts CUDA for a model on
    the CPU and warns where there are several.
    """
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])
