import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import Result
from rich.console import Console
from safetensors.torch import save_file
from support.made_up_result import made_up_result
from support.tiny_umt import spread_weights

from vidtldr.bench.quality_result import spread
from vidtldr.bench.saliency_quality import SaliencyResult, SaliencyRow
from vidtldr.bench.saliency_scores import SCORES
from vidtldr.cli.bench.quality_tables import print_quality
from vidtldr.cli.bench.tables import print_saliency
from vidtldr.shapes.model import ShapesUMT, shapes_config

Run = Callable[..., Result]
FEW = ("--clips", "4", "--seeds", "1", "--device", "cpu")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("weights") / "model.safetensors"
    model = spread_weights(ShapesUMT(shapes_config()), 0)
    save_file({name: value.half() for name, value in model.state_dict().items()}, file)
    return file


def test_quality_measures_prints_writes_and_goes_on_from_its_cache(
    run: Run, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setenv("COLUMNS", "80")
    output = tmp_path / "quality.json"
    command = ["bench", "quality", "--weights", weights, *FEW, "--budgets", "1,0.7"]
    command += ["--first-layers", "1", "--rounds", "0"]
    command += ["--methods", "default, vid-TLDR,fewer frames"]
    command += ["--cache", tmp_path / "cache", "-o", output]
    page = tmp_path / "quality.html"
    first = run(*command, "--plot", tmp_path / "quality.png", "--report", page)
    assert first.exit_code == 1, first.output  # everything is there but the plot
    assert "Run pip install 'vidtldr[plots]'. The rest goes on" in first.stderr
    assert "1 seed of 4 test clips" in " ".join(first.stdout.split())
    assert '<a href="quality.json">JSON</a>' in page.read_text()
    assert "<img" not in page.read_text()
    report = json.loads(output.read_text())
    assert report["weights"]["file"] == str(weights)
    assert report["unmerged"]["measures"]["cosine"]["mean"] == pytest.approx(1.0, abs=1e-6)
    assert [row["method"] for row in report["rows"]] == [
        "default",
        "vid-TLDR",
        "fewer frames",
    ]
    assert [row["layers"] for row in report["rows"]] == [None, [1, 2, 3], None]
    assert 0.65 < report["rows"][1]["flop_ratio"] <= 0.7
    assert report["environment"]["versions"]["torch"] == torch.__version__
    assert (report["dtype"], report["num_jobs"]) == ("float32", 1)
    assert report["options"]["questions"] == "hard"
    assert set(report["rows"][1]["change"]["r1"]) == {"mean", "standard_error"}
    kept = (tmp_path / "cache" / "quality.jsonl").read_bytes()
    again = run(*command, "--json")
    assert again.exit_code == 0
    assert json.loads(again.stdout)["rows"] == report["rows"]
    assert (tmp_path / "cache" / "quality.jsonl").read_bytes() == kept


@pytest.mark.slow
def test_quality_that_was_killed_goes_on_where_it_was(
    run: Run, weights: Path, tmp_path: Path
) -> None:
    cache, output = tmp_path / "cache", tmp_path / "quality.json"
    command = ["bench", "quality", "--weights", weights, "--device", "cpu", "--clips", "4"]
    command += ["--seeds", "0,1,2,3,4,5,6,7,8,9", "--budgets", "0.7", "--methods", "fewer frames"]
    command += ["--cache", cache, "-o", output]
    kept = cache / "quality.jsonl"
    typed = [sys.executable, "-m", "vidtldr", *map(str, command), "--jobs", "2"]
    killed = subprocess.Popen(typed, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while killed.poll() is None and not (kept.exists() and kept.read_bytes().count(b"\n")):
        time.sleep(0.01)
    killed.kill()
    assert killed.wait() == -signal.SIGKILL  # before it was done
    before = kept.read_bytes()
    before = before[: before.rfind(b"\n") + 1]
    assert 0 < before.count(b"\n") < 20
    done = run(*command)
    assert done.exit_code == 0, done.output
    assert kept.read_bytes().startswith(before)
    lines = kept.read_bytes().splitlines()
    assert len(lines) == 20  # two settings of each seed: none was measured again
    report = json.loads(output.read_text())
    seconds = sum(sum(json.loads(line)["value"]["seconds"].values()) for line in lines)
    assert report["seconds"] == pytest.approx(seconds)


def test_saliency_of_two_files(run: Run, weights: Path, tmp_path: Path) -> None:
    encoder = ShapesUMT(shapes_config()).vision_encoder.state_dict()
    pretraining = tmp_path / "pretraining.pt"
    torch.save({"module": {f"encoder.{name}": v for name, v in encoder.items()}}, pretraining)
    output = tmp_path / "saliency.json"
    command = ["bench", "saliency", "--weights", weights, "--weights", pretraining, *FEW]
    page, plot = tmp_path / "saliency.html", tmp_path / "saliency.png"
    done = run(*command, "-o", output, "--plot", plot, "--report", page)
    assert done.exit_code == 0, done.output
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert page.read_text().count("precision of minus it") == 2
    assert done.stdout.count("precision of minus it") == 2
    report = json.loads(output.read_text())
    assert [model["weights"]["file"] for model in report["models"]] == [
        str(weights),
        str(pretraining),
    ]
    assert all(len(model["rows"]) == 6 * len(SCORES) for model in report["models"])
    assert report["options"] == {"num_clips": 4, "seeds": [1], "split": "test"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--budgets", "1.1,0.5"], "--budgets must be numbers in (0, 1], comma-sep"),
        (["--budgets", "half"], "--budgets must be numbers in (0, 1], comma-sep"),
        (["--seeds", "1,1"], "--seeds must be different numbers in [0, 2147483647], got '1,1'."),
        (["--seeds", "-1"], "--seeds must be different numbers in [0, 2147483647], got '-1'."),
        (["--first-layers", "one"], "--first-layers must be comma-separated integers"),
        (["--weights", "nowhere.pt"], "weights must be an existing file, got 'nowhere.pt'"),
        (["-o", "/no/where.json"], "--output must be in an existing, writable directory"),
        (["--plot", "/no/where.png"], "--plot must be in an existing, writable directory"),
        (["--report", "/no/where.html"], "--report must be in an existing, writable directory"),
    ],
)
def test_usage_errors(run: Run, arguments: list[str], message: str) -> None:
    done = run("bench", "quality", *arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stdout == ""


def test_layers_that_are_not_there_are_refused(run: Run, weights: Path) -> None:
    done = run("bench", "quality", "--weights", weights, *FEW, "--first-layers", "4")
    assert done.exit_code == 2
    why = "(the first of 3 of the model's 6 layers)"
    assert f"--first-layers must be in [0, 3] {why}, got 4. They count from 0." in done.stderr


@pytest.mark.parametrize("width", [80, 120])
def test_tables_fit(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(width=width, highlight=False)
    print_quality(console, made_up_result())
    figure = spread([0.51, 0.49, 0.53])
    rows = (SaliencyRow(layer, name, *[figure] * 4) for layer in range(6) for name in SCORES)
    print_saliency(console, "bundled", SaliencyResult(tuple(rows), spread([0.09]), 600))
    text = capsys.readouterr().out
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    lines = [line.split() for line in text.splitlines()]
    shown = ["-2.0", "±0.4*", "-5.0", "±0.4*"] if width == 120 else ["-2.0*", "-5.0*"]
    assert ["vid-TLDR", "0-2", *shown] in lines
    assert any(line[:3] == ["random", "dropping", "2-4"] and line[-1] == "-" for line in lines)
    assert "fewer frames can only cost these FLOP ratios: 0.69 0.55" in text
    assert "representation-shift" in text
