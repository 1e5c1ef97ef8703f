"""No number makes a command work for years: each has a bound, or its cost follows data."""

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
from click.testing import Result
from support.outcomes import one_error_line
from typer.models import OptionInfo

from vidtldr.bench.subject import build_subject
from vidtldr.cli.main import app
from vidtldr.tasks.config_sizes import MAX_TOKENS

Run = Callable[..., Result]
BILLION = 1_000_000_000
#: Numbers without a bound of their own, and what bounds them.
BY_DATA = {
    "top": "the answers or videos that there are",
    "rerank": "the candidates that there are",
    "stride": "the frames of the video",
    "layer": "the layers that merge",
    "num_tokens": "the tokens of the model",
    "flop_ratio": "1",
    "protect": "100",
    "spare_norms": "the largest norm that there is",
    "speedup": "what can be reached",
    "time_limit": "the video",
}


def options() -> Iterator[tuple[tuple[str, ...], str, Any]]:
    """Each numeric option: its command, its name and what typer knows of it."""
    apps: list[tuple[tuple[str, ...], typer.Typer]] = [((), app)]
    apps += [((str(group.name),), group.typer_instance) for group in app.registered_groups]
    for group, each in apps:
        for command in each.registered_commands:
            name = (*group, command.name or command.callback.__name__)
            for parameter in inspect.signature(command.callback).parameters.values():
                kind, *about = get_args(parameter.annotation)
                if {int, float} & {kind, *get_args(kind)}:
                    [info] = [info for info in about if isinstance(info, OptionInfo)]
                    yield name, parameter.name, info


BOUNDED = [
    pytest.param(command, name, info, id=f"{' '.join(command)} {name}")
    for command, name, info in options()
    if name not in BY_DATA
]


def test_every_number_that_no_data_bounds_is_looked_at() -> None:
    assert {name for _, name, _ in options()} >= set(BY_DATA)
    names = {name for command, name, _ in options() if command == ("bench", "paths")}
    assert names == {"heads", "channels", "batch", "threads", "rounds"}


@pytest.mark.parametrize(("command", "name", "info"), BOUNDED)
def test_a_number_out_of_bounds_is_refused_before_anything_is_loaded(
    run: Run, command: tuple[str, ...], name: str, info: OptionInfo
) -> None:
    flag = f"--{name.replace('_', '-')}"
    typed = info.max + 1 if name in ("seed", "start") else BILLION
    line = one_error_line(run(*command, flag, typed))
    most = float(info.max) if isinstance(info.min, float) else info.max
    assert line == f"error: {flag} must be at most {most}, got {typed}. Lower it.\n"


@pytest.mark.parametrize("command", ["latency", "memory"])
@pytest.mark.parametrize("flag", ["--batches", "--frames", "--sizes"])
def test_so_is_a_number_in_a_list(run: Run, command: str, flag: str) -> None:
    line = one_error_line(run("bench", command, flag, f"2,{10 * BILLION}"))
    assert line.startswith(f"error: {flag} must be integers of at most ")
    assert line.endswith(f", got {10 * BILLION}. Lower it.\n")


@pytest.mark.parametrize("typed", [("latency", "--scaling"), ("paths", "--tokens")])
def test_so_is_a_number_of_tokens(run: Run, typed: tuple[str, str]) -> None:
    line = one_error_line(run("bench", *typed, f"197,{BILLION}"))
    assert f"{typed[1]} must be integers of at most 262144, got {BILLION}. Lower it." in line


def test_frames_and_sizes_are_bounded_together(run: Run) -> None:
    line = one_error_line(run("bench", "memory", "--model", "videomae-b", "--frames", "16384"))
    assert "--frames and --sizes must make at most 65536 tokens for videomae-b, got 1605632" in line
    with pytest.raises(ValueError, match=f"at most {MAX_TOKENS} tokens for vit-b, got 1048576"):
        build_subject("vit-b", image_size=16384)


def test_seeds_have_an_upper_bound(run: Run) -> None:
    for command in ("quality", "saliency"):
        line = one_error_line(run("bench", command, "--seeds", f"0,{2**31}"))
        assert "--seeds must be different numbers in [0, 2147483647], got '0,2147483648'." in line


def test_memory_without_end_is_refused(run: Run, video: str, tmp_path: Path) -> None:
    add = ("index", "add", video, "--index", tmp_path / "my.index", "--worker-memory")
    line = one_error_line(run(*add, "inf"))
    assert line == "error: --worker-memory must be at most 1048576.0, got inf. Lower it.\n"
