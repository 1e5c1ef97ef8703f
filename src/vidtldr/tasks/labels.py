"""Read labels as typed: a file or a comma-separated list. Does not import torch."""

import csv
import io
import json
from pathlib import Path

from vidtldr.strict_json import parse_json

__all__ = ["parse_labels"]

_FILE_ENDINGS = (".txt", ".json", ".csv", ".tsv", ".lst")


def parse_labels(text: str) -> tuple[str, ...]:
    """Read labels from a file, if `text` is the path of one, or from a comma-separated list.

    A file holds one label per line, a JSON list, or CSV with the header `id,name`, as the label
    files of ViFi-CLIP.

    Raises:
        ValueError: If a label is empty, there is only one, the file is not a list of names, its ids
            do not count from 0, or the text looks like the path of a file and there is none.
    """
    is_file = _is_file(text)
    labels = _read_label_file(text) if is_file else _split(text)
    if not labels or not all(labels):
        raise ValueError(
            f"labels must be names that are not empty, got {labels!r}. Remove empty entries."
        )
    if not is_file and text.lower().endswith(_FILE_ENDINGS):
        raise ValueError(
            f"labels must be names or a file that exists, got {text!r}. Check the path."
        )
    if len(labels) == 1:
        what = (
            f"a file with {labels[0]!r} alone" if is_file else f"{text!r} alone, which is no file"
        )
        raise ValueError(
            f"labels must be two or more, got {what}. A single one always has 100 %: write "
            "'yoga,reading book', or check the path."
        )
    return tuple(labels)


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # too long for a file name, or contains a NUL
        return False


def _read_numbered(path: str, content: str) -> list[str]:
    """Read the names behind ids, which must be 0, 1, 2, ... to be the order of the classes."""
    labels: list[str] = []
    rows = csv.reader(io.StringIO(content, newline=""))
    next(rows)
    for row in rows:
        if not row:
            continue
        if len(row) != 2 or row[0].strip() != str(len(labels)):
            raise ValueError(
                f"labels must have the id {len(labels)} and a name in {path!r}, line "
                f"{rows.line_num}, got {','.join(row)!r}. Sort them by id, and quote commas."
            )
        labels.append(row[1].strip())
    return labels


def _split(text: str) -> list[str]:
    return [label.strip() for label in text.split(",")]


def _read_label_file(path: str) -> list[str]:
    try:
        content = Path(path).read_text(encoding="utf-8-sig").strip()
        if content.partition("\n")[0].strip().lower() == "id,name":
            return _read_numbered(path, content)
        if not content.startswith(("[", "{")):
            return [line.strip() for line in content.split("\n") if line.strip()]
        labels = parse_json(content)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"labels must be UTF-8 text, got other bytes in {path!r}. Save it so."
        ) from error
    except (json.JSONDecodeError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise ValueError(
            f"labels must be a JSON list or one label per line, got {path!r}, line {line}, that is "
            "no JSON. Correct the file."
        ) from error
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise ValueError(
            f"labels must be a JSON list of strings, got other values in {path!r}. Write "
            '["first", "second", ...].'
        )
    return [label.strip() for label in labels]
