import os
import shutil
from dataclasses import replace

import pytest
from support.umt_sets import CONFIG

from vidtldr.tasks.clip_reader import ClipReader, umt_reader
from vidtldr.tasks.embed import embed_videos, umt_embedder
from vidtldr.tasks.unchanged import FileChangedError, FileWatch
from vidtldr.tasks.video_features import VideoEncoding
from vidtldr.tasks.video_file import VideoFile
from vidtldr.tune.clips import FailedVideo, read_clips


class Replacing(ClipReader):
    """A reader beside which another program puts another video under the path that is read."""

    def read_resized(self, path):
        copy = f"{path}.new"
        shutil.copy(self.other, copy)
        os.replace(copy, path)
        return super().read_resized(path)


@pytest.fixture
def replacing(films):
    reader = umt_reader(CONFIG)
    replacing = Replacing(reader.sampling, reader.transform)
    object.__setattr__(replacing, "other", films.paths[1])
    return replacing


@pytest.fixture
def video(films, tmp_path):
    return shutil.copy(films.paths[0], str(tmp_path / "video.mp4"))


def append(path):
    with open(path, "ab") as file:
        file.write(b"x")


def replace_by_one_of_the_same_size_and_time(path):
    before = os.stat(path)
    shutil.copy(path, f"{path}.new")
    os.utime(f"{path}.new", ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(f"{path}.new", path)


@pytest.mark.parametrize("change", [append, os.remove, replace_by_one_of_the_same_size_and_time])
def test_a_file_that_changes_is_noticed(change, video):
    watch = FileWatch(video)
    watch.validate_unchanged()
    change(video)
    with pytest.raises(FileChangedError, match="it changed while it was read"):
        watch.validate_unchanged()


def test_a_missing_file_stays_the_same(tmp_path):
    FileWatch(str(tmp_path / "gone")).validate_unchanged()
    FileWatch("null\0byte").validate_unchanged()


def test_no_id_is_written_beside_another_videos_vector(retrieval, replacing, video):
    embedder = replace(umt_embedder(VideoEncoding(retrieval, umt_reader(CONFIG))), reader=replacing)
    [row] = embed_videos(embedder, [video])
    assert (row.id, row.vector) == (None, None)
    assert "it changed while it was read" in row.error
    [again] = embed_videos(embedder, [video])
    assert "it changed" in again.error


def test_no_features_are_cached_under_another_videos_hash(
    retrieval, films, replacing, video, tmp_path
):
    row = VideoEncoding(retrieval, replacing, cache_dir=tmp_path / "cache").encode(video)
    assert row.tokens is None
    assert "it changed while it was read" in row.error
    encoding = VideoEncoding(retrieval, umt_reader(CONFIG), cache_dir=tmp_path / "cache")
    assert not encoding.encode(films.paths[0]).from_cache
    assert not encoding.encode(films.paths[1]).from_cache


def test_no_trials_are_kept_under_another_videos_hash(replacing, video):
    clips, [failed] = read_clips(replacing, [video])
    assert clips == []
    assert isinstance(failed, FailedVideo)
    assert "it changed while it was read" in failed.error


def test_a_file_that_is_being_indexed_is_looked_at_again(video):
    file = VideoFile(video, umt_reader(CONFIG))
    file.hash_content()
    list(file.clips())
    file.validate_unchanged()
    append(video)
    with pytest.raises(FileChangedError, match="it changed while it was read"):
        file.validate_unchanged()
