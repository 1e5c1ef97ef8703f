"""An evaluation is really killed, and the next one goes on where it was."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support.umt_sets import write_json, write_tokenizer, written_set

TESTS = Path(__file__).resolve().parents[1]
NUM_VIDEOS = 7


@pytest.fixture
def prepared(tmp_path):
    """A set of seven films and a broken one, and a tokenizer."""
    films = written_set(tmp_path / "videos", NUM_VIDEOS)
    write_tokenizer(tmp_path / "tokenizer")
    words = ["dog", "cat", "red", "street", "sign", "runs", "person", "on"]
    entries = [{"video": v, "caption": w} for v, w in zip(films.names, words, strict=True)]
    write_json(tmp_path / "set.json", entries)
    return tmp_path


def start(directory, cache, pause_seconds):
    return subprocess.Popen(
        [sys.executable, TESTS / "support" / "interrupted.py", directory, cache, pause_seconds],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
    )


def finish(directory, cache):
    output, _ = start(directory, cache, "0").communicate(timeout=120)
    return json.loads(output.splitlines()[-1])


@pytest.mark.slow
def test_a_killed_evaluation_goes_on_and_gives_the_same_numbers(prepared):
    cache = prepared / "cache"
    process = start(prepared, cache, "0.5")
    for line in process.stdout:
        if line.split() == ["videos", "4"]:
            break
    process.kill()  # SIGKILL: nothing can tidy up
    assert process.wait() < 0
    num_kept = len(list(cache.glob("*/*/*.safetensors")))
    assert 3 <= num_kept < NUM_VIDEOS  # of four videos the third is the broken one

    resumed = finish(prepared, cache)
    assert resumed["run"]["num_from_cache"] == num_kept
    assert resumed["run"]["num_encoded"] == NUM_VIDEOS - num_kept

    other = prepared / "other-cache"
    straight = finish(prepared, other)
    assert straight["run"]["num_encoded"] == NUM_VIDEOS
    assert straight["dual"] == resumed["dual"]
    assert straight["reranked"] == resumed["reranked"]
    for entry in cache.glob("*/*/*.safetensors"):
        here, there = (load_file(d / entry.relative_to(cache)) for d in (cache, other))
        assert all(torch.equal(here[name], there[name]) for name in ("tokens", "pooled"))
