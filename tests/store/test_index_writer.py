import json
import os
import shutil
from datetime import datetime, timedelta
from itertools import product
from pathlib import Path

import pytest
from support.rows_on_hand import failure, settings, video

from vidtldr.store.checksums import RECORD_FILE
from vidtldr.store.exact_search import ExactSearch
from vidtldr.store.export import export_parquet
from vidtldr.store.filters import count_where
from vidtldr.store.index_writer import IndexWriter
from vidtldr.store.lance import readable, require_lancedb
from vidtldr.store.rows import FileState, clip_id, path_of, storable
from vidtldr.store.schema import clip_table, failure_table, token_table
from vidtldr.store.verify import gone_files, verify_index
from vidtldr.store.video_index import VideoIndex


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "my.index"


def test_what_is_committed_is_there(directory):
    with IndexWriter(directory, settings()) as writer:
        writer.commit([video("/a", 3), video("/it's", 1)], [failure("/bad")])
        index = VideoIndex(directory)
    assert (index.num_rows, index.num_failures) == (4, 1)
    assert set(index.known_files()) == {"/a", "/it's"}
    assert index.failures()["/bad"].reason == "broken"
    row = index.rows([clip_id("/a", 10.0)])[clip_id("/a", 10.0)]
    assert (row["start_seconds"], row["end_seconds"], row["seconds"]) == (10, 20, 10)
    assert (row["model"], row["schedule"], row["codec"]) == ("first", "r=2", "h264")
    assert index.num_bytes > 0


def test_a_changed_file_has_its_new_rows_alone(directory):
    with IndexWriter(directory, settings()) as writer:
        writer.commit([video("/a", 3), video("/b", 2)])
        writer.commit([video("/a", 2, seed=1), video("/c", 1)])
    index = VideoIndex(directory)
    assert index.num_rows == 5
    assert index.known_files()["/a"].sha256 == "hash1"


def test_a_file_has_rows_or_a_failure_and_never_both(directory):
    with IndexWriter(directory, settings()) as writer:
        writer.commit([video("/a")], [failure("/b")])
        writer.commit([video("/b")], [failure("/a")])
        index = VideoIndex(directory)
        assert (set(index.known_files()), set(index.failures())) == ({"/b"}, {"/a"})
        writer.commit([], [failure("/a", "still broken")])
    assert VideoIndex(directory).failures()["/a"].reason == "still broken"
    assert VideoIndex(directory).num_failures == 1


def test_what_a_killed_writer_left_between_tables_is_mended(directory):
    with IndexWriter(directory, settings(keep_tokens=True)) as writer:
        writer.commit([video("/a")], [failure("/b")])
        tokens, clips = writer._tables["tokens"], writer._tables["clips"]
        tokens.add(token_table([video("/c")]))  # killed before the clips
        clips.add(clip_table([video("/b")], writer.settings))  # killed before the failure went
    IndexWriter(directory).close()
    index = VideoIndex(directory)
    assert set(index.known_files()) == {"/a", "/b"}
    assert index.num_failures == 0
    assert index.token_ids() == {clip_id("/a", 0.0)}


def test_tokens_of_a_changed_file_are_replaced(directory):
    with IndexWriter(directory, settings(keep_tokens=True)) as writer:
        writer.commit([video("/a")])
        writer.commit([video("/a", seed=1)])
    key = clip_id("/a", 0.0)
    [kept] = VideoIndex(directory).tokens([key]).values()
    expected = video("/a", seed=1).clips[0].tokens
    assert (kept.x == expected.x).all()
    assert (kept.mass == expected.mass).all()


def test_a_new_time_of_an_unchanged_file_is_noted(directory):
    with IndexWriter(directory, settings()) as writer:
        writer.commit([video("/it's", 2), video("/b")])
        writer.refresh("/it's", FileState(7, 8))
    known = VideoIndex(directory).known_files()
    assert known["/it's"] == FileState(7, 8, "hash0")
    assert known["/b"] == FileState(1, 2, "hash0")


def test_removed_files_are_gone_with_their_tokens(directory, tmp_path):
    there = tmp_path / "there.mp4"
    there.touch()
    with IndexWriter(directory, settings(keep_tokens=True)) as writer:
        writer.commit([video(str(there)), video("/b")], [failure("/bad")])
        gone = gone_files(VideoIndex(directory))
        assert gone == ["/b", "/bad"]
        writer.remove(gone)
    index = VideoIndex(directory)
    assert (set(index.known_files()), index.num_failures) == ({str(there)}, 0)
    assert len(index.token_ids()) == 1


