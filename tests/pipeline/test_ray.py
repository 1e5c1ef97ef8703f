"""The same rows from Ray: two actors on this machine."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

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
            pids = actor_pids(os.getpid())
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


def test_what_ray_says_of_a_killed_actor_stays_off_stdout(films, tmp_path):
    command = [sys.executable, "-m", "vidtldr", "index", "add", films.folder, "--json"]
    run = subprocess.Popen(
        [*map(str, command), "--engine", "ray", "--index", str(tmp_path / "my.index")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "RAY_worker_niceness": "0"},
    )
    while run.poll() is None and not (pids := actor_pids(run.pid)):
        time.sleep(0.05)
    os.kill(pids[0], signal.SIGKILL)
    out, err = run.communicate(timeout=300)
    assert run.returncode == 1, err
    assert json.loads(out)["num_indexed"] == len(films.good), err
    assert "(raylet)" in err


def actor_pids(driver: int) -> list[int]:
    """Of the actors that index for this process: another test may have a Ray of its own."""
    found = []
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        words = of_process(pid, "cmdline")
        if words.startswith(b"ray::") and b"MapWorker" in words and descends_from(pid, driver):
            found.append(pid)
    return found


def descends_from(pid: int, ancestor: int) -> bool:
    while pid > 1 and pid != ancestor:
        after_name = of_process(pid, "stat").rpartition(b")")[2].split()
        pid = int(after_name[1]) if after_name else 0
    return pid == ancestor


def of_process(pid: int, name: str) -> bytes:
    """A file of /proc; empty once the process is gone."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def test_an_error_of_the_model_is_raised_here(cluster, films, tmp_path):
    files = discover([str(films.folder)]).files
    with pytest.raises(ValueError, match=r"^model must be good, got bad\. Use another\.$"):
        index_videos_with_ray(tmp_path / "my.index", files, request(broken="load"))


def test_nothing_is_reported_home(cluster):
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
