import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import Result
from rich.console import Console
from support.outcomes import one_error_line
from support.umt_files import UMTFiles, write_wide_umt

from vidtldr.bench.resident import MemoryRow, peak_in_fresh_process
from vidtldr.bench.roofline import Ceilings
from vidtldr.bench.scaling import SIDES, ScalingRow
from vidtldr.bench.speed import Setting, SpeedRow
from vidtldr.bench.speed_variants import speed_variants
from vidtldr.bench.subject import BUILT_IN
from vidtldr.cli.bench.options import BUILT_IN_NAMES
from vidtldr.cli.bench.speed import CHILD
from vidtldr.cli.bench.subject import SubjectName, load_subject, measure_peak
from vidtldr.cli.bench.tables import print_latency, print_memory, print_scaling
from vidtldr.config import MergeConfig
from vidtldr.ops.processor import bfloat16_is_native

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
    command += ["--baselines", "merged;ToMe", "--scaling", "32,64", "--no-roofline"]
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
    command += [
        "--frames",
        "2,3",
        "--rounds",
        "1",
        "--baselines",
        "merged",
        "--no-roofline",
        "--json",
    ]
    done = run(*command, "--device", "cpu", "--flop-ratio", "0.9")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert [row["setting"]["num_frames"] for row in report["rows"]] == [2, 2, 3, 3]
    merged = [schedule["merge"] for schedule in report["schedules"]]
    assert all(sum(merge["r"]) > 0 and "flop_ratio" not in merge for merge in merged)
    assert merged[0]["r"] != merged[1]["r"]  # of each size its own, once for all variants


@pytest.mark.parametrize(("num_layers", "r"), [(12, (600, 200, 100)), (24, (550, 400))])
def test_a_checkpoint_merges_as_the_paper_does_in_a_model_of_its_depth(
    num_layers: int, r: tuple[int, ...], tmp_path: Path
) -> None:
    umt = write_wide_umt(tmp_path, num_layers)
    name = SubjectName(f"umt:{umt.retrieval}", str(umt.arch), None, None, "cpu")
    assert load_subject(name).r == r


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--batches", "0"], "--batches must be integers of at least 1, got '0'."),
        (["--batches", "one"], "integers, got 'one'. Write --batches 1,2."),
        (["--dtypes", "int8"], "--dtypes must be among float32, bfloat16, float16"),
        (["-o", "/no/where.json"], "--output must be in an existing, writable directory"),
        (["--plot", "/no/where.png"], "--plot must be in an existing, writable directory"),
        (["--report", "/no/where.html"], "--report must be in an existing, writable directory"),
        (["--dtypes", "float16", "--device", "cpu"], "dtype must be float32 or bfloat16 on a CPU"),
        (["--model", "videomae-b", "--sizes", "100"], "must be multiples of 16 for videomae-b"),
        (["--model", "videomae-b", "--frames", "3"], "must be multiples of 2 for videomae-b"),
        (["--model", "./nowhere", "--device", "cpu"], "got './nowhere'"),
    ],
)
@pytest.mark.parametrize("command", ["latency", "memory"])
def test_usage_errors(run: Run, command: str, arguments: list[str], message: str) -> None:
    done = run("bench", command, *arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stdout == ""


def test_without_merging_everything_is_written_all_the_same(
    run: Run, model: str, tmp_path: Path
) -> None:
    command = ["bench", "latency", "--model", model, "--device", "cpu", "--rounds", "1"]
    done = run(*command, "--baselines", "ToMe", "--no-roofline", "-o", tmp_path / "latency.json")
    assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "latency.json").read_text())
    assert [row["peer"] for row in report["rows"]] == ["unmerged", "ToMe"]


@pytest.mark.parametrize("typed", ["1024,-5", "0"])
def test_numbers_of_tokens_are_checked_before_anything_is_measured(run: Run, typed: str) -> None:
    line = one_error_line(run("bench", "latency", "--scaling", typed))
    assert f"--scaling must be integers of at least 1, got {typed!r}" in line


