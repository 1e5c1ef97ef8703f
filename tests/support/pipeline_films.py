"""A folder of videos made on the spot, with all that happens to files."""

import os
from pathlib import Path
from typing import NamedTuple

from support.film import write_film

from vidtldr.store.rows import clip_id
from vidtldr.store.video_index import VideoIndex, scan


class Films(NamedTuple):
    """Paths of files that can be read, and of those that cannot."""

    folder: Path
    good: list[str]
    bad: list[str]


def write_folder(folder: Path, num_good: int = 6) -> Films:
    """Good files in a folder and one below it; an empty one, a text, sound, a cut one, a link."""
    below = folder / "below" / "it's"
    below.mkdir(parents=True)
    good = [
        write_film((folder, below)[n % 2] / f"film{n}.mp4", 9 + n, first_number=37 * n + 5)
        for n in range(num_good)
    ]
    whole = good[0].read_bytes()
    bad = [folder / name for name in ("empty.mp4", "text.MP4", "cut.mkv", "gone.mov")]
    bad[0].touch()
    bad[1].write_text("This is no video.\n")
    bad[2].write_bytes(whole[: len(whole) // 2])
    os.symlink("nowhere", bad[3])
    (folder / "readme.txt").write_text("no video, and no name of one")
    return Films(folder, sorted(map(str, good)), sorted(map(str, bad)))


def rows_of(directory: Path) -> dict[str, tuple]:
    """Everything in the rows of an index but the time of writing, by key; no key is there twice."""
    index = VideoIndex(directory)
    found: dict[str, tuple] = {}
    if index.clips is None:
        return found
    for batch in scan(index.clips, index.clips.schema.names):
        for row in batch.to_pylist():
            assert row["id"] == clip_id(row["path"], row["start_seconds"])
            assert row["id"] not in found
            del row["indexed_at"], row["checksum"]  # of this time of writing
            row["vector"] = tuple(row["vector"])
            found[row["id"]] = tuple(sorted(row.items(), key=lambda item: item[0]))
    return found


def failures_of(directory: Path) -> dict[str, str]:
    return {path: row.reason for path, row in VideoIndex(directory).failures().items()}
