"""Hash the content of files and the weights of models."""

import hashlib
import os
from pathlib import Path

import torch
from torch import nn

__all__ = ["file_sha256", "module_sha256"]

WEIGHTS_FILE = "model.safetensors"


def file_sha256(path: str | os.PathLike[str]) -> str:
    """Hash a file's content, or the weights file of a converted checkpoint's directory.

    Args:
        path: A file, or a directory with `model.safetensors`.

    Returns:
        SHA-256, 64 hexadecimal digits.

    Raises:
        OSError: If it cannot be read.
    """
    path = Path(path)
    with open(path / WEIGHTS_FILE if path.is_dir() else path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def module_sha256(module: nn.Module) -> str:
    """Hash a module's weights: names, dtypes, shapes and every bit, whatever their device.

    Args:
        module: Any module; non-persistent buffers do not count.

    Returns:
        SHA-256, 64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        flat = value.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()
