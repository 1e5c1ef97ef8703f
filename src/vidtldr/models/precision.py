"""The precision in which scores are computed."""

import torch
from torch import Tensor

__all__ = ["at_least_float32"]


def at_least_float32(x: Tensor) -> Tensor:
    """Convert half precision to float32; leave wider dtypes unchanged."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
