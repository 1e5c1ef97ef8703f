"""Settings shared by all rows of an index: the model, the schedule, the segment length."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vidtldr.files import read_json, write_json
from vidtldr.store.lance import validate_directory

__all__ = ["SETTINGS_FILE", "IndexSettings", "read_settings", "write_settings"]

SETTINGS_FILE = "index.json"
#: Of new indexes. Versions that know only format 1 keep no checksums: their writers would leave a
#: replaced row with the checksum of the row before it, so they must refuse a newer format.
FORMAT = 2
_CHECKSUM = "checksum"  # its key in the file
_REMEDY = "Index into another directory, or use what this index was made with."


@dataclass(frozen=True)
class IndexSettings:
    """Settings an index was made with.

    Attributes:
        model: Human-readable name of the model.
        schedule: Human-readable merging schedule: "r=600,200,100", or "none".
        num_channels: Length of a vector.
        identity: Everything the vectors depend on, JSON-serialisable, such as a hash of the
            weights.
        segment_seconds: Length of a segment; None if videos are not cut.
        keep_tokens: Whether visual tokens are kept alongside the vectors.
        options: How to load the model again, set by the index's creator; never compared.
        format: 2 if rows and settings have checksums; 1 if versions that keep none may write to it.
    """

    model: str
    schedule: str
    num_channels: int
    identity: Mapping[str, Any]
    segment_seconds: float | None = None
    keep_tokens: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    format: int = FORMAT

    def validate_same(self, other: "IndexSettings", directory: Path) -> None:
        """Check that rows made with `other` may be added to this index.

        Raises:
            ValueError: If not; the message says what differs.
        """
        differences = [
            ("weights", self.identity.get("weights"), other.identity.get("weights")),
            ("schedule", self.schedule, other.schedule),
            *(
                (key, self.identity.get(key), other.identity.get(key))
                for key in sorted({*self.identity, *other.identity} - {"weights"})
            ),
            ("num_channels", self.num_channels, other.num_channels),
            ("segment", _seconds(self.segment_seconds), _seconds(other.segment_seconds)),
            ("keep_tokens", self.keep_tokens, other.keep_tokens),
        ]
        for name, own, offered in differences:
            if _plain(own) != _plain(offered):
                if name == "weights":
                    own = f"{self.model!r} ({str(own)[:12]})"
                    offered = f"{other.model!r} ({str(offered)[:12]})"
                raise ValueError(
                    f"{name} must be {own} as in all rows of the index {str(directory)!r}, got "
                    f"{offered}. {_REMEDY}"
                )


def _is_length(value: Any) -> bool:
    return value is None or (type(value) in (int, float) and 0 < value < float("inf"))


_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "format": (lambda value: type(value) is int and 1 <= value <= FORMAT, f"in [1, {FORMAT}]"),
    "model": (lambda value: isinstance(value, str), "text"),
    "schedule": (lambda value: isinstance(value, str), "text"),
    "num_channels": (lambda value: type(value) is int and 0 < value < 2**31, "in [1, 2**31)"),
    "identity": (lambda value: isinstance(value, dict), "an object"),
    "segment_seconds": (_is_length, "null or a number above 0"),
    "keep_tokens": (lambda value: isinstance(value, bool), "true or false"),
    "options": (lambda value: isinstance(value, dict), "an object"),
}


def read_settings(directory: Path) -> IndexSettings:
    """Read the settings of an index.

    Raises:
        FileNotFoundError: If there is no index.
        ValueError: If the settings file is damaged or of another format, or `directory` is an
            address.
    """
    path = validate_directory(directory) / SETTINGS_FILE
    try:
        values = read_json(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(
            f"index must be a directory made by vidtldr index add, got {str(directory)!r} without "
            f"{SETTINGS_FILE}. Check the name."
        ) from error
    except (ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(values, dict):
        raise _damaged(path, "it holds no settings")
    given = values.get("format")
    if type(given) is int and given > FORMAT:
        raise ValueError(
            f"format must be in [1, {FORMAT}], got {given}. Update vidtldr for this index."
        )
    for name, (is_valid, rule) in _RULES.items():
        if name not in values:
            raise _damaged(path, f"{name!r} is missing")
        if not is_valid(values[name]):
            raise _damaged(path, f"{name} must be {rule}, got {values[name]!r:.100}")
    if values["format"] > 1 and values.get(_CHECKSUM) != _checksum(values):
        raise _damaged(path, "it does not have its checksum")
    return IndexSettings(**{name: values[name] for name in IndexSettings.__dataclass_fields__})


def write_settings(directory: Path, settings: IndexSettings) -> None:
    """Write the settings of a new index atomically.

    Raises:
        OSError: If they cannot be written.
    """
    values = _plain(asdict(settings))
    write_json(directory / SETTINGS_FILE, values | {_CHECKSUM: _checksum(values)})


def _checksum(values: Mapping[str, Any]) -> str:
    rest = {name: value for name, value in values.items() if name != _CHECKSUM}
    return hashlib.blake2b(json.dumps(rest, sort_keys=True).encode(), digest_size=8).hexdigest()


def _damaged(path: Path, reason: str) -> ValueError:
    return ValueError(
        f"index must have its settings in {str(path)!r}, got a damaged file ({reason}). Bring back "
        "a copy of it, or index into a new directory."
    )


def _plain(value: object) -> Any:
    """The value after a JSON round trip, which turns tuples into lists."""
    return json.loads(json.dumps(value))


def _seconds(value: float | None) -> str:
    return "none" if value is None else f"{value:g} s"