def test_compaction_makes_many_small_commits_small(directory, monkeypatch):
    whole_age = "vidtldr.store.index_writer._age_of_unread"
    monkeypatch.setattr(whole_age, lambda table: timedelta(0))
    with IndexWriter(directory, settings()) as writer:
        for number in range(12):
            writer.commit([video(f"/{number}")], [failure(f"/bad{number}")])
        before = VideoIndex(directory).num_bytes
        writer.compact()
    index = VideoIndex(directory)
    assert index.num_bytes < before / 2
    assert (index.num_rows, index.num_failures) == (12, 12)


def test_a_second_writer_is_told_and_the_first_goes_on(directory):
    with IndexWriter(directory, settings()) as writer:
        with pytest.raises(
            BlockingIOError, match=r"one writer at a time, got .* while process \d+"
        ):
            IndexWriter(directory, settings())
        writer.commit([video("/a")])
    IndexWriter(directory, settings()).close()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"identity": {"weights": "xyz"}, "model": "other"}, r"weights must be 'first' \(abc\) as"),
        ({"schedule": "none"}, "schedule must be r=2 as in all rows .* got none"),
        ({"identity": {"weights": "abc", "merge": {"r": [2]}}}, "dtype must be torch.float32"),
        ({"num_channels": 9}, "num_channels must be 8"),
        ({"segment_seconds": 10.0}, "segment must be none .* got 10 s"),
        ({"keep_tokens": True}, "keep_tokens must be False"),
    ],
)
def test_other_settings_are_refused(directory, changes, words):
    IndexWriter(directory, settings()).close()
    with pytest.raises(ValueError, match=words):
        IndexWriter(directory, settings(**changes))


def test_a_tuple_is_the_list_as_which_it_was_stored(directory):
    IndexWriter(directory, settings(identity={"weights": "abc", "merge": {"r": (2,)}})).close()
    IndexWriter(directory, settings(identity={"weights": "abc", "merge": {"r": [2]}})).close()


def test_another_way_to_load_the_same_model_is_no_difference(directory):
    IndexWriter(directory, settings(options={"model": "/here"})).close()
    IndexWriter(directory, settings(options={"model": "/there"})).close()


def test_a_directory_of_other_things_is_not_touched(tmp_path):
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(ValueError, match=r"new or empty directory, got .* with 'photo.jpg' in it"):
        IndexWriter(tmp_path, settings())
    with pytest.raises(OSError, match="must be a directory that can be written to"):
        IndexWriter(tmp_path / "photo.jpg", settings())
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]


def test_where_there_is_no_index_it_is_said(directory):
    for open_it in (VideoIndex, IndexWriter):
        with pytest.raises(FileNotFoundError, match="made by vidtldr index add"):
            open_it(directory)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model", 5),
        ("schedule", None),
        ("num_channels", "8"),
        ("num_channels", True),
        ("num_channels", 0),
        ("num_channels", 10**30),
        ("identity", [1]),
        ("segment_seconds", "10"),
        ("segment_seconds", float("nan")),
        ("segment_seconds", -1),
        ("keep_tokens", "no"),
        ("options", ["model"]),
        ("options", None),
    ],
)
def test_settings_of_another_type_are_an_error(directory, name, value):
    IndexWriter(directory, settings()).close()
    about = json.loads((directory / "index.json").read_text())
    (directory / "index.json").write_text(json.dumps(about | {name: value}))
    for open_it in (VideoIndex, IndexWriter):
        with pytest.raises(ValueError, match=rf"a damaged file \({name} must be "):
            open_it(directory)


@pytest.mark.parametrize(
    "text", ["{", "[]", "5", '{"format": 1}', '{"format": 3}', "[" * 10**5, "9" * 5000, "\udcff"]
)
def test_damaged_settings_are_an_error(directory, text):
    IndexWriter(directory, settings()).close()
    (directory / "index.json").write_text(text, errors="surrogateescape")
    with pytest.raises(ValueError, match=r"damaged file|format must be in \[1, 2\], got 3. Update"):
        VideoIndex(directory)


def test_a_truncated_table_is_a_clear_error_and_the_rest_stays_readable(directory):
    with IndexWriter(directory, settings()) as writer:
        writer.commit([video("/a", 3)], [failure("/bad")])
    [data] = (directory / "clips.lance" / "data").iterdir()
    data.write_bytes(data.read_bytes()[:50])
    index = VideoIndex(directory)
    assert index.failures()["/bad"].reason == "broken"
    with pytest.raises(OSError, match=r"an index must be whole, got .* with damage"):
        index.known_files()
    check = verify_index(directory)
    assert len(check.problems) == 1
    shutil.rmtree(directory / "clips.lance" / "_versions")
    with pytest.raises(OSError, match="an index must be whole"):
        VideoIndex(directory)