def test_outputs_that_are_no_numbers_are_one_line(
    run: Run, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise FloatingPointError("the outputs of 'merged' must be finite, got NaN. Use float32.")

    monkeypatch.setattr("vidtldr.cli.bench.speed.measure_setting", fails)
    line = one_error_line(run("bench", "latency", "--model", model, "--device", "cpu"))
    assert "outputs of 'merged' must be finite" in line


HUGE_BATCH = 2**31 - 1  # clips of so many numbers are more than a process can address


def test_what_there_is_no_room_for_is_named_and_the_rest_is_measured(
    run: Run, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vidtldr.cli.bench.command.MAX_ATTENTION_TOKENS", HUGE_BATCH)
    output, page = tmp_path / "latency.json", tmp_path / "latency.html"
    command = ["bench", "latency", "--model", model, "--device", "cpu", "--rounds", "1"]
    command += ["--baselines", "merged", "--no-roofline", "--batches", f"{HUGE_BATCH},1"]
    command += ["--scaling", f"{HUGE_BATCH},32"]
    done = run(*command, "-o", output, "--report", page)
    assert done.exit_code == 1, done.output
    first, second = (
        f"batch {HUGE_BATCH}, float32, 6 x 32²",
        f"attention of {HUGE_BATCH} tokens, float32",
    )
    for what in (first, second):
        assert f"not measured: {what}: the device has too little memory for it (" in done.stderr
    assert "leave out what is too large" in done.stderr
    report = json.loads(output.read_text())
    assert [row["setting"]["batch"] for row in report["rows"]] == [1, 1]
    assert {row["num_tokens"] for row in report["scaling"]["float32"]} == {32}
    assert [each["what"] for each in report["not_measured"]] == [first, second]
    assert "too little memory" in page.read_text()


def test_without_room_for_anything_there_is_one_line(run: Run, model: str) -> None:
    command = ("bench", "latency", "--model", model, "--device", "cpu", "--no-roofline")
    line = one_error_line(run(*command, "--batches", str(HUGE_BATCH)))
    assert f"batch {HUGE_BATCH}, float32" in line
    assert "too little memory" in line


@needs_proc
@pytest.mark.slow
def test_peaks_of_what_there_is_room_for_are_written(run: Run, model: str, tmp_path: Path) -> None:
    output = tmp_path / "memory.json"
    command = ["bench", "memory", "--model", model, "--device", "cpu", "--rounds", "1"]
    done = run(*command, "--baselines", "merged", "--batches", f"{HUGE_BATCH},1", "-o", output)
    assert done.exit_code == 1, done.output
    first = f"batch {HUGE_BATCH}, float32, 6 x 32², unmerged"
    assert f"not measured: {first}: the process" in done.stderr
    assert [row["setting"]["batch"] for row in json.loads(output.read_text())["rows"]] == [1, 1]


@pytest.mark.parametrize("debug", [[], ["--debug"]])
def test_a_variant_whose_process_is_killed_loses_no_other_peaks(
    debug: list[str], run: Run, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []

    def peak(_: object, given: str) -> int:
        started.append(json.loads(given)["peer"])
        if started[-1] == "ToMe":
            raise ChildProcessError("the process that was measured was killed by signal 9.")
        return 2**20

    monkeypatch.setattr("vidtldr.cli.bench.speed.peak_in_fresh_process", peak)
    command = ["bench", "memory", "--model", model, "--device", "cpu", "--baselines", "ToMe;merged"]
    done = run(*command, "-o", tmp_path / "memory.json", *debug)
    if debug:
        assert isinstance(done.exception, ChildProcessError)
        return
    assert done.exit_code == 1
    assert "6 x 32², ToMe: the process that was measured was killed" in done.stderr
    assert started.count("ToMe") == 1
    rows = json.loads((tmp_path / "memory.json").read_text())["rows"]
    assert [row["peer"] for row in rows] == ["unmerged", "merged"]
    assert all(len(row["peaks_bytes"]) == 3 for row in rows)


def test_without_a_ceiling_the_rest_is_written(
    run: Run, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ceilings(*_: object) -> None:
        torch.empty(2**50)

    monkeypatch.setattr("vidtldr.cli.bench.speed.measure_ceilings", ceilings)
    command = ["bench", "latency", "--model", model, "--device", "cpu", "--rounds", "1"]
    done = run(*command, "--baselines", "merged", "-o", tmp_path / "latency.json")
    assert done.exit_code == 1, done.output
    assert "not measured: what the device can do in float32: the device has too" in done.stderr
    assert len(json.loads((tmp_path / "latency.json").read_text())["rows"]) == 2


def test_every_size_is_checked_before_the_first_is_timed(
    run: Run, umt: UMTFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("a setting was timed")

    monkeypatch.setattr("vidtldr.cli.bench.speed.measure_setting", never)
    flags = ("--model", f"umt:{umt.retrieval}", "--arch", umt.arch, "--r", "20")
    done = run("bench", "latency", "--device", "cpu", *flags, "--frames", "3,1")
    assert done.exit_code == 2, done.output
    assert "error: --r[0] must be in [0, 8]" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sizes", "64"], "--sizes must be left out for weights that are loaded, got 64"),
        (["--frames", "4"], "--frames must be left out for a video model, got 4"),
        (["--baselines", "fast"], "baselines must be among unmerged; unmerged, eager; "),
    ],
)
def test_what_a_loaded_model_cannot_do(
    run: Run, model: str, arguments: list[str], message: str
) -> None:
    done = run("bench", "latency", "--model", model, "--device", "cpu", *arguments)
    assert done.exit_code == 2
    assert message in done.stderr


@needs_proc
@pytest.mark.parametrize("variant", ["unmerged", "materialised"])
def test_the_process_of_one_variant_measures_it(model: str, variant: str) -> None:
    subject = {"model": model, "arch": None, "num_frames": None, "image_size": None}
    order = {"subject": subject | {"device": "cpu"}, "merge": {"r": [9, 5]}, "peer": variant}
    # So many clips that what this process has free already does not hold their tokens.
    order |= {"batch": 1024, "dtype": "float32", "num_threads": None}
    assert measure_peak(order) > 1024 * 48 * 48 * 4


def test_the_process_runs_no_file_of_the_directory_that_it_is_started_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('a stray file was run')")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ChildProcessError, match="ended with an error: KeyError: 'num_threads'"):
        peak_in_fresh_process(CHILD, "{}")


def test_a_process_that_is_killed_is_said_to_be_whatever_it_printed() -> None:
    code = (
        "import os, sys; print('a warning', file=sys.stderr, flush=True); os.kill(os.getpid(), 9)"
    )
    with pytest.raises(ChildProcessError, match="was killed by signal 9, perhaps for want of mem"):
        peak_in_fresh_process(("-c", code))


def test_a_process_that_fails_is_one_line(
    run: Run, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vidtldr.cli.bench.speed.CHILD", ("-c", "raise MemoryError('no room')"))
    line = one_error_line(run("bench", "memory", "--model", model, "--device", "cpu"))
    assert "the process that was measured ended with an error: MemoryError: no room" in line


def test_mistakes_are_found_before_the_first_process(
    run: Run, model: str, umt: UMTFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> int:
        raise AssertionError("a process was started")

    monkeypatch.setattr("vidtldr.cli.bench.speed.peak_in_fresh_process", never)
    memory = ("bench", "memory", "--device", "cpu")
    line = one_error_line(run(*memory, "--model", model, "--dtypes", "float32,float16"))
    assert "dtype must be float32 or bfloat16 on a CPU" in line
    # Of the 48 tokens of three frames so many merge, of the 16 of one they do not.
    flags = ("--model", f"umt:{umt.retrieval}", "--arch", umt.arch, "--r", "20")
    done = run(*memory, *flags, "--frames", "3,1")
    assert done.exit_code == 2, done.output
    assert "error: --r[0] must be in [0, 8]" in done.stderr


@pytest.mark.usefixtures("one_thread")
def test_memory_takes_the_median_of_fresh_processes(
    run: Run, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders: list[dict[str, object]] = []

    def peak(_: object, given: str) -> int:
        orders.append(json.loads(given))
        return len(orders) * 2**20

    monkeypatch.setattr("vidtldr.cli.bench.speed.peak_in_fresh_process", peak)
    output = tmp_path / "memory.json"
    command = ["bench", "memory", "--model", model, "--device", "cpu", "--r", "9,5"]
    command += [
        "--baselines",
        "merged",
        "--threads",
        "2",
        "-o",
        output,
        "--plot",
        tmp_path / "m.png",
    ]
    command += ["--report", tmp_path / "m.html"]
    done = run(*command)
    assert done.exit_code == 0, done.output
    assert [order["peer"] for order in orders] == ["unmerged", "merged"] * 3
    assert orders[0]["merge"]["r"] == [9, 5]
    report = json.loads(output.read_text())
    assert report["environment"]["num_threads"] == 2  # as the processes have it
    assert report["schedules"] == [{"input_shape": [6, 3, 32, 32], "merge": orders[0]["merge"]}]
    rows = {row["peer"]: row for row in report["rows"]}
    assert rows["unmerged"]["peaks_bytes"] == [2**20, 3 * 2**20, 5 * 2**20]
    assert rows["merged"]["ratio"] == pytest.approx(4 / 3)
    assert rows["merged"]["over_unmerged"]["highest"] == 2
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
        for name in speed_variants(MergeConfig(r=[600, 200, 100]))
    ]
    print_latency(console, rows, {"bfloat16": Ceilings(1e13, 1e11, 2048, 2**28)})
    curve = [ScalingRow(side, 16384, (12345.6,), 2**32, ratios) for side in SIDES]
    curve += [ScalingRow(side, 64, (0.1234,), 2**20, ratios) for side in SIDES]
    print_scaling(console, "bfloat16", curve)
    print_memory(console, [MemoryRow(row.variant, setting, (2**30,), (2**30,)) for row in rows])
    text = capsys.readouterr().out
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    assert ("2.0e-01" in text) == (width == 140)  # drift
    assert "1.0e-02" in text  # how far half types are from float32, at any width
    assert "12041.1" in text
    assert "0.123 (1)" in text
    assert text.count("12346 (4096)") == len(SIDES)
    assert "1.62x" in text


def test_the_names_that_options_list_are_those_that_can_be_built() -> None:
    assert tuple(BUILT_IN) == BUILT_IN_NAMES
