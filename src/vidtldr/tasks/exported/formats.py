"""The formats that models are exported to. Does not import torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vidtldr.files import read_json

__all__ = ["FORMATS", "RECORD_ENDING", "Format", "files_of_record", "is_exported", "record_of"]

RECORD_ENDING = ".json"


@dataclass(frozen=True)
class Format:
    """A format of exported models.

    Attributes:
        name: As typed.
        ending: Of its file.
        engine: What runs it.
        packages: What must be installed to run it, beside torch.
        writers: What must be installed to write it, too.
        dtypes: What it can compute in.
        beside: Endings of other files that it writes, in place of `ending` or behind it.
        is_code: Whether a file can do anything when it is loaded, as any program.
    """

    name: str
    ending: str
    engine: str
    packages: tuple[str, ...] = ()
    writers: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ("float32", "bfloat16")
    beside: tuple[str, ...] = ()
    is_code: bool = False

    def files(self, path: Path) -> list[Path]:
        """Every file that an export to `path` may write, without the record."""
        return [path.with_name(path.stem + ending) for ending in (self.ending, *self.beside)]


FORMATS: Mapping[str, Format] = {
    each.name: each
    for each in (
        Format(
            "onnx",
            ".onnx",
            "ONNX Runtime",
            ("onnxruntime",),
            ("onnx", "onnxscript"),
            ("float32",),  # its CPU kernels know no bfloat16
            (".onnx.data",),
        ),
        Format("openvino", ".xml", "OpenVINO", ("openvino",), beside=(".bin",)),
        Format("aoti", ".pt2", "AOTInductor", is_code=True),
        Format("pt2", ".pt2", "torch.export", is_code=True),  # may hold pickles and libraries
    )
}


def record_of(path: str | Path) -> Path:
    """The file with everything about an exported file that its graph does not say."""
    path = Path(path)
    return path.with_name(path.name + RECORD_ENDING)


def files_of_record(path: Path) -> set[str]:
    """Names of the files that belong to an export to `path`; empty if there is none."""
    try:
        return set(read_json(record_of(path))["files"])
    except (OSError, ValueError, TypeError, KeyError):
        return set()


def is_exported(name: str) -> bool:
    """Whether a model's name is that of a file in one of these formats."""
    path = Path(name)
    return path.suffix in {each.ending for each in FORMATS.values()} and path.is_file()
