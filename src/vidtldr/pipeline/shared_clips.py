"""Memory that processes share, cut into slots of one clip each.

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
    """How the memory is cut; each process maps it by itself with `map`.

    Attributes:
        file: Descriptor of the memory, the same number in every process.
        num_slots: Clips that fit.
        shape: Of a clip: (T, 3, h, w), uint8.
    """

    file: int
    num_slots: int
    shape: tuple[int, int, int, int]

    def map(self) -> Tensor:
        """All slots, shape (slots, T, 3, h, w), uint8; what one process writes, all see."""
        size = self.num_slots * math.prod(self.shape)
        if os.fstat(self.file).st_size < size:
            os.ftruncate(self.file, size)
        memory = mmap.mmap(self.file, size)  # the tensor keeps it
        return torch.frombuffer(memory, dtype=torch.uint8).view(self.num_slots, *self.shape)


def create_shared_file() -> int:
    """Memory without a name: it is gone with the last process that has it, however that ends."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("vidtldr-clips", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
