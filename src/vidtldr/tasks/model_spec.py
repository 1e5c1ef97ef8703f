"""Which model to load and where to run it: plain data, validated without torch."""

import re
import runpy
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

from vidtldr.bundled import BUNDLED
from vidtldr.config import MergeConfig
from vidtldr.tasks.exported.formats import is_exported
from vidtldr.tasks.model_files import validate_model_name

__all__ = [
    "DTYPE_NAMES",
    "REMEMBERED",
    "UMT_PREFIX",
    "ModelSpec",
    "canonical_dtype",
    "validate_device",
]

UMT_PREFIX = "umt:"
#: Fields that an index stores.
REMEMBERED = ("model", "arch", "tokenizer", "frames", "dtype")
ARCH_NAMES = ("b16", "l16")
DTYPE_NAMES = ("float32", "bfloat16", "float16")
_SHORT_NAMES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


def validate_device(name: str) -> str:
    """Check that a device name is valid and that the installed torch was built for the device.

    Returns:
        The name, in lower case.

    Raises:
        ValueError: If it is not `auto`, `cpu`, `cuda`, `cuda:0` and so on, or `mps`, or if it is a
            GPU and torch a CPU build.
    """
    device = name.strip().lower()
    if not _DEVICE.fullmatch(device):
        raise ValueError(
            f"`device` must be auto, cpu, cuda, cuda:0 or mps, got {name!r}. Choose one of them."
        )
    if device.startswith("cuda"):
        _validate_cuda_build(name)
    return device


def _validate_cuda_build(name: str) -> None:
    build = find_spec("torch")
    if build is None or build.origin is None:
        return
    # Only constants are in this file; importing torch takes seconds.
    version = runpy.run_path(str(Path(build.origin).with_name("version.py")))
    if version["cuda"] is None and version["hip"] is None:
        raise ValueError(
            f"`device` must be auto or cpu with torch {version['__version__']}, which is a CPU "
            f"build, got {name!r}. Install a CUDA build of torch (pytorch.org)."
        )


def canonical_dtype(name: str) -> str:
    """Expand the name of a dtype: `bf16` and `torch.bfloat16` become `bfloat16`.

    Raises:
        ValueError: If it is unknown.
    """
    typed, name = name, name.strip().lower().removeprefix("torch.")
    name = _SHORT_NAMES.get(name, name)
    if name not in ("auto", *DTYPE_NAMES):
        known = ", ".join(("auto", *DTYPE_NAMES, *_SHORT_NAMES))
        raise ValueError(f"`dtype` must be one of {known}, got {typed!r}. Choose one of them.")
    return name


@dataclass(frozen=True)
class ModelSpec:
    """A model by name; picklable, so that another process can load the same one.

    Attributes:
        model: `umt:` and a checkpoint or a directory written by `vidtldr convert`; a directory or
            hub id of a classifier or encoder of transformers; a file of `vidtldr export`; or None
            for the bundled shapes model.
        arch: Sizes of a UMT checkpoint: `b16` (the default), `l16` or a JSON file.
        tokenizer: Directory of a UMT checkpoint's tokenizer; None for BERT's own, from the cache.
        frames: Frames of a UMT model, None for 12 or what a converted directory says; or of an
            image model, None for 8.
        device: `auto`, `cpu`, `cuda`, `cuda:1` or `mps`.
        dtype: Dtype of the weights: `auto` (the checkpoint's; float32 on a CPU), `float32`,
            `bfloat16`, `float16`, or the short forms `fp32`, `bf16`, `fp16`.
    """

    model: str | None = None
    arch: str | None = None
    tokenizer: str | None = None
    frames: int | None = None
    device: str = "auto"
    dtype: str = "auto"

    @property
    def is_bundled(self) -> bool:
        """Whether no model was named, so that the bundled one is used."""
        return self.model is None

    @property
    def is_umt(self) -> bool:
        """Whether the model is a UMT model of this package, not a transformers model."""
        return self.model is None or self.model.startswith(UMT_PREFIX)

    @property
    def is_exported(self) -> bool:
        """Whether the model is a file that `vidtldr export` wrote."""
        return self.model is not None and is_exported(self.model)

    @property
    def name(self) -> str:
        """Name of the model as written to files."""
        return self.model or "bundled shapes model"

    @property
    def checkpoint(self) -> Path:
        """The file or directory behind `umt:`, or the bundled one.

        Raises:
            ValueError: If the model has no such prefix, or `arch` is no file.
            FileNotFoundError: If the path, or the tokenizer's, does not exist.
        """
        self._validate_files()
        if self.model is None:
            return BUNDLED
        if not self.is_umt:
            raise ValueError(
                "`model` must be umt:CHECKPOINT here, as only UMT has the fusion encoder that this "
                f"needs, got {self.model!r}. For a file or directory of UMT write "
                f"`model=umt:{self.model}`."
            )
        path = Path(self.model.removeprefix(UMT_PREFIX)).expanduser()
        if self.model == UMT_PREFIX or not path.exists():
            raise FileNotFoundError(
                f"`model` must be umt: and an existing file or directory, got {self.model!r}. "
                "Check the path."
            )
        return path

    def _validate_files(self) -> None:
        if self.arch not in (None, *ARCH_NAMES) and not Path(self.arch or "").is_file():
            raise ValueError(
                f"`arch` must be {', '.join(ARCH_NAMES)} or a JSON file of sizes, got "
                f"{self.arch!r}, which is not a file. Check the name."
            )
        if self.tokenizer is not None and not Path(self.tokenizer).is_dir():
            raise FileNotFoundError(
                f"`tokenizer` must be a directory, got {self.tokenizer!r}, which is none. Check "
                "the path."
            )

    def validate(self, *, takes_exported: bool = False) -> None:
        """Check, without torch and without the network, that the model can be what is named.

        Args:
            takes_exported: Whether a file of `vidtldr export` will do.

        Raises:
            ValueError, FileNotFoundError: If the files of a UMT model do not exist, an option is
                given that only UMT has, or as `validate_model_name`.
        """
        if self.is_umt:
            _ = self.checkpoint  # raises if it does not exist
            return
        for name, value in (("arch", self.arch), ("tokenizer", self.tokenizer)):
            if value is not None:
                raise ValueError(
                    f"`{name}` must come with `model=umt:CHECKPOINT`, got model {self.model!r}. "
                    "Leave it out."
                )
        if not (takes_exported and self.is_exported):
            validate_model_name(self.model or "")

    def remembered(self, merge: MergeConfig | None) -> dict[str, Any]:
        """What an index stores, JSON-serialisable: all fields but the device, and the merging."""
        about = {name: getattr(self, name) for name in REMEMBERED}
        return about | {"merge": None if merge is None else merge.to_dict()}

    def with_absolute_paths(self) -> Self:
        """The same model with absolute paths, valid in any working directory."""
        changes: dict[str, Any] = {}
        if self.model is not None and self.is_umt:
            changes["model"] = UMT_PREFIX + str(self.checkpoint.resolve())
        elif self.model is not None and (Path(self.model).is_dir() or self.is_exported):
            changes["model"] = str(Path(self.model).resolve())
        for name in ("arch", "tokenizer"):
            value = getattr(self, name)
            if value is not None and Path(value).exists():
                changes[name] = str(Path(value).resolve())
        return replace(self, **changes)
