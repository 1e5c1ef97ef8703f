"""Random damage to the files of an index is noticed, or changes no row."""

import random
import shutil

import pytest
from support.rows_on_hand import failure, settings, video

from vidtldr.store.index_writer import IndexWriter
from vidtldr.store.schema import CLIPS, FAILURES, TOKENS
from vidtldr.store.verify import verify_index
from vidtldr.store.video_index import VideoIndex

NUM_DAMAGES = 48


def rows_of(directory):
    """Every value of every row, but checksums."""
    index = VideoIndex(directory)
    found = {"settings": repr(index.settings)}
    for name in (CLIPS, FAILURES, TOKENS):
        columns = [column for column in index.table(name).schema.names if column != "checksum"]
        rows = (row for batch in index.batches(name, columns) for row in batch.to_pylist())
        found[name] = sorted(map(repr, rows))
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    directory = tmp_path_factory.mktemp("made") / "my.index"
    with IndexWriter(directory, settings(keep_tokens=True)) as writer:
        for number in range(3):
            rows = [video(f"/{number}/{file}", 2) for file in range(8)]
            writer.commit(rows, [failure(f"/bad{number}")])
        writer.compact()
        writer.commit([video("/0/1", 2, seed=1)], [failure("/1/1")])
    return directory


def live_files(directory):
    """Data, deletions, the newest version of each table, and the two JSON files."""
    newest = [min(folder.glob("*.manifest")) for folder in directory.glob("*/_versions")]
    data = [*directory.glob("*/data/*"), *directory.glob("*/_deletions/*")]
    return sorted([*newest, *data, *directory.glob("*.json")])


def flip(content, rng):
    changed = bytearray(content)
    for _ in range(rng.choice((1, 6))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def zero(content, rng):
    start, num_bytes = rng.randrange(len(content)), rng.choice((8, 64, 512))
    return content[:start] + bytes(num_bytes) + content[start + num_bytes :]


def test_random_damage_is_noticed_or_changes_no_row(made, tmp_path):
    rng, whole, num_noticed = random.Random(15), rows_of(made), 0
    for number in range(NUM_DAMAGES):
        directory = shutil.copytree(made, tmp_path / str(number))
        file, other = rng.choices(live_files(directory), k=2)
        kind = rng.choice(("flip", "zero", "truncate", "delete", "swap"))
        if kind == "delete":
            file.unlink()
        elif kind == "swap":
            content = file.read_bytes()
            file.write_bytes(other.read_bytes())
            other.write_bytes(content)
        elif kind == "truncate":
            file.write_bytes(file.read_bytes()[: rng.randrange(file.stat().st_size)])
        else:
            file.write_bytes({"flip": flip, "zero": zero}[kind](file.read_bytes(), rng))
        try:
            is_noticed = bool(verify_index(directory).problems)
        except (ValueError, OSError):
            is_noticed = True
        assert is_noticed or rows_of(directory) == whole, f"{kind} of {file} and {other}"
        num_noticed += is_noticed
    assert num_noticed >= 8  # the others hit what no version needs any more
