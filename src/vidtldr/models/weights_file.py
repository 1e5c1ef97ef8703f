"""Read the tensors of a weights file, never running code in it, and compare them with a model's."""

import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

__all__ = ["mismatches", "read_tensors"]

# The authors' training script saves its settings with the weights in this class, a dict with
# attributes. It is read as a plain OrderedDict: only torch's own code runs.
PLAIN_DICTS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    (OrderedDict, "utils.easydict.EasyDict"),
    (OrderedDict, "easydict.EasyDict"),
]
NUM_NAMES_SHOWN = 4
BROKEN_FILE = (RuntimeError, EOFError, LookupError, OSError, ValueError, SafetensorError)


def read_tensors(path: Path, nested_as: tuple[str, ...] = ("model",)) -> dict[str, Tensor]:
    """Read a state dict, or the one under a key, to the CPU, memory-mapped if possible.

    Args:
        path: A `.safetensors` file, or a file of `torch.save` (anything else).
        nested_as: Keys that a file of `torch.save` may have it under.

    Returns:
        Tensors by name; floating ones are float32.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read, holds objects other than tensors, or is not a state dict.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"weights must be a file or a converted directory, got {str(path)!r}. Check the path."
        )
    try:
        is_plain = path.suffix == ".safetensors"
        content = load_file(path) if is_plain else _read_pickle(path, nested_as)
    except PermissionError:
        raise
    except pickle.UnpicklingError as error:
        raise _refusal(path, error) from error
    except BROKEN_FILE as error:
        raise _breakage(path, (str(error).strip() or "it ends early").splitlines()[0]) from error
    return _check_state_dict(content, path)


def _read_pickle(path: Path, nested_as: tuple[str, ...]) -> object:
    mapped = zipfile.is_zipfile(path)  # PyTorch's format before 1.6 cannot be mapped
    with torch.serialization.safe_globals(PLAIN_DICTS):
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    if isinstance(content, Mapping):
        nested = (content[key] for key in nested_as if isinstance(content.get(key), Mapping))
        return next(nested, content)
    return content


def _refusal(path: Path, error: pickle.UnpicklingError) -> ValueError:
    needed = re.search(r"GLOBAL (\S+)", str(error))
    if needed is None:
        return _breakage(path, "it is no file of torch.save")
    return ValueError(
        f"weights must hold tensors only, got an object that needs {needed[1]!r} in {str(path)!r}, "
        "which could run code and is not loaded. Save only model.state_dict()."
    )


def _breakage(path: Path, reason: str) -> ValueError:
    return ValueError(
        f"weights must be a complete file of tensors, got {str(path)!r} "
        f"({path.stat().st_size} bytes): {reason}. It may be truncated: compare its size with the "
        "published one and download it again."
    )


def _check_state_dict(content: object, path: Path) -> dict[str, Tensor]:
    if not isinstance(content, Mapping) or not content:
        raise ValueError(
            f"weights must be a dict of tensors, or hold one under 'model', "
            f"got {type(content).__name__} in {str(path)!r}. Save model.state_dict()."
        )
    strange = [name for name, value in content.items() if not isinstance(value, Tensor)]
    if strange:
        raise ValueError(
            f"weights must hold tensors only, got {len(strange)} other values in {str(path)!r} "
            f"({', '.join(map(str, strange[:4]))}). Put the state dict under 'model'."
        )
    return {
        name: value.float() if value.is_floating_point() else value
        for name, value in content.items()
    }


def mismatches(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    """Name the first few weights that are missing, unexpected or of another shape; "" if none."""
    shapes = [
        f"{name} {tuple(found[name].shape)} instead of {tuple(expected[name].shape)}"
        for name in expected
        if name in found and found[name].shape != expected[name].shape
    ]
    problems = [
        _first_few("missing", sorted(expected.keys() - found.keys())),
        _first_few("unexpected", sorted(found.keys() - expected.keys())),
        _first_few("of another shape", shapes),
    ]
    return "; ".join(problem for problem in problems if problem)


def _first_few(what: str, names: Sequence[str]) -> str:
    if not names:
        return ""
    more = ", ..." if len(names) > NUM_NAMES_SHOWN else ""
    return f"{len(names)} {what} ({', '.join(names[:NUM_NAMES_SHOWN])}{more})"
