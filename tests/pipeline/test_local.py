import os
import shutil

import numpy as np
import pytest
from support.film import write_film
from support.flat_model import NUM_CHANNELS, SAID, load, request
from support.pipeline_films import failures_of, rows_of, write_folder

from vidtldr.pipeline.discovery import discover
from vidtldr.pipeline.local import index_videos
from vidtldr.store.video_index import VideoIndex
from vidtldr.tasks.embed import embed_videos


def index(directory, folder, wanted=None, **options):
    files = discover([str(folder)]).files
    return index_videos(directory, files, wanted or request(**options), gpus=[None])


@pytest.fixture(scope="module")
def done(films, tmp_path_factory):
    """An index of all films, and the report of its run."""
    directory = tmp_path_factory.mktemp("done") / "my.index"
    return directory, index(directory, films.folder)


def test_without_a_batch_size_there_is_one(films, tmp_path):
    report = index(tmp_path / "my.index", films.folder, request(batch_size=None))
    assert report.num_indexed == len(films.good)


def test_every_good_file_has_a_row_and_every_bad_one_a_reason(films, done):
    directory, report = done
    opened = VideoIndex(directory)
    assert sorted(opened.known_files()) == films.good
    assert sorted(opened.failures()) == films.bad
    assert report.num_files == len(films.good) + len(films.bad)
    assert (report.num_indexed, report.num_failed) == (len(films.good), len(films.bad))
    reasons = failures_of(directory)
    assert "no such file" in reasons[str(films.folder / "gone.mov")]
    assert all(repr(path) in reason for path, reason in reasons.items())


def test_a_row_is_what_the_model_says_of_the_file(films, done):
    directory, _ = done
    rows = {dict(row)["path"]: dict(row) for row in rows_of(directory).values()}
    for video in embed_videos(load(), films.good):
        row = rows[video.path]
        assert row["vector"] == pytest.approx(video.vector.tolist(), abs=1e-5)
        assert row["sha256"].startswith(video.id)
        assert (row["start_seconds"], row["end_seconds"]) == (0.0, video.seconds)
        assert (row["width"], row["height"], row["codec"]) == (146, 38, "h264")
        assert row["size_bytes"] == os.path.getsize(video.path)
        assert len(row["vector"]) == NUM_CHANNELS


def test_a_second_run_has_nothing_to_do(films, done):
    directory, _ = done
    before = rows_of(directory)
    report = index(directory, films.folder)
    assert report.num_unchanged == len(films.good)
    assert report.num_failed_before == len(films.bad)
    assert report.num_indexed == report.num_failed == 0
    assert rows_of(directory) == before


@pytest.mark.slow
def test_changed_files_are_replaced_and_new_ones_added(tmp_path):
    films = write_folder(tmp_path / "videos", 3)
    directory = tmp_path / "my.index"
    index(directory, films.folder)
    before = rows_of(directory)
    changed, touched, _ = films.good
    write_film(tmp_path / "other.mp4", 11, first_number=300)
    shutil.copyfile(tmp_path / "other.mp4", changed)
    os.utime(touched, ns=(1, 1))
    write_film(films.folder / "new.mp4", 5)
    shutil.copyfile(touched, films.folder / "empty.mp4")
    report = index(directory, films.folder)
    assert (report.num_indexed, report.num_unchanged) == (3, 2)
    after = rows_of(directory)
    assert len(after) == 5
    same = {key for key in before if after[key] == before[key]}
    assert len(same) == 1  # neither the changed nor the touched one
    paths = {dict(row)["path"] for row in after.values()}
    assert str(films.folder / "empty.mp4") in paths
    assert str(films.folder / "empty.mp4") not in failures_of(directory)
    fresh = tmp_path / "fresh.index"
    index(fresh, films.folder)
    assert rows_of(fresh) == after


@pytest.mark.slow
def test_a_good_file_that_turns_bad_loses_its_rows(tmp_path):
    films = write_folder(tmp_path / "videos", 2)
    directory = tmp_path / "my.index"
    index(directory, films.folder)
    with open(films.good[0], "w") as file:
        file.write("no video any more")
    report = index(directory, films.folder)
    assert report.num_failed == 1
    assert sorted(VideoIndex(directory).known_files()) == films.good[1:]
    assert films.good[0] in failures_of(directory)


