"""Values and names as people type them."""

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from support.outcomes import one_error_line

import vidtldr
from vidtldr.cli.bench.method_options import parse_budgets
from vidtldr.cli.merge_options import MergeOptions
from vidtldr.cli.tune.command import parse_target
from vidtldr.cli.typed_values import parse_counts, parse_number, parse_shares
from vidtldr.config import MergeConfig
from vidtldr.tasks.model_spec import canonical_dtype, validate_device

Run = Callable[..., Result]


def test_a_value_with_one_meaning_is_taken(run: Run) -> None:
    assert parse_counts("--r", "[50, 30]") == parse_counts("--r", "(50,30)") == [50, 30]
    assert parse_shares("[25%, 0.1]") == [0.25, 0.1]
    assert parse_number(" 60%", "%") == 0.6
    assert parse_number("1.5x", "x") == 1.5
    assert parse_budgets("1,80%") == (0.8,)
    assert parse_target("flop-ratio=60%").value == parse_target("flop-ratio=0.6").value
    assert parse_target("speedup=1.8x").value == 1.8
    assert MergeOptions(r="[5,3]").parse(None) == MergeConfig(r=[5, 3])
    assert validate_device("CPU") == "cpu"
    names = ("bf16", "BF16", "bfloat16", "torch.bfloat16")
    assert {canonical_dtype(name) for name in names} == {"bfloat16"}
    assert run("-V").stdout == run("--version").stdout
    assert run("-V").stdout.startswith(f"vidtldr {vidtldr.__version__}\n")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--flop-ratio abc", "--flop-ratio must be a number, got 'abc'. Write --flop-ratio 0.6."),
        ("--flop-ratio 60", "--flop-ratio must be in (0, 1]"),
        ("--speedup fast", "--speedup must be a number, got 'fast'. Write --speedup 1.5."),
        ("--num-tokens 1,000", "--num-tokens must be an integer, got '1,000'. Write digits alone."),
        ("--time-limit long", "--time-limit must be a length above 0, got 'long'. Write 10s or"),
        ("--time-limit 0", "--time-limit must be a length above 0, got '0'."),
        ("--top 0", "--top must be at least 1, got 0. Raise it."),
        ("--sampling fast", "--sampling must be one of middle, dense, got 'fast'. Choose one"),
        ("--device tpu", "--device must be auto, cpu, cuda, cuda:0 or mps, got 'tpu'."),
        ("--dtype BF17", "--dtype must be one of auto, float32, bfloat16, float16,"),
        ("--r [5;3]", "--r must be comma-separated integers, got '[5;3]'"),
    ],
)
def test_any_other_value_is_one_line_in_plain_words(
    run: Run, video: str, options: str, message: str
) -> None:
    line = one_error_line(run("classify", video, *options.split()))
    assert message in line
    assert "Input should be" not in line


def test_limits_on_both_sides(run: Run, tmp_path: Path) -> None:
    line = one_error_line(run("shapes", "export", tmp_path / "new", "--num", 10**6))
    assert "--num must be at most 10000, got 1000000. Lower it." in line


@pytest.mark.parametrize("name", ["-8xk.mp4", "--long name.mp4", "-output.mp4", "-x.mp4"])
@pytest.mark.parametrize("command", [["classify"], ["embed", "-o", "x.parquet"], ["index", "add"]])
def test_a_file_that_begins_with_a_dash(
    run: Run,
    video: str,
    command: list[str],
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(video, name)
    line = one_error_line(run(*command, "other.mp4", name))
    assert f"{name!r}: a file whose first letter makes it look like an option. Write ./" in line


def test_a_dash_is_the_standard_input_also_beside_a_file_of_that_name(
    run: Run, video: str, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("-").touch()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(video.encode())))
    assert "look like an option" not in run("classify", "-", "--model", model).output


@pytest.mark.parametrize(
    ("options", "partner"),
    [(("--rounds", "3"), "--compare"), (("--stride", "7"), "--sampling dense")],
)
def test_an_option_without_the_one_it_belongs_to_is_refused(
    run: Run, video: str, options: tuple[str, ...], partner: str
) -> None:
    line = one_error_line(run("classify", video, *options))
    assert f"{options[0]} must come with {partner}, got {options[1]} alone" in line


def test_dashed_files_behind_two_dashes_are_videos(
    run: Run, video: str, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(video, "-8xk.mp4")
    for arguments in (("./-8xk.mp4", "--model", model), ("--model", model, "--", "-8xk.mp4")):
        result = run("classify", *arguments)
        assert result.exit_code == 0, result.output
