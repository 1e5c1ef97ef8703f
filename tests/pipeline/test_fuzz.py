"""Five hundred damaged files: the run ends, each file has rows or a reason, and no row is wrong."""

import random
from pathlib import Path

import pytest
from support.film import write_film
from support.flat_model import load, request
from support.pipeline_films import failures_of, rows_of

from vidtldr.pipeline.discovery import discover
from vidtldr.pipeline.local import index_videos
from vidtldr.store.verify import verify_index
from vidtldr.tasks.embed import embed_videos

NUM_FILES = 500
CODECS = [
    ("a.mp4", {}),
    ("b.mkv", {"options": {"bf": "2", "g": "6"}}),
    ("c.webm", {"codec": "libvpx-vp9"}),
    ("d.avi", {"codec": "mpeg4"}),
    ("e.mov", {"codec": "libx265"}),
    ("f.ts", {"codec": "mpeg2video"}),
]


def mutated(content: bytes, other: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(content)
    kind = rng.choice(["bits", "burst", "cut", "splice", "header", "repeat"])
    place = rng.randrange(len(damaged))
    if kind == "bits":
        for _ in range(rng.choice([1, 10, 100])):
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    elif kind == "burst":
        damaged[place : place + 64] = rng.randbytes(64)
    elif kind == "cut":
        del damaged[place:]
    elif kind == "splice":
        damaged[: rng.randrange(16, 400)] = other[: rng.randrange(16, 400)]
    elif kind == "header":
        for _ in range(20):
            damaged[rng.randrange(min(600, len(damaged)))] = rng.choice([0, 255, 127, 128])
    else:
        damaged[place:place] = damaged[max(0, place - 500) : place]
    return bytes(damaged)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory) -> Path:
    whole = tmp_path_factory.mktemp("whole")
    contents = {
        name: write_film(whole / name, 24, **options).read_bytes() for name, options in CODECS
    }
    folder = tmp_path_factory.mktemp("damaged")
    rng = random.Random(0)
    for number in range(NUM_FILES):
        name = CODECS[number % len(CODECS)][0]
        other = contents[rng.choice(CODECS)[0]]
        path = folder / f"{number:03d}{Path(name).suffix}"
        path.write_bytes(mutated(contents[name], other, rng))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("segment_seconds", [None, 0.4])
def test_damaged_files_stop_nothing_and_no_row_is_wrong(damaged, tmp_path, segment_seconds):
    files = discover([str(damaged)]).files
    assert len(files) == NUM_FILES
    wanted = request(num_workers=2, batch_size=8, segment_seconds=segment_seconds)
    report = index_videos(tmp_path / "my.index", files, wanted, gpus=[None])
    assert report.num_indexed + report.num_failed == NUM_FILES
    assert report.num_indexed > 50
    assert report.num_failed > 50
    assert verify_index(tmp_path / "my.index").problems == ()
    assert all(" cannot be " in text for text in failures_of(tmp_path / "my.index").values())
    if segment_seconds is not None:
        return
    rows = {dict(row)["path"]: dict(row) for row in rows_of(tmp_path / "my.index").values()}
    # What FFmpeg fills into gaps depends on what lies in memory; the others decode to the bit.
    sound = [path for path, row in rows.items() if "filled the gaps" not in row["notes"]]
    for video in embed_videos(load(), sorted(sound)):
        assert rows[video.path]["vector"] == pytest.approx(video.vector.tolist(), abs=1e-5)
