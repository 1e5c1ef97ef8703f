import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from cli.umt_files import UMTFiles
from click.testing import Result
from rich.console import Console

from vidtldr.bench.roofline import Ceilings
from vidtldr.bench.scaling import ScalingRow
from vidtldr.bench.speed import Setting, SpeedRow
from vidtldr.bench.speed_peers import speed_peers
from vidtldr.cli.memory_child import measure_peak
from vidtldr.cli.speed_tables import print_latency, print_memory, print_scaling
from vidtldr.hosts.config import MergeConfig
from vidtldr.ops.native_bfloat16 import bfloat16_is_native

Run = Callable[..., Result]
needs_proc = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="reads Linux's /proc"
)


def test_latency_prints_writes_and_says_what_it_could_not_draw(
    run: Run, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    output = tmp_path / "latency.json"
    command = ["bench", "latency", "--model", model, "--device", "cpu", "--rounds", "2"]
    command += ["--peers", "merged;ToMe", "--scaling", "32,64", "--no-roofline"]
    command += ["--batches", "1,2", "--dtypes", "float32,bfloat16", "--ratio", "0.25,0.1"]
    done = run(*command, "-o", output, "--plot", tmp_path / "latency.png")
    assert done.exit_code == 1, done.output  # everything is there but the plot
    assert "batch 2, bfloat16" in done.stdout
    assert "attention of one merging layer, bfloat16" in done.stdout
    report = json.loads(output.read_text())
    assert [row["peer"] for row in report["rows"]] == ["unmerged", "merged", "ToMe"] * 4
    assert all(len(row["times_ms"]) == 2 for row in report["rows"])
    assert report["schedules"][0]["merge"]["ratio"] == [0.25, 0.1]
    assert report["environment"]["versions"]["torch"] == torch.__version__
    assert report["environment"]["has_native_bfloat16"] == bfloat16_is_native(torch.device("cpu"))
    for row in report["rows"]:
        is_half = row["setting"]["dtype"] == "bfloat16"
        assert (0 < row["rounding"] < 1) if is_half else (row["rounding"] is None)
    assert set(report["scaling"]) == {"float32", "bfloat16"}
    assert report["ceilings"] == {}


def test_latency_of_a_umt_checkpoint_at_several_numbers_of_frames(run: Run, umt: UMTFiles) -> None:
    command = ["bench", "latency", "--model", f"umt:{umt.retrieval}", "--arch", umt.arch]
    command += ["--frames", "2,3", "--rounds", "1", "--peers", "merged", "--no-roofline", "--json"]
    done = run(*command, "--device", "cpu", "--r", "2")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert [row["setting"]["num_frames"] for row in report["rows"]] == [2, 2, 3, 3]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--batches", "0"], "--batches must be numbers from 1 on, got '0'."),
        (["--batches", "one"], "--batches must be whole numbers with commas between"),
        (["--dtypes", "int8"], "--dtypes must be of float32, bfloat16, float16 with commas"),
        (["-o", "/no/where.json"], "--output must lie in a directory that is there"),
        (["--plot", "/no/where.png"], "--plot must lie in a directory that is there"),
        (["--report", "/no/where.html"], "--report must lie in a directory that is there"),
        (["--dtypes", "float16", "--device", "cpu"], "dtype must be float32 or bfloat16 on a CPU"),
        (["--model", "./nowhere", "--device", "cpu"], "got './nowhere'"),
    ],
)
@pytest.mark.parametrize("command", ["latency", "memory"])
def test_usage_errors(run: Run, command: str, arguments: list[str], message: str) -> None:
    done = run("bench", command, *arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sizes", "64"], "--sizes must be left out for weights that are loaded, got 64"),
        (["--frames", "4"], "--frames must be left out for a model of transformers, got 4"),
        (["--peers", "fast"], "peers must be among unmerged; unmerged, eager; "),
    ],
)
def test_what_a_loaded_model_cannot_do(
    run: Run, model: str, arguments: list[str], message: str
) -> None:
    done = run("bench", "latency", "--model", model, "--device", "cpu", *arguments)
    assert done.exit_code == 2
    assert message in done.stderr


@needs_proc
@pytest.mark.parametrize("peer", ["unmerged", "materialised"])
def test_the_process_of_one_peer_measures_it(model: str, peer: str) -> None:
    subject = {"model": model, "arch": None, "num_frames": None, "image_size": None}
    order = {"subject": subject | {"device": "cpu"}, "merge": {"r": [9, 5]}, "peer": peer}
    order |= {"batch": 1, "dtype": "float32", "num_threads": None}
    assert measure_peak(order) >= 0


def test_memory_takes_the_median_of_fresh_processes(
    run: Run, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders: list[dict[str, object]] = []

    def peak(_: object, given: str) -> int:
        orders.append(json.loads(given))
        return len(orders) * 2**20

    monkeypatch.setattr("vidtldr.cli.memory_run.peak_in_fresh_process", peak)
    output = tmp_path / "memory.json"
    command = ["bench", "memory", "--model", model, "--device", "cpu", "--r", "9,5"]
    command += ["--peers", "merged", "--threads", "1", "-o", output, "--plot", tmp_path / "m.png"]
    command += ["--report", tmp_path / "m.html"]
    done = run(*command)
    assert done.exit_code == 0, done.output
    assert [order["peer"] for order in orders] == ["unmerged", "merged"] * 3
    assert orders[0]["merge"]["r"] == [9, 5]
    rows = {row["peer"]: row for row in json.loads(output.read_text())["rows"]}
    assert rows["unmerged"]["peaks_bytes"] == [2**20, 3 * 2**20, 5 * 2**20]
    assert rows["merged"]["ratio"] == pytest.approx(4 / 3)
    assert (tmp_path / "m.svg").exists()
    html = (tmp_path / "m.html").read_text()
    for said in ('<a href="m.svg">SVG</a>', "<img src=", "Merged needs 133%", "1.33"):
        assert said in html


@pytest.mark.parametrize("width", [60, 80, 140])
def test_tables_fit(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(width=width, highlight=False)
    setting = Setting(20, "bfloat16", 12, 224)
    ratios = {"median": 1.62, "lowest": 1.59, "highest": 1.66}
    rows = [
        SpeedRow(
            name, setting, 606 * 10**9, 10**9, 10**9, (12032.1, 12050.1), ratios, None, 0.2, 0.01
        )
        for name in speed_peers(MergeConfig(r=[600, 200, 100]))
    ]
    print_latency(console, rows, {"bfloat16": Ceilings(1e13, 1e11, 2048, 2**28)})
    print_scaling(console, "bfloat16", [ScalingRow("SDPA", 16384, (9.0,), 2**30, ratios)])
    peaks = {"median_bytes": 2**30, "spread_bytes": [2**30, 2**30], "ratio": 1.01}
    print_memory(console, [{"peer": row.peer, "setting": vars(setting), **peaks} for row in rows])
    text = capsys.readouterr().out
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    assert ("2.0e-01" in text) == (width == 140)  # drift
    assert "1.0e-02" in text  # how far half types are from float32, at any width
    assert "12041.1" in text
    assert "1.62x" in text
