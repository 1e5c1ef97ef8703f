"""Processes are killed at random moments: what is left is whole, and the next run finishes it."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from support.pipeline_films import failures_of, rows_of, write_folder

from vidtldr.store.settings import SETTINGS_FILE
from vidtldr.store.verify import verify_index
from vidtldr.store.writer_lock import is_locked

NUM_FILMS = 24
SECONDS_A_BATCH = 0.05
ROWS_A_COMMIT = 4
PATIENCE = 300.0


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("many") / "videos", NUM_FILMS)


@pytest.fixture(scope="module")
def whole(many, tmp_path_factory):
    """What an uninterrupted run leaves."""
    directory = tmp_path_factory.mktemp("whole") / "my.index"
    done = finish(start(directory, many))
    assert done.startswith("done")
    return rows_of(directory), failures_of(directory)


def start(directory, films) -> subprocess.Popen:
    command = [sys.executable, "-m", "support.indexing"]
    arguments = [str(directory), str(films.folder), str(SECONDS_A_BATCH)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen(
        command + arguments,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )


def pids_of(process: subprocess.Popen) -> list[int]:
    word, *pids = process.stdout.readline().split()
    assert word == "pids"
    return list(map(int, pids))


def finish(process: subprocess.Popen) -> str:
    output, _ = process.communicate(timeout=PATIENCE)
    return output.splitlines()[-1] if output else ""


def wait_until_gone(pids: list[int]) -> None:
    end = time.monotonic() + PATIENCE
    while any(is_alive(pid) for pid in pids):
        assert time.monotonic() < end, "a worker outlives its parent"
        time.sleep(0.02)


def wait_until_locked(directory) -> None:
    end = time.monotonic() + PATIENCE
    while not is_locked(directory):
        assert time.monotonic() < end, "nobody writes the index"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def equal_to_rounding(rows, expected) -> None:
    assert rows.keys() == expected.keys()
    for key, row in rows.items():
        found, wanted = dict(row), dict(expected[key])
        assert found.pop("vector") == pytest.approx(wanted.pop("vector"), abs=1e-5)
        assert found == wanted


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it was done before
        os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
def test_killed_workers_cost_nothing_but_time(many, whole, tmp_path):
    process = start(tmp_path / "my.index", many)
    pids = pids_of(process)
    for pid in (pids[0], pids[-1]):  # a decoder, and the encoder
        time.sleep(0.3)
        kill(pid)
    assert finish(process) == f"done {NUM_FILMS}"
    is_that_of_an_uninterrupted_run(tmp_path / "my.index", whole)


@pytest.mark.slow
def test_a_killed_run_leaves_whole_rows_and_the_next_one_finishes_it(many, whole, tmp_path):
    directory = tmp_path / "my.index"
    process = start(directory, many)
    num_left = kill_main(process, directory, whole, seconds=0.4)
    assert finish(start(directory, many)) == f"done {NUM_FILMS - num_left}"
    is_that_of_an_uninterrupted_run(directory, whole)


@pytest.mark.slow
@pytest.mark.parametrize("run", range(7))
def test_killed_at_random_moments_the_rows_are_those_of_an_uninterrupted_run(
    many, whole, tmp_path, run
):
    """Three kills each: the run itself, then a decoder and the encoder of the run that goes on."""
    directory, moments = tmp_path / "my.index", random.Random(run)
    first = start(directory, many)
    num_left = kill_main(first, directory, whole, moments.uniform(0, 1.2))
    second = start(directory, many)
    pids = pids_of(second)
    victims = [pids[0], pids[-1]]
    moments.shuffle(victims)
    for pid in victims:
        time.sleep(moments.uniform(0, 1.2))
        kill(pid)
    assert finish(second) == f"done {NUM_FILMS - num_left}"
    is_that_of_an_uninterrupted_run(directory, whole)


def kill_main(process, directory, whole, seconds) -> int:
    """Kill a run some seconds after its workers are there; returns how many rows it leaves."""
    pids = pids_of(process)
    time.sleep(seconds)
    kill(process.pid)
    finish(process)
    wait_until_gone(pids)
    assert not is_locked(directory)
    if not (directory / SETTINGS_FILE).exists():  # it was killed before there was an index
        return 0
    left = rows_of(directory)
    assert left.keys() <= whole[0].keys()
    assert verify_index(directory).problems == ()
    return len(left)


def is_that_of_an_uninterrupted_run(directory, whole) -> None:
    equal_to_rounding(rows_of(directory), whole[0])
    assert failures_of(directory) == whole[1]
    assert verify_index(directory).problems == ()


@pytest.mark.slow
def test_at_most_the_open_commit_and_what_is_in_memory_is_lost(many, tmp_path):
    """Rows appear in commits of a few while the run goes on, and stay when it is killed."""
    directory = tmp_path / "my.index"
    process = start(directory, many)
    pids_of(process)
    seen = rows_of_first_commit(directory, process)
    process.kill()
    finish(process)
    assert seen.keys() <= rows_of(directory).keys()


def rows_of_first_commit(directory, process):
    """Wait until some rows are there, while the process goes on."""
    end = time.monotonic() + PATIENCE
    while not (directory / SETTINGS_FILE).exists() or len(rows_of(directory)) < ROWS_A_COMMIT:
        assert time.monotonic() < end
        assert process.poll() is None
        time.sleep(0.02)
    return rows_of(directory)


@pytest.mark.slow
def test_of_two_writers_one_wins_and_one_is_told(many, whole, tmp_path):
    directory = tmp_path / "my.index"
    first = start(directory, many)
    pids_of(first)
    wait_until_locked(directory)
    command = [sys.executable, "-m", "support.indexing", str(directory), str(many.folder), "0"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    second = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert finish(first) == f"done {NUM_FILMS}"
    if "done" not in second.stdout:  # which the first may have let it be, if it was quick
        assert f"while process {first.pid} writes it" in second.stderr
    equal_to_rounding(rows_of(directory), whole[0])


@pytest.mark.slow
def test_ctrl_c_commits_what_is_decoded_and_the_next_run_goes_on(many, whole, tmp_path):
    directory = tmp_path / "my.index"
    process = start(directory, many)
    pids = pids_of(process)
    rows_of_first_commit(directory, process)  # or it would be a start that is interrupted
    process.send_signal(signal.SIGINT)
    ended = finish(process)
    assert process.returncode == 0
    wait_until_gone(pids)
    word, num_indexed = ended.split()
    assert word in ("interrupted", "done")
    assert len(rows_of(directory)) == int(num_indexed)
    assert finish(start(directory, many)) == f"done {NUM_FILMS - int(num_indexed)}"
    equal_to_rounding(rows_of(directory), whole[0])
