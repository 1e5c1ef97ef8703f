"""Memory shared between processes, divided into slots of one clip each.

Letters: `T` frames, `h` and `w` a frame as the model takes it.
"""

import math
import mmap
import os
import tempfile
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["ClipSlots", "create_shared_file"]


@dataclass(frozen=True)
class ClipSlots:
    """Layout of the shared memory; each process maps it for itself with `map`.

    Attributes:
        file: File descriptor of the memory, the same number in every process.
        num_slots: Number of clips that fit.
        shape: Shape of a clip: (T, 3, h, w), uint8.
    """

    file: int
    num_slots: int
    shape: tuple[int, int, int, int]

    def map(self) -> Tensor:
        """Map all slots, shape (slots, T, 3, h, w), uint8; every process sees all writes."""
        size = self.num_slots * math.prod(self.shape)
        if os.fstat(self.file).st_size < size:
            os.ftruncate(self.file, size)
        memory = mmap.mmap(self.file, size)  # kept alive by the tensor
        return torch.frombuffer(memory, dtype=torch.uint8).view(self.num_slots, *self.shape)


def create_shared_file() -> int:
    """Create anonymous shared memory, freed when the last process holding it ends in any way."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("vidtldr-clips", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
