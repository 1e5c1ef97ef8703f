import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from vidtldr.bench import attention_paths
from vidtldr.bench.attention_paths import PathTimes, measure_paths
from vidtldr.cli.bench.run import _print_paths
from vidtldr.cli.main import app
from vidtldr.measure.busyness import IDLE
from vidtldr.measure.timing import Timing, paired_ratios
from vidtldr.ops.attention.paths import choose_path

SMALL = ("--tokens", "9,20", "--heads", "2", "--channels", "8", "--rounds", "2")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["bench", "paths", *arguments])


def times_of(chosen: str, **times: tuple[float, ...]) -> PathTimes:
    over = {way: paired_ratios(Timing(each), Timing(times["SDPA"])) for way, each in times.items()}
    del over["SDPA"]
    return PathTimes("float32", 197, True, chosen, times, over, IDLE)  # type: ignore[arg-type]


def test_every_path_is_measured_and_the_chosen_one_marked(tmp_path: Path) -> None:
    file = tmp_path / "paths.json"
    result = run(*SMALL, "-o", str(file))
    assert result.exit_code == 0, result.output
    assert "float32, 9 tokens" in result.stdout
    assert "bfloat16, 20 tokens, sharpness" in result.stdout
    report = json.loads(file.read_text())
    assert len(report["rows"]) == 8
    for row in report["rows"]:
        q = torch.zeros(1, 2, row["num_tokens"], 8, dtype=getattr(torch, row["dtype"]))
        assert row["chosen"] == choose_path(q, is_scored=row["is_scored"])
        assert {"SDPA", "blocked", row["chosen"]} <= set(row["times_ms"])
        assert all(len(times) == 2 for times in row["times_ms"].values())
    assert report["setting"] == {"num_heads": 2, "channels": 8, "batch": 1}


def test_json_alone_is_one_line() -> None:
    result = run(*SMALL, "--dtypes", "float32", "--json")
    assert [row["dtype"] for row in json.loads(result.stdout)["rows"]] == ["float32"] * 4


def test_a_path_that_is_clearly_faster_than_the_chosen_one_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from rich.console import Console

    wrong = times_of("blocked", SDPA=(10, 10), blocked=(20, 22), native=(10, 11))
    assert wrong.faster == {"native": 2.0}
    near = times_of("blocked", SDPA=(10, 10), blocked=(10, 11), native=(10, 10))
    noisy = times_of("blocked", SDPA=(10, 10), blocked=(20, 9), native=(10, 10))
    assert near.faster == noisy.faster == {}
    _print_paths(Console(width=100), [wrong, near])
    assert "sharpness: native is 2.00 times as fast as blocked" in capsys.readouterr().out
    _print_paths(Console(width=100), [near])
    assert "the chosen path is the fastest everywhere" in capsys.readouterr().out


def test_paths_with_other_values_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(q: torch.Tensor, *_: object) -> tuple[torch.Tensor, None]:
        return q * 0, None

    monkeypatch.setitem(attention_paths.ATTENTIONS, "blocked", wrong)
    measured = measure_paths(
        dtypes=[torch.float32],
        tokens=[9],
        num_heads=2,
        channels=8,
        batch=1,
        device=torch.device("cpu"),
        num_rounds=1,
    )
    with pytest.raises(FloatingPointError, match=r"'blocked' must be that by .* got 1"):
        list(measured)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--tokens", "0"), "--tokens must be integers of at least 1, got '0'"),
        (("--dtypes", "int8"), "--dtypes must be among float32, bfloat16, float16"),
        (("--device", "abacus"), "got 'abacus'"),
        (("-o", "nowhere/paths.json"), "--output must be in an existing"),
    ],
)
def test_what_cannot_be_measured_is_said(arguments: tuple[str, ...], said: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())
