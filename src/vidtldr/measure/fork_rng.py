"""Draw random numbers without changing the program's random state."""

from contextlib import AbstractContextManager

import torch

__all__ = ["fork_rng"]


def fork_rng(device: torch.device) -> AbstractContextManager[None]:
    """Restore the random state of the CPU and of `device` at the end.

    By default torch's own function touches every GPU, which initialises CUDA even for a model on
    the CPU and warns if there are several.
    """
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])
