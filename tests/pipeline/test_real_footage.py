"""Camera footage of all kinds through the commands, with the bundled model."""

import json
import os
import subprocess
import sys

import pytest
from support.pipeline_films import failures_of, rows_of

from vidtldr.pipeline.discovery import discover
from vidtldr.store.verify import verify_index
from vidtldr.video.decode import VideoError, read_clip
from vidtldr.video.sampling import Sampling

BAD = {"audio_only.mp4", "text_named.mp4", "truncated_60pct_yoga.mp4", "zero_bytes.mp4"}


def add(folder, directory, *flags):
    command = [sys.executable, "-m", "vidtldr", "index", "add", str(folder), "--index"]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "RAY_worker_niceness": "0",  # a busy machine would let actors wait for ever
    }
    done = subprocess.run(
        [*command, str(directory), "--json", *flags],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("flags", [(), ("--engine", "ray")], ids=["local", "ray"])
def test_every_file_that_decodes_is_there_once_and_every_bad_one_has_its_reason(
    real_videos, tmp_path, flags
):
    if flags:
        pytest.importorskip("ray.data")
    directory = tmp_path / "my.index"
    report = add(real_videos, directory, *flags)
    files = discover([str(real_videos)]).files
    failures = failures_of(directory)
    rows = [dict(row) for row in rows_of(directory).values()]
    assert sorted([*failures, *(row["path"] for row in rows)]) == sorted(files)
    assert {os.path.basename(path) for path in failures} == BAD
    assert (report["num_indexed"], report["num_failed"]) == (len(rows), len(BAD))
    for path in files:
        try:
            read_clip(path, Sampling(8))
            is_good = True
        except VideoError:
            is_good = False
        assert is_good == (path not in failures), path
    assert verify_index(directory).problems == ()


@pytest.mark.slow
def test_both_engines_agree_on_footage(real_videos, tmp_path):
    pytest.importorskip("ray.data")
    for engine in ("local", "ray"):
        add(real_videos / "odd", tmp_path / engine, "--engine", engine, "--segment", "5s")
    local, ray = (rows_of(tmp_path / engine) for engine in ("local", "ray"))
    assert local.keys() == ray.keys()
    for key, row in local.items():
        assert dict(row)["vector"] == pytest.approx(dict(ray[key])["vector"], abs=1e-5)
