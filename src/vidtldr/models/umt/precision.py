"""The precision in which scores are formed."""

import torch
from torch import Tensor

__all__ = ["at_least_float32"]


def at_least_float32(x: Tensor) -> Tensor:
    """Return half types as float32, wider ones as they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