@pytest.mark.parametrize("inside", ["", "_versions"])
@pytest.mark.parametrize("name", ["clips", "failures"])
def test_a_table_in_the_making_is_empty_and_not_damaged(directory, name, inside):
    """As a reader finds it while a writer makes it, or after a writer was killed there."""
    with IndexWriter(directory, settings()) as writer:
        writer.commit([], [])
    shutil.rmtree(directory / f"{name}.lance")
    (directory / RECORD_FILE).unlink()  # written once all tables are made
    (directory / f"{name}.lance" / inside).mkdir(parents=True)
    index = VideoIndex(directory)
    assert (index.num_rows, index.num_failures) == (0, 0)
    with IndexWriter(directory, settings()) as writer:
        writer.commit([video("/a")], [failure("/bad")])
    index = VideoIndex(directory)
    assert (index.num_rows, index.num_failures) == (1, 1)


def test_a_full_disk_is_said_and_what_was_committed_stays(directory, monkeypatch):
    with IndexWriter(directory, settings()) as writer:
        writer.commit([video("/a")])

        class Full:
            def add(self, rows):
                raise RuntimeError("lance error: IO error: No space left on device (os error 28)")

        monkeypatch.setitem(writer._tables, "clips", Full())
        with pytest.raises(
            OSError, match=r"must have room, got .*free some space and run the same"
        ):
            writer.commit([video("/b")])
    assert set(VideoIndex(directory).known_files()) == {"/a"}


@pytest.mark.parametrize("name", ["memory:", "movies:action", "db:x", "a b%20#?", "~x"])
def test_a_name_that_looks_like_an_address_is_a_directory(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with IndexWriter(name, settings()) as writer:
        writer.commit([video("/a")])
    assert set(VideoIndex(name).known_files()) == {"/a"}
    assert (tmp_path / name / "clips.lance").is_dir()


@pytest.mark.parametrize(
    "name", ["s3://bucket/x", Path("s3://bucket/x"), "file:///tmp/x", "db://x"]
)
def test_an_address_is_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for open_it in (VideoIndex, lambda name: IndexWriter(name, settings())):
        with pytest.raises(ValueError, match="must be in a local directory, got the address"):
            open_it(name)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_is_not_utf8_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"whose path is UTF-8, got .*\\udcff"):
        IndexWriter(tmp_path / os.fsdecode(b"\xff"), settings())


def test_a_reader_that_was_there_before_a_compaction_goes_on(directory):
    with IndexWriter(directory, settings()) as writer:
        for number in range(3):
            writer.commit([video(f"/{number}")], [failure(f"/bad{number}")])
        reader = VideoIndex(directory)
        writer.compact()
        assert ExactSearch(reader).num_rows == 3
        assert len(reader.failures()) == 3
    assert VideoIndex(directory).num_rows == 3


def test_a_reader_whose_version_is_gone_reads_the_newest(directory, monkeypatch, tmp_path):
    whole_age = "vidtldr.store.index_writer._age_of_unread"
    monkeypatch.setattr(whole_age, lambda table: timedelta(0))
    reads = {
        "clips": lambda index: set(index.known_files()),
        "failures": lambda index: set(index.failures()),
        "tokens": lambda index: index.token_ids(),
        "filter": lambda index: count_where(index, "seconds > 5"),
        "search": lambda index: ExactSearch(index, "seconds > 5").num_rows,
        "export": lambda index: export_parquet(index, tmp_path / "rows.parquet"),
    }
    with IndexWriter(directory, settings(keep_tokens=True)) as writer:
        for number, read in enumerate(reads.values()):
            writer.commit([video(f"/{number}")], [failure(f"/bad{number}")])
            reader = VideoIndex(directory)
            writer.commit([video(f"/more{number}")], [failure(f"/worse{number}")])
            writer.compact()
            assert read(reader) == read(VideoIndex(directory))


def test_versions_are_deleted_once_they_were_replaced_long_ago(directory, monkeypatch):
    from vidtldr.store import index_writer

    class Table:
        def list_versions(self):
            now = datetime.now()
            return [{"timestamp": now - timedelta(minutes=age)} for age in (90, 60, 1, 0)]

    age = index_writer._age_of_unread(Table())  # that of 60 minutes was the newest 2 minutes ago
    assert timedelta(minutes=60) < age < timedelta(minutes=61)


