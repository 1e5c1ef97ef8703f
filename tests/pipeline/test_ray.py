"""The same rows from Ray: two actors on this machine."""

import os
import signal

import pytest
from support.flat_model import SAID, request
from support.pipeline_films import failures_of, rows_of

from vidtldr.pipeline.discovery import discover
from vidtldr.pipeline.local import index_videos
from vidtldr.pipeline.ray import index_videos_with_ray

pytestmark = pytest.mark.slow


def equal(rows, expected):
    assert rows.keys() == expected.keys()
    for key, row in rows.items():
        found, wanted = dict(row), dict(expected[key])
        assert found.pop("vector") == pytest.approx(wanted.pop("vector"), abs=1e-5)
        assert found == wanted


@pytest.fixture(scope="module")
def expected(films, tmp_path_factory):
    directory = tmp_path_factory.mktemp("local") / "my.index"
    index_videos(directory, discover([str(films.folder)]).files, request(), gpus=[None])
    return rows_of(directory), failures_of(directory)


def test_both_engines_write_the_same_rows(cluster, films, expected, tmp_path, capsys):
    directory = tmp_path / "my.index"
    files = discover([str(films.folder)]).files
    report = index_videos_with_ray(directory, files, request(), num_actors=2, files_a_batch=3)
    assert capsys.readouterr() == ("", SAID)
    assert (report.num_indexed, report.num_failed) == (len(films.good), len(films.bad))
    equal(rows_of(directory), expected[0])
    assert failures_of(directory) == expected[1]
    again = index_videos_with_ray(directory, files, request(), num_actors=2)
    assert (again.num_unchanged, again.num_failed_before) == (len(films.good), len(films.bad))


def test_an_actor_that_is_killed_in_mid_run_loses_nothing(cluster, films, expected, tmp_path):
    killed = []

    def kill_one(_progress):
        if not killed:
            pids = actor_pids()
            if pids:
                os.kill(pids[0], signal.SIGKILL)
                killed.append(pids[0])

    files = discover([str(films.folder)]).files
    wanted = request(seconds=0.3)
    index_videos_with_ray(
        tmp_path / "my.index", files, wanted, num_actors=2, files_a_batch=2, on_progress=kill_one
    )
    assert killed
    equal(rows_of(tmp_path / "my.index"), expected[0])
    assert failures_of(tmp_path / "my.index") == expected[1]


def actor_pids() -> list[int]:
    """Of Ray's actors that index."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                words = file.read()
        except OSError:
            continue
        if words.startswith(b"ray::") and b"MapWorker" in words:
            found.append(int(name))
    return found


def test_an_error_of_the_model_is_raised_here(cluster, films, tmp_path):
    files = discover([str(films.folder)]).files
    with pytest.raises(ValueError, match=r"^model must be good, got bad\. Use another\.$"):
        index_videos_with_ray(tmp_path / "my.index", files, request(broken="load"))


def test_nothing_is_reported_home(cluster):
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
