"""`benchmarks/gpu.py`: what runs it on any machine, and all of it with tiny sizes on a CPU."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
SCRIPT = FOLDER / "gpu.py"


@pytest.fixture(autouse=True)
def _stages_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))


def report_of(folder: Path, name: str) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
    return report


def test_a_failing_stage_does_not_stop_the_others(tmp_path: Path) -> None:
    from gpu_stages.stage import Stage, Work
    from gpu_stages.worker import run_stages

    def fail(work: Work) -> dict[str, Any]:
        work.keep({"half": "of it"})
        raise ArithmeticError("planted")

    stages = [
        Stage("first", lambda _: {"found": 1}),
        Stage("planted", fail),
        Stage("last", lambda _: {"found": 3}),
        Stage("too-long", lambda _: {}, needs_seconds=1e6),
    ]
    assert run_stages(stages, tmp_path, time.time() + 100, smoke=True) == 0
    reports = {stage.name: report_of(tmp_path, stage.name) for stage in stages}
    statuses = [report["status"] for report in reports.values()]
    assert statuses == ["done", "failed", "done", "skipped"]
    assert reports["last"]["result"] == {"found": 3}
    assert reports["planted"]["result"] == {"half": "of it"}
    assert "ArithmeticError: planted" in reports["planted"]["traceback"]
    assert "it needs 1000000 s" in reports["too-long"]["reason"]


RUN_ONE = """
import json, os, pathlib, sys, time
folder, behaviour = pathlib.Path(sys.argv[1]), sys.argv[2]
for name in ("a", "b", "c"):
    path = folder / f"{name}.json"
    if path.exists():
        continue
    if behaviour == "dies before":
        os._exit(9)
    path.write_text(json.dumps({"stage": name, "status": "running", "seconds": 0, "result": 1}))
    if name == "b":
        os._exit(9) if behaviour == "dies" else time.sleep(100)
    path.write_text(json.dumps({"stage": name, "status": "done", "seconds": 0}))
"""


@pytest.mark.parametrize(
    ("behaviour", "seconds", "expected"),
    [
        ("dies", 60, ["done", "ended", "done"]),
        ("dies before", 60, ["ended", "ended", "ended"]),
        ("hangs", 3, ["done", "ended", "skipped"]),
    ],
)
def test_a_process_that_dies_or_hangs_loses_one_stage_at_most(
    tmp_path: Path, behaviour: str, seconds: float, expected: list[str]
) -> None:
    from gpu_stages.driver import drive
    from gpu_stages.stage import Stage

    stages = [Stage(name, lambda _: {}) for name in ("a", "b", "c")]
    command = [sys.executable, "-c", RUN_ONE, str(tmp_path), behaviour]
    assert drive(command, stages, tmp_path, seconds) == 1
    rows = report_of(tmp_path, "summary")["stages"]
    assert [row["status"] for row in rows] == expected
    if behaviour == "dies":
        assert rows[1]["reason"] == "its process ended with code 9"
        assert report_of(tmp_path, "b")["result"] == 1


def test_what_a_tuner_found_is_told() -> None:
    from gpu_stages.tiles import tuning_of

    class Candidate:
        def __init__(self, rows: int) -> None:
            self.rows = rows

        def all_kwargs(self) -> dict[str, int]:
            return {"ROWS": self.rows}

    fast, slow = Candidate(64), Candidate(32)
    timings = {fast: [1.0, 0.9, 1.1], slow: [float("inf")] * 3}
    found = tuning_of(SimpleNamespace(best_config=fast, configs_timings=timings))
    assert found["chosen"] == {"ROWS": 64}
    assert [c["ms"][0] for c in found["candidates"]] == [1.0, None]


def test_every_way_of_mass_gives_the_same_values_and_a_wrong_one_is_seen() -> None:
    from gpu_stages.attention import _check, _keep_what_runs, _sides_of
    from gpu_stages.bounds import Inputs

    inputs = Inputs.draw((2, 3, 96, 16), torch.bfloat16, torch.device("cpu"))
    sides = {name: side for name, side in _sides_of(inputs).items() if "triton" not in name}
    running, refused = _keep_what_runs(sides)
    ways = {"sdpa-flash", "sdpa-flash-bias-with-mass", "sdpa-flash-folded-with-mass"}
    assert set(running) == ways | {"blocked-with-mass"}
    assert len(refused) == 6
    running["forgets-its-with-mass"] = running["sdpa-flash"]
    errors, wrong = _check(running, inputs)
    assert set(wrong) == {"forgets-its-with-mass"}
    assert errors["blocked-with-mass"]["score"] is not None


@pytest.mark.skipif(torch.cuda.is_available(), reason="it would run for minutes")
def test_without_cuda_it_says_so_and_writes_nothing(tmp_path: Path) -> None:
    done = run("--output-dir", str(tmp_path / "results"))
    assert done.returncode == 2
    assert "must run on a machine with CUDA, got none" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "results").exists()


def test_results_of_an_earlier_run_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "environment.json").write_text("{}")
    done = run("--output-dir", str(tmp_path), "--smoke")
    assert done.returncode == 2
    assert "--output-dir must hold no JSON files yet" in done.stderr
    assert "--minutes must be positive" in run("--output-dir", ".", "--minutes", "0").stderr


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
def test_the_smoke_run_does_every_stage(tmp_path: Path) -> None:
    pytest.importorskip("triton")
    from gpu_stages.plan import stages_of

    done = run("--output-dir", str(tmp_path), "--smoke", "--minutes", "30", "--commit", "abc")
    names = [stage.name for stage in stages_of(smoke=True, commit=None)]
    reports = {name: report_of(tmp_path, name) for name in names}
    assert {n: r.get("traceback") for n, r in reports.items() if r["status"] != "done"} == {}
    assert done.returncode == 0, done.stderr
    assert [row["stage"] for row in report_of(tmp_path, "summary")["stages"]] == names
    kernels = reports["correctness-kernels"]["result"]
    assert (kernels["num_wrong"], kernels["num_left_out"]) == (0, 0)
    eager = reports["model-umt-b16-batch-2"]["result"]
    assert set(eager["refused"]) == {"unmerged on cudnn", "unmerged on efficient"}
    variants = {row["peer"]: row for row in eager["rows"]}
    assert set(variants) == {"unmerged", "unmerged on flash", "merged", "ToMe", "materialised"}
    assert variants["merged"]["flop_reduction"] > 1
    layers = reports["layers-videomae-b-batch-2"]["result"]["layers"]
    assert [layer["layer"] for layer in layers] == [0, 1, 2]
    compiled = reports["compiled-videomae-b-batch-2"]["result"]["rows"]
    assert {row["peer"] for row in compiled} >= {"merged, compiled", "unmerged, compiled"}


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
