"""Check an index against its own rules, and its rows against the files."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vidtldr.store.lance import readable
from vidtldr.store.rows import FileState, clip_id
from vidtldr.store.video_index import VideoIndex, scan

__all__ = ["IndexCheck", "gone_files", "verify_index"]

_MAX_EXAMPLES = 5


@dataclass(frozen=True)
class IndexCheck:
    """What was found.

    Attributes:
        num_videos: Files with rows.
        num_rows: Clips.
        num_failures: Files without.
        problems: What is wrong with the index, a sentence each; empty if it is sound.
        num_changed: Files that are not as they were when they were indexed.
        num_gone: Files that are not there any more.
    """

    num_videos: int
    num_rows: int
    num_failures: int
    problems: tuple[str, ...]
    num_changed: int
    num_gone: int


def verify_index(directory: str | os.PathLike[str]) -> IndexCheck:
    """Read every row, and look at every file.

    A row must have a finite vector, the key of its path and start, and the model and schedule of
    the index; no two have one key, and no file has rows and a failure.

    Raises:
        FileNotFoundError: If there is no index.
        ValueError, OSError: If it is so damaged that it cannot be opened.
    """
    index = VideoIndex(Path(directory))
    problems: list[str] = []
    keys: Counter[str] = Counter()
    try:
        for row, vector in _rows(index):
            keys[row["id"]] += 1
            problems += _problems_of(row, vector, index)
        known, failed = index.known_files(), index.failures()
    except OSError as error:
        return IndexCheck(0, sum(keys.values()), 0, (*problems, str(error)), 0, 0)
    problems += [f"{count} rows have the key {key}" for key, count in keys.items() if count > 1]
    problems += [
        f"{path!r} has rows and a failure" for path in sorted(known.keys() & failed.keys())
    ]
    if index.settings.keep_tokens:
        problems += _without_tokens(index, set(keys))
    num_gone = sum(not os.path.exists(path) for path in known)
    num_other = sum(not state.same_stat(FileState.of(path)) for path, state in known.items())
    num_problems = len(problems)
    if num_problems > _MAX_EXAMPLES:
        problems = [*problems[:_MAX_EXAMPLES], f"and {num_problems - _MAX_EXAMPLES} more"]
    num_rows = sum(keys.values())
    return IndexCheck(
        len(known), num_rows, len(failed), tuple(problems), num_other - num_gone, num_gone
    )


def gone_files(index: VideoIndex, exists: Callable[[str], bool] = os.path.exists) -> list[str]:
    """Files with rows or a failure that are not there any more, sorted."""
    paths = {*index.known_files(), *index.failures()}
    return sorted(path for path in paths if not exists(path))


def _rows(index: VideoIndex) -> Iterator[tuple[dict[str, Any], Any]]:
    if index.clips is None:
        return
    columns = index.clips.schema.names
    with readable(index.directory):
        for batch in scan(index.clips, columns):
            vectors = batch.column("vector").flatten().to_numpy(zero_copy_only=False)
            rows = batch.drop_columns(["vector"]).to_pylist()
            yield from zip(rows, vectors.reshape(len(rows), -1), strict=True)


def _problems_of(row: dict[str, Any], vector: Any, index: VideoIndex) -> list[str]:
    settings, name = index.settings, f"{row['path']!r} at {row['start_seconds']:g} s"
    found = []
    if vector.shape != (settings.num_channels,) or not np.isfinite(vector).all():
        found.append(f"{name} has a vector that is not {settings.num_channels} finite numbers")
    if row["id"] != clip_id(row["path"], row["start_seconds"]):
        found.append(f"{name} has the key of another row")
    if (row["model"], row["schedule"]) != (settings.model, settings.schedule):
        found.append(f"{name} was made with {row['model']!r}, schedule {row['schedule']}")
    return found


def _without_tokens(index: VideoIndex, keys: set[str]) -> list[str]:
    missing = len(keys - index.token_ids())
    return [f"{missing} rows have no tokens"] if missing else []
