import json
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from support.rows_on_hand import failure, settings, video

from vidtldr.store.checksums import CHECKSUM, RECORD_FILE
from vidtldr.store.export import export_parquet
from vidtldr.store.index_writer import IndexWriter
from vidtldr.store.rows import FileState, clip_id
from vidtldr.store.schema import clip_table
from vidtldr.store.settings import read_settings, write_settings
from vidtldr.store.verify import verify_index
from vidtldr.store.video_index import VideoIndex

TABLES = ("clips", "failures", "tokens")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Three commits, a changed file, a removed one and a new time of an unchanged one."""
    directory = tmp_path_factory.mktemp("made") / "my.index"
    with IndexWriter(directory, settings(keep_tokens=True)) as writer:
        for number in range(3):
            writer.commit([video(f"/{number}", 2)], [failure(f"/bad{number}")])
        writer.commit([video("/0", 2, seed=1)])
        writer.remove(["/1", "/bad1"])
        writer.refresh("/2", FileState(7, 8))
    return directory


@pytest.fixture
def directory(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "my.index"))


def test_what_a_writer_left_is_sound(directory):
    check = verify_index(directory)
    assert (check.problems, check.num_unchecked) == ((), 0)
    assert (check.num_videos, check.num_rows, check.num_failures) == (2, 4, 2)


def test_a_flipped_bit_of_a_vector_is_noticed(tmp_path):
    directory = tmp_path / "my.index"
    with IndexWriter(directory, settings()) as writer:
        writer.commit([video("/a", 3), video("/b", 2)])
    [file] = (directory / "clips.lance" / "data").iterdir()
    content = file.read_bytes()
    start = content.index(video("/b", 2).clips[1].vector.tobytes())
    for bit in (0, 5):
        changed = bytearray(content)
        changed[start + 3] ^= 1 << bit
        file.write_bytes(changed)
        [problem] = verify_index(directory).problems
        assert problem == "a row of '/b' in clips does not have its checksum"
    file.write_bytes(content)
    assert verify_index(directory).problems == ()


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("clips", "sha256", "other"),
        ("clips", "mtime_ns", 5),
        ("clips", "notes", "none"),
        ("clips", "end_seconds", None),
        ("failures", "reason", "another"),
        ("tokens", "tokens", b"\0" * 24),
        ("tokens", "mass", None),
    ],
)
def test_a_changed_value_is_noticed(directory, table, column, value):
    with IndexWriter(directory) as writer:
        writer._tables[table].update(values={column: value})
    problems = verify_index(directory).problems
    assert any(f"in {table} does not have its checksum" in each for each in problems)


@pytest.mark.parametrize("table", TABLES)
def test_a_table_without_its_newest_version_is_noticed_and_made_whole(directory, table):
    def newest():  # named so that the newest comes first
        return min((directory / f"{table}.lance" / "_versions").glob("*.manifest"))

    newest().unlink()
    with pytest.raises(OSError, match=f"without the newest version of its {table}. Bring back"):
        VideoIndex(directory)
    with pytest.raises(OSError, match="without the newest version"):
        verify_index(directory)
    with (
        pytest.warns(UserWarning, match=f"had lost the newest version of its {table}: rows"),
        IndexWriter(directory) as writer,
    ):
        writer.commit([video("/0", 2, seed=1), video("/2", 2)])
    assert verify_index(directory).problems == ()


@pytest.mark.parametrize("table", TABLES)
def test_a_table_that_is_gone_is_noticed(directory, table):
    shutil.rmtree(directory / f"{table}.lance")
    with pytest.raises(OSError, match=f"without the newest version of its {table}"):
        VideoIndex(directory)


def test_rows_that_came_and_went_unrecorded_are_noticed(directory):
    record = (directory / RECORD_FILE).read_text()
    with IndexWriter(directory) as writer:
        writer.commit([video("/3")])
        version = writer._tables["clips"].version
    (directory / RECORD_FILE).write_text(record.replace('"version": 7', f'"version": {version}'))
    problems = verify_index(directory).problems
    assert "clips must hold the 4 rows of the last commit, got 5" in problems


@pytest.mark.parametrize("one", [("clips", "failures"), ("failures", "tokens")])
def test_tables_that_changed_places_are_noticed(directory, one):
    first, second = (directory / f"{name}.lance" for name in one)
    first.rename(directory / "between")
    second.rename(first)
    (directory / "between").rename(second)
    with pytest.raises(OSError, match="an index must be whole"):
        VideoIndex(directory)


def test_an_index_of_other_vectors_is_noticed(directory):
    write_settings(directory, replace(read_settings(directory), num_channels=10**9))
    with pytest.raises(OSError, match="lack the column 'vector'"):
        VideoIndex(directory)


@pytest.mark.parametrize("text", ["{", "[]", '{"clips": 1}', '{"clips": {"version": "1"}}'])
def test_a_damaged_record_is_an_error(directory, text):
    (directory / RECORD_FILE).write_text(text)
    with pytest.raises(ValueError, match="must have its record of tables in"):
        VideoIndex(directory)


@pytest.mark.parametrize(("name", "value"), [("model", "firsT"), ("identity", {"weights": "abb"})])
def test_changed_settings_are_noticed(directory, name, value):
    file = directory / "index.json"
    about = json.loads(file.read_text())
    file.write_text(json.dumps(about))  # only laid out in another way
    assert verify_index(directory).problems == ()
    for changed in (about | {name: value}, {**about, "checksum": None}, {**about, "more": 1}):
        file.write_text(json.dumps(changed))
        with pytest.raises(ValueError, match=r"a damaged file \(it does not have its checksum\)"):
            VideoIndex(directory)


def make_first_format(directory):
    settings_file = directory / "index.json"
    about = json.loads(settings_file.read_text())
    settings_file.write_text(json.dumps(about | {"format": 1}))


def make_old(directory):
    """As a version without checksums left it."""
    make_first_format(directory)
    (directory / RECORD_FILE).unlink()
    for table in VideoIndex(directory)._tables.values():
        table.drop_columns([CHECKSUM])


def test_an_index_without_checksums_is_read_and_written(directory, tmp_path):
    make_old(directory)
    check = verify_index(directory)
    assert (check.problems, check.num_rows, check.num_unchecked) == ((), 4, 10)
    assert set(VideoIndex(directory).known_files()) == {"/0", "/2"}
    assert export_parquet(VideoIndex(directory), tmp_path / "rows.parquet") == 4
    with IndexWriter(directory) as writer:
        writer.commit([video("/2", 2, seed=5), video("/4")], [failure("/bad4")])
        writer.refresh("/0", FileState(1, 1))
    check = verify_index(directory)
    assert (check.problems, check.num_videos, check.num_rows) == ((), 3, 5)
    assert check.num_unchecked == 4  # two failures, and the tokens of one file


def test_rows_that_an_older_version_adds_are_rows_without_checksum(directory):
    make_first_format(directory)
    with IndexWriter(directory) as writer:
        rows = clip_table([video("/5")], writer.settings)
    VideoIndex(directory).clips.add(rows.drop_columns([CHECKSUM]))
    check = verify_index(directory)
    assert (check.num_rows, check.num_unchecked) == (5, 1)
    assert check.problems == ("rows without tokens: 1",)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        IndexWriter(directory).close()


def test_rows_that_an_older_version_replaces_are_not_said_to_be_damaged_for_sure(directory):
    make_first_format(directory)
    with IndexWriter(directory) as writer:
        rows = clip_table([video("/0", 2, seed=9)], writer.settings)
    put = VideoIndex(directory).clips.merge_insert("id").when_matched_update_all()
    put.execute(rows.drop_columns([CHECKSUM]))  # which keeps the checksums of the rows before
    assert (
        verify_index(directory).problems
        == (
            "a row of '/0' in clips does not have its checksum: it is damaged, or an older vidtldr "
            "replaced it",
        )
        * 2
    )


def test_versions_without_checksums_are_kept_from_writing(directory):
    assert json.loads((directory / "index.json").read_text())["format"] == 2  # they know 1 alone
    VideoIndex(directory).clips.update(values={CHECKSUM: None})
    problems = verify_index(directory).problems
    assert set(problems) == {
        f"a row of {key!r} in clips does not have its checksum" for key in ("/0", "/2")
    }
    VideoIndex(directory).clips.drop_columns([CHECKSUM])
    with pytest.raises(OSError, match="whose clips lack the column 'checksum'"):
        VideoIndex(directory)


def test_a_damaged_row_is_no_answer(directory):
    """Whole rows are compared when they are handed out, not when vectors are looked through."""
    with IndexWriter(directory) as writer:
        writer.commit([video("/7", 2)])
    index = VideoIndex(directory)
    ids = [row["id"] for batch in index.batches("clips", ["id"]) for row in batch.to_pylist()]
    assert set(index.rows(ids)) == set(index.tokens(ids)) == set(ids)
    assert not {"vector", CHECKSUM} & set(index.rows(ids)[ids[0]])
    [one, other] = [clip_id("/7", 0.0), clip_id("/2", 0.0)]
    for name, values in (("clips", {"notes": "none"}), ("tokens", {"tokens": bytes(24)})):
        index.table(name).update(where=f"id = '{one}'", values=values)
        read = VideoIndex(directory).rows if name == "clips" else VideoIndex(directory).tokens
        assert set(read([other])) == {other}
        with pytest.raises(OSError, match=f"with a row in {name} that does not have its checksum"):
            read([one, other])
    make_first_format(directory)
    assert len(VideoIndex(directory).rows(ids)) == len(ids)
