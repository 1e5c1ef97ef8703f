"""The record beside an exported file: everything about the model that its graph does not say.

Letters: `C` channels of the vector, `K` classes.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from vidtldr.config import MergeConfig
from vidtldr.files import read_json, write_json
from vidtldr.tasks.exported.formats import FORMATS, record_of
from vidtldr.tasks.fingerprint import file_sha256
from vidtldr.tasks.model_spec import DTYPE_NAMES, REMEMBERED, ModelSpec
from vidtldr.video.sampling import Sampling
from vidtldr.video.transform import VideoTransform

__all__ = ["ExportRecord", "read_record"]

VERSION = 1


@dataclass(frozen=True)
class ExportRecord:
    """What an exported file is.

    Attributes:
        format: One of `FORMATS`.
        dtype: What it computes in.
        model: The model that was exported.
        weights: `module_sha256` of that model.
        merge: What was merged in it; None if nothing.
        num_tokens: Tokens after each layer; empty if unknown.
        r: Tokens removed in each layer; None if nothing merges.
        labels: The name of each class, K of them; empty for an encoder.
        num_channels: C.
        num_frames: Frames of a clip.
        sees_frames: As in `Pretrained`.
        reads_texts: Whether texts can be compared with its vectors, which are unit vectors then.
        transform: How frames become pixel values.
        files: The exported files' names, and the SHA-256 of each.
        measured: What the export measured, for people to read.
    """

    format: str
    dtype: str
    model: ModelSpec
    weights: str
    merge: MergeConfig | None
    num_tokens: tuple[int, ...]
    r: tuple[int, ...] | None
    labels: tuple[str, ...]
    num_channels: int
    num_frames: int
    sees_frames: bool
    reads_texts: bool
    transform: VideoTransform
    files: Mapping[str, str] = field(default_factory=dict)
    measured: Mapping[str, Any] = field(default_factory=dict)

    def validate_files(self, path: Path) -> None:
        """Check that the files are those that were exported.

        Args:
            path: The exported file.

        Raises:
            ValueError, OSError: If one is not, or is missing, or `path` is none of them.
        """
        if path.name not in self.files:
            raise ValueError(
                "`model` must have the name that it was exported under, one of "
                f"{', '.join(self.files)}, got {path.name!r}. Rename it and its record back, or "
                "export it again."
            )
        for name, sha256 in self.files.items():
            if file_sha256(path.with_name(name)) != sha256:
                raise ValueError(
                    f"`model` must be as it was exported, got {str(path.with_name(name))!r} with "
                    "another content than its record says. Export it again."
                )

    def write(self, path: Path) -> None:
        """Write the record of the exported file `path` beside it.

        Raises:
            OSError: If it cannot be written.
        """
        write_json(record_of(path), self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """The record, JSON-serialisable."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        model = {name: getattr(self.model, name) for name in REMEMBERED}
        merge = None if self.merge is None else self.merge.to_dict()
        values |= {"model": model, "merge": merge, "transform": asdict(self.transform)}
        return {"version": VERSION, **values}


def read_record(path: str | Path) -> ExportRecord:
    """Read the record of an exported file.

    Args:
        path: The exported file.

    Raises:
        FileNotFoundError: If it has none.
        ValueError: If the record is damaged, or another version's.
    """
    file = record_of(path)
    try:
        values = read_json(file)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"`model` must be a file of vidtldr export, got {str(path)!r} without its record "
            f"{file.name!r}. Copy the two together."
        ) from error
    except ValueError as error:
        raise _damaged(file, str(error)) from error
    if not isinstance(values, dict):
        raise _damaged(file, "it holds no object")
    if values.pop("version", None) != VERSION:
        raise _damaged(file, f"version must be {VERSION}")
    return _parse(values, file)


def _parse(values: dict[str, Any], file: Path) -> ExportRecord:
    for name, (is_valid, rule) in _RULES.items():
        if name not in values:
            raise _damaged(file, f"{name!r} is missing")
        if not is_valid(values[name]):
            raise _damaged(file, f"{name} must be {rule}, got {values[name]!r:.100}")
    if unknown := sorted(set(values) - set(_RULES)):
        raise _damaged(file, f"keys must be known, got {unknown}")
    if values["dtype"] not in FORMATS[values["format"]].dtypes:
        raise _damaged(file, f"{values['format']} cannot compute in {values['dtype']}")
    try:
        made = {
            "model": ModelSpec(**values["model"]),
            "merge": None if values["merge"] is None else MergeConfig.from_dict(values["merge"]),
            "transform": VideoTransform(**_with_tuples(values["transform"])),
            "num_frames": Sampling(values["num_frames"]).num_frames,
        }
    except (ValueError, TypeError) as error:
        raise _damaged(file, str(error).replace("`", "")) from error
    lists = {name: tuple(values[name]) for name in ("num_tokens", "labels")}
    r = None if values["r"] is None else tuple(values["r"])
    return ExportRecord(**values | made | lists | {"r": r})


def _with_tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has lists where a transform has tuples."""
    return {key: tuple(each) if isinstance(each, list) else each for key, each in values.items()}


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**31


def _is_list(of: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(of, value))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_files(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and len(value) > 0
        and all(_is_text(sha256) for sha256 in value.values())
        and all(name == Path(name).name and name not in ("", "..") for name in value)
    )


def _is_model(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and set(value) == set(REMEMBERED)
        and all(
            each is None or type(each) is (int if name == "frames" else str)
            for name, each in value.items()
        )
    )


_SWITCH = (lambda value: isinstance(value, bool), "true or false")
_OBJECT = (lambda value: isinstance(value, dict), "an object")
_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "format": (lambda value: _is_text(value) and value in FORMATS, f"one of {', '.join(FORMATS)}"),
    "dtype": (lambda value: value in DTYPE_NAMES, f"one of {', '.join(DTYPE_NAMES)}"),
    "model": (_is_model, f"an object of {', '.join(REMEMBERED)}"),
    "weights": (_is_text, "text"),
    "merge": (lambda value: value is None or isinstance(value, dict), "null or an object"),
    "num_tokens": (_is_list(_is_count), "a list of counts"),
    "r": (lambda value: value is None or _is_list(_is_count)(value), "null or a list of counts"),
    "labels": (_is_list(_is_text), "a list of texts"),
    "num_channels": (lambda value: _is_count(value) and value > 0, "in [1, 2**31)"),
    "num_frames": (_is_count, "a count"),
    "sees_frames": _SWITCH,
    "reads_texts": _SWITCH,
    "transform": _OBJECT,
    "files": (_is_files, "names of files beside it and their SHA-256"),
    "measured": _OBJECT,
}


def _damaged(file: Path, why: str) -> ValueError:
    return ValueError(
        f"`model` must have a record that can be read, got {str(file)!r}: {why}. Export it again."
    )
