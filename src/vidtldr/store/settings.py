"""What all rows of one index have in common: the model, the schedule, the length of a segment."""

import json
import os
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["SETTINGS_FILE", "IndexSettings", "read_settings", "write_settings"]

SETTINGS_FILE = "index.json"
FORMAT = 1
_REMEDY = "Index into another directory, or use what this index was made with."


@dataclass(frozen=True)
class IndexSettings:
    """What an index was made with.

    Attributes:
        model: The model as a person calls it.
        schedule: What was merged, as a person reads it: "r=600,200,100", or "none".
        num_channels: Length of a vector.
        identity: What decides the vectors, ready for JSON, such as a hash of the weights.
        segment_seconds: Length of a segment; None if videos are not cut.
        keep_tokens: Whether visual tokens are kept beside the vectors.
        options: How to load the model again, as whoever made the index wishes; compared with
            nothing.
    """

    model: str
    schedule: str
    num_channels: int
    identity: Mapping[str, Any]
    segment_seconds: float | None = None
    keep_tokens: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    def validate_same(self, other: "IndexSettings", directory: Path) -> None:
        """Check that rows made with `other` may lie in this index.

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


def read_settings(directory: Path) -> IndexSettings:
    """Read the settings of an index.

    Raises:
        FileNotFoundError: If there is no index.
        ValueError: If its file is damaged or of a later format.
    """
    path = directory / SETTINGS_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["format"] != FORMAT:
            raise ValueError(
                f"format must be {FORMAT}, got {values['format']!r}. Update vidtldr for this index."
            )
        names = IndexSettings.__dataclass_fields__
        return IndexSettings(**{name: values[name] for name in names})
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(
            f"index must be a directory made by vidtldr index add, got {str(directory)!r} without "
            f"{SETTINGS_FILE}. Check the name."
        ) from error
    except (KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"index must have its settings in {str(path)!r}, got a damaged file ({error}). Bring "
            "back a copy of it, or index into a new directory."
        ) from error


def write_settings(directory: Path, settings: IndexSettings) -> None:
    """Write the settings of a new index, whole or not at all.

    Raises:
        OSError: If they cannot be written.
    """
    text = json.dumps({"format": FORMAT, **asdict(settings)}, indent=2) + "\n"
    partial = directory / f".{uuid.uuid4().hex}.partial"
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, directory / SETTINGS_FILE)
    finally:
        partial.unlink(missing_ok=True)


def _plain(value: object) -> Any:
    """A value as it comes back from JSON, where a tuple is a list."""
    return json.loads(json.dumps(value))


def _seconds(value: float | None) -> str:
    return "none" if value is None else f"{value:g} s"
