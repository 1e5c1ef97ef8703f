import codecs
import io
import os

import pytest
from support.pipeline_films import write_folder

from vidtldr.pipeline.discovery import discover, find_videos
from vidtldr.pipeline.plan import Work, plan_work
from vidtldr.store.rows import FailureRow, FileState


@pytest.fixture
def tree(tmp_path):
    for name in ("b.mp4", "a/x.MKV", "a/deep/y.webm", "a/notes.md", "a/._z.mov", "c/odd [1].avi"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def names(found, tree):
    return [os.path.relpath(path, tree) for path in found.files]


def test_a_folder_is_searched_to_any_depth_in_order(tree):
    expected = ["b.mp4", "a/._z.mov", "a/x.MKV", "a/deep/y.webm", "c/odd [1].avi"]
    assert names(discover([str(tree)]), tree) == expected


def test_patterns_files_lists_and_stdin(tree, monkeypatch):
    monkeypatch.chdir(tree)
    assert names(discover(["**/*.[mw]*"]), tree) == ["a/deep/y.webm", "b.mp4"]
    assert names(discover(["a/notes.md", "c/odd [1].avi"]), tree) == ["a/notes.md", "c/odd [1].avi"]
    (tree / "list.txt").write_text("b.mp4\n\nnowhere.mp4\n")
    assert names(discover(["list.txt"]), tree) == ["b.mp4", "nowhere.mp4"]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a/x.MKV\r\n")))
    assert names(discover(["-"]), tree) == ["a/x.MKV"]


def test_a_list_may_begin_with_a_mark_and_hold_names_with_any_character(tree, monkeypatch):
    monkeypatch.chdir(tree)
    odd = ["b.mp4", "a\u2028b.mp4", "c\x0bd\x85.mp4", "e\x1c.mp4", os.fsdecode(b"f\xff.mp4"), " g "]
    content = "\n".join(odd).encode("utf-8", "surrogateescape")
    for text in (content, codecs.BOM_UTF8 + content, content.replace(b"\n", b"\r\n") + b"\r\n"):
        (tree / "list.txt").write_bytes(text)
        assert names(discover(["list.txt"]), tree) == odd
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text), "ascii"))
        assert names(discover(["-"]), tree) == odd


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_a_list_in_utf16_is_refused(tree, encoding):
    mark = "\ufeff" if encoding.endswith("be") else ""
    (tree / "list.txt").write_text(f"{mark}b.mp4", encoding=encoding)
    with pytest.raises(ValueError, match=r"a list must be UTF-8, got UTF-16 in '.*list.txt'"):
        discover([str(tree / "list.txt")])


def test_videos_keep_their_names_and_one_that_is_missing_its_place(tree, monkeypatch):
    monkeypatch.chdir(tree)
    sources = ["c", "b.mp4", "nowhere.mp4", "b.mp4", "a/d*"]
    expected = ("c/odd [1].avi", "b.mp4", "nowhere.mp4", "b.mp4", "a/deep/y.webm")
    assert find_videos(sources).files == expected
    with pytest.raises(ValueError, match="matches none"):
        find_videos(["*.xyz"])


def test_each_file_counts_once(tree):
    (tree / "again").symlink_to(tree / "a")
    (tree / "a" / "loop").symlink_to(tree)
    found = names(discover([str(tree), str(tree / "a"), str(tree / "b.mp4")]), tree)
    assert found == ["b.mp4", "a/._z.mov", "a/x.MKV", "a/deep/y.webm", "c/odd [1].avi"]


def test_what_is_not_there_is_an_error(tree):
    with pytest.raises(ValueError, match="source must be an existing folder"):
        discover([str(tree / "nowhere")])
    with pytest.raises(ValueError, match="matches none"):
        discover([str(tree / "*.xyz")])


def test_a_broken_link_counts_as_a_file(tree):
    (tree / "gone.mp4").symlink_to("nowhere")
    assert "gone.mp4" in names(discover([str(tree)]), tree)


def test_the_plan_is_an_anti_join(tmp_path):
    good, *rest = write_folder(tmp_path / "v", 4).good
    state = FileState.of(good)
    known = {
        good: FileState(state.size_bytes, state.mtime_ns, "h"),
        rest[0]: FileState(1, 1, "other"),
    }
    failed = {
        rest[1]: FailureRow(rest[1], FileState.of(rest[1]), "bad"),
        rest[2]: FailureRow(rest[2], FileState(0, 0), "bad"),
    }
    plan = plan_work([good, *rest], known, failed)
    assert plan.work == (Work(rest[0], "other"), Work(rest[2]))
    assert (plan.num_unchanged, plan.num_failed_before) == (1, 1)
    assert len(plan_work([good, *rest], known, failed, retry_failed=True).work) == 3
