"""Random numbers that depend on a seed, a clip's index and a name, and on nothing else.

A clip is the same alone or in a batch, on any device, and adding a kind of draw changes no other.
"""

from zlib import crc32

import torch
from torch import Tensor

__all__ = ["Draws"]

# SplitMix64 (Steele, Lea, Flood, 2014): odd constants with well mixed bits, as signed 64-bit ints.
_INCREMENT = -7046029254386353131
_FACTORS = (-4658895280553007687, -7723592293110705685)


class Draws:
    """The random numbers of a batch of clips.

    Args:
        seed: Seed of the generated world.
        split: Name of the split, so that splits of one seed differ.
        indices: Index of each clip, shape (B,), int64.
    """

    def __init__(self, seed: int, split: str, indices: Tensor) -> None:
        key = torch.tensor(seed * 2**32 + crc32(split.encode()), device=indices.device)
        self.keys = _mix(_mix(key) + indices)

    def uniform(self, name: str, *shape: int) -> Tensor:
        """Draw from [0, 1).

        Args:
            name: What the numbers are for; the same name gives the same numbers.
            shape: Shape per clip; omit for a single number.

        Returns:
            Multiples of 2^-24, shape (B, *shape), float32.
        """
        count = torch.Size(shape).numel()
        places = torch.arange(count, device=self.keys.device) * _INCREMENT
        bits = _mix((self.keys ^ crc32(name.encode()))[:, None] * _INCREMENT + places)
        numbers = _shift_right(bits, 40).to(torch.float32) * 2.0**-24
        return numbers.view(-1, *shape)

    def between(self, name: str, low: float, high: float, *shape: int) -> Tensor:
        """Draw from [low, high), shape (B, *shape), float32."""
        return low + (high - low) * self.uniform(name, *shape)

    def integer(self, name: str, count: int) -> Tensor:
        """Draw from 0, ..., count - 1, shape (B,), int64."""
        return (self.uniform(name) * count).long()


def _mix(x: Tensor) -> Tensor:
    x = x + _INCREMENT
    x = (x ^ _shift_right(x, 30)) * _FACTORS[0]
    x = (x ^ _shift_right(x, 27)) * _FACTORS[1]
    return x ^ _shift_right(x, 31)


def _shift_right(x: Tensor, count: int) -> Tensor:
    """Shift right logically, without extending the sign."""
    return (x >> count) & ((1 << (64 - count)) - 1)