@pytest.mark.parametrize("replaces", [True, False])
def test_a_writer_whose_lock_file_is_deleted_stops(directory, replaces):
    with IndexWriter(directory, settings()) as writer:
        writer.commit([video("/a")])
        os.remove(directory / "writer.lock")
        if replaces:
            IndexWriter(directory, settings()).close()
        for write in (
            lambda: writer.commit([video("/b")]),
            lambda: writer.refresh("/a", FileState(7, 8)),
            lambda: writer.remove(["/a"]),
            writer.compact,
        ):
            with pytest.raises(OSError, match=r"must keep its writer.lock .* deleted or replaced"):
                write()
    assert set(VideoIndex(directory).known_files()) == {"/a"}


def test_rows_that_two_writers_wrote_are_there_once_after_the_next(directory, monkeypatch):
    with IndexWriter(directory, settings(keep_tokens=True)) as writer:
        writer.commit([video("/a", 3), video("/b")], [failure("/bad")])
        clips, tokens, failures = (writer._tables[n] for n in ("clips", "tokens", "failures"))
        for seed, num_clips in ((1, 2), (2, 2)):  # a changed file, read by both
            rows = [video("/a", num_clips, seed=seed)]
            clips.add(clip_table(rows, writer.settings))
            tokens.add(token_table(rows))
            failures.add(failure_table([failure("/bad", f"reason {seed}")]))
    assert any("3 rows have the key" in each for each in verify_index(directory).problems)
    IndexWriter(directory).close()
    assert verify_index(directory).problems == ()
    index = VideoIndex(directory)
    assert (index.num_rows, index.num_failures, len(index.token_ids())) == (3, 1, 3)
    assert index.known_files()["/a"].sha256 == "hash2"
    assert index.failures()["/bad"].reason == "reason 2"


def test_no_two_paths_have_the_same_stored_form(directory):
    letters, byte = "/v/a\\xff.mp4", os.fsdecode(b"/v/a\xff.mp4")
    with IndexWriter(directory, settings()) as writer:
        writer.commit([video(letters), video("/v/b.mp4")])
        writer.commit([], [failure(byte, "its name is no UTF-8")])
    index = VideoIndex(directory)
    assert {path_of(path) for path in index.known_files()} == {letters, "/v/b.mp4"}
    assert [path_of(path) for path in index.failures()] == [byte]
    assert verify_index(directory).problems == ()


def test_a_stored_path_gives_back_the_path():
    pieces = [b"\\", b"x", b"f", b"5", b"c", b"\xff", "ü".encode()]
    paths = {
        os.fsdecode(b"".join(each))
        for length in range(5)
        for each in product(pieces, repeat=length)
    }
    assert len({storable(path) for path in paths}) == len(paths)
    assert all(path_of(storable(path)) == path for path in paths)
    assert storable("/videos/it's ü.mp4") == "/videos/it's ü.mp4"


def test_a_failed_file_whose_name_is_not_utf8_is_not_gone(directory, tmp_path):
    path = tmp_path / os.fsdecode(b"a\xff.mp4")
    path.touch()
    with IndexWriter(directory, settings()) as writer:
        writer.commit([], [failure(str(path))])
    assert gone_files(VideoIndex(directory)) == []


def test_a_right_that_is_missing_is_said(tmp_path):
    with pytest.raises(OSError, match="must be writable here"), readable(tmp_path):
        raise PermissionError(13, "Permission denied")


def test_verify_finds_what_is_wrong(directory):
    with IndexWriter(directory, settings()) as writer:
        writer.commit([video("/a"), video("/b")])
        assert verify_index(directory).problems == ()
        assert verify_index(directory).num_gone == 2
        clips = writer._tables["clips"]
        clips.update(where="path = '/a'", values={"model": "other"})
        clips.update(where="path = '/b'", values={"start_seconds": 5.0})
    problems = verify_index(directory).problems
    assert any("'/a' at 0 s was made with 'other'" in each for each in problems)
    assert any("'/b' at 5 s has the key of another row" in each for each in problems)


def test_without_lancedb_the_install_line_is_said(monkeypatch):
    def missing(name, *_):
        raise ImportError(name)

    monkeypatch.setattr("vidtldr.store.lance.import_module", missing)
    with pytest.raises(ImportError, match=r"pip install 'vidtldr\[search\]'"):
        require_lancedb()


def test_the_settings_file_says_what_the_index_is(directory):
    IndexWriter(directory, settings(segment_seconds=10.0)).close()
    about = json.loads((directory / "index.json").read_text())
    assert (about["model"], about["segment_seconds"]) == ("first", 10.0)
    assert {path.name for path in directory.iterdir()} >= {"writer.lock", "index.json"}