def test_failed_files_are_read_again_on_request(films, done):
    directory, _ = done
    report = index(directory, films.folder, retry_failed=True)
    assert report.num_failed == len(films.bad)
    assert sorted(failures_of(directory)) == films.bad


def test_segments_are_rows_with_start_and_end(tmp_path):
    write_film(tmp_path / "long.mp4", 64, rate=8)  # 8 s
    write_film(tmp_path / "short.mp4", 5, rate=8)
    report = index(tmp_path / "my.index", tmp_path, segment_seconds=3.0)
    assert (report.num_indexed, report.num_rows) == (2, 4)
    rows = [dict(row) for row in rows_of(tmp_path / "my.index").values()]
    spans = sorted((row["start_seconds"], row["end_seconds"]) for row in rows)
    assert spans == [(0, 0.625), (0, 3), (3, 6), (6, 8)]
    assert all(row["seconds"] == row["end_seconds"] - row["start_seconds"] for row in rows)


def test_tokens_are_kept_on_request(films, tmp_path):
    index(tmp_path / "my.index", films.folder, keep_tokens=True)
    opened = VideoIndex(tmp_path / "my.index")
    ids = list(rows_of(tmp_path / "my.index"))
    tokens = opened.tokens(ids)
    assert set(tokens) == set(ids) == opened.token_ids()
    for x, mass in tokens.values():
        assert x.shape == (4 * 2 * 3, 1)
        assert np.allclose(mass, x[:, 0] + 1, atol=1e-3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"weights": "second"}, r"weights must be 'first' \(first\) as in all rows of the index"),
        ({"segment_seconds": 3.0}, "segment must be none .* got 3 s"),
        ({"keep_tokens": True}, "keep_tokens must be False .* got True"),
    ],
)
def test_an_index_of_something_else_is_refused_with_the_reason(films, done, options, words):
    directory, _ = done
    before = rows_of(directory)
    with pytest.raises(ValueError, match=words):
        index(directory, films.folder, **options)
    assert rows_of(directory) == before


def test_what_loading_says_is_said_once_however_many_encoders(films, tmp_path, capfd):
    files = discover([films.good[0]]).files
    index_videos(tmp_path / "my.index", files, request(), gpus=[None, None])
    assert capfd.readouterr() == ("", SAID)
    with pytest.raises(ValueError, match="model must be good"):
        index_videos(tmp_path / "other.index", files, request(broken="load"), gpus=[None])
    assert capfd.readouterr() == ("", SAID)


def test_a_model_that_cannot_be_loaded_stops_the_run(films, tmp_path):
    with pytest.raises(ValueError, match=r"model must be good, got bad\. Use another\."):
        index(tmp_path / "my.index", films.folder, broken="load")
    assert not (tmp_path / "my.index").exists()


def test_a_model_that_fails_stops_the_run_and_leaves_the_index_whole(films, tmp_path):
    with pytest.raises(ValueError, match="clips must be good"):
        index(tmp_path / "my.index", films.folder, broken="encode")
    index(tmp_path / "my.index", films.folder)
    assert len(rows_of(tmp_path / "my.index")) == len(films.good)


def test_vectors_that_are_not_finite_are_failures(films, tmp_path):
    report = index(tmp_path / "my.index", films.folder, broken="nan")
    assert (report.num_indexed, report.num_failed) == (0, report.num_files)
    assert "NaN or inf. Use float32." in failures_of(tmp_path / "my.index")[films.good[0]]


def test_progress_reaches_the_end(films, tmp_path):
    seen = []
    files = discover([str(films.folder)]).files
    failed = []
    index_videos(
        tmp_path / "my.index",
        files,
        request(),
        gpus=[None],
        on_progress=seen.append,
        on_failure=failed.append,
    )
    assert (seen[-1].num_files, seen[-1].num_done) == (len(files), len(files))
    assert sorted(row.path for row in failed) == films.bad


@pytest.mark.slow
def test_beyond_so_many_rows_an_ann_index_is_built_and_measured(tmp_path, monkeypatch):
    monkeypatch.setattr("vidtldr.store.ann.EXACT_ROWS", 280)
    write_film(tmp_path / "long.mp4", 300, rate=10)  # 300 segments of a frame each
    report = index(tmp_path / "my.index", tmp_path, segment_seconds=0.1)
    assert report.num_rows == report.ann.num_rows == 300
    assert 0 < report.ann.recall <= 1
    assert report.ann.search_ms > 0
