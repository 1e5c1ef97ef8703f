"""`--schedule` of every command: a file, a directory or a model on the hub."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from support.local_hub import LocalHub, in_reach
from support.outcomes import one_error_line, rows
from typer.main import get_command

from vidtldr.cli.main import app
from vidtldr.config import MergeConfig

Run = Callable[..., Result]
pytestmark = pytest.mark.usefixtures("one_thread")
#: What each command needs beside the schedule; no file of it is ever opened.
COMMANDS = {
    "classify": "a.mp4",
    "embed": "a.mp4 -o a.parquet",
    "search": "text a.mp4",
    "ask": "a.mp4 why",
    "show": "a.mp4",
    "export": "model -o a.onnx --format onnx",
    "index add": "a.mp4 --index new",
    "bench latency": "",
    "bench memory": "",
    "evaluate retrieval": "--annotations a.json --videos . --protocol msvd",
    "evaluate answering": "--annotations a.json --videos . --answers b.json",
    "evaluate multiple-choice": "--annotations a.json --videos .",
    "evaluate classification": "--annotations a.json --videos .",
}


def with_schedule() -> set[str]:
    """Every command that has the option."""
    found = set()

    def walk(command: object, names: tuple[str, ...]) -> None:
        for name, each in getattr(command, "commands", {}).items():
            walk(each, (*names, name))
        if any("--schedule" in each.opts for each in getattr(command, "params", [])):
            found.add(" ".join(names))

    walk(get_command(app), ())
    return found


def test_the_commands_below_are_all_that_have_it() -> None:
    assert set(COMMANDS) == with_schedule()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_reads_a_directory_before_anything_else(
    run: Run, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.mp4").touch()
    Path("chosen").mkdir()
    typed = [*command.split(), *COMMANDS[command].split(), "--schedule", "chosen"]
    assert "--schedule must be a directory with a merge_config.json, got" in one_error_line(
        run(*typed)
    )
    Path("chosen/merge_config.json").write_text('{"r": [2, "x"]}')
    line = one_error_line(run(*typed))
    assert "--schedule must have a schedule in 'chosen/merge_config.json': r[1] must be" in line


def test_a_model_that_has_one_is_not_merged_by_it_unless_asked(
    run: Run, model: str, video: str, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for file in Path(model).iterdir():
        (folder / file.name).symlink_to(file)
    MergeConfig(r=[9, 5]).save_pretrained(folder)
    classify = ("classify", video, "--model", folder, "--json")
    plain = run(*classify)
    assert rows(plain)[0]["num_tokens"] == [48, 48, 48, 48]
    assert f"--schedule {folder} would merge by its merge_config.json" in plain.stderr
    merged = run(*classify, "--schedule", folder)
    assert rows(merged)[0]["num_tokens"] == [39, 34, 34, 34]
    assert "note: nothing" not in merged.stderr


def test_bench_takes_a_saved_schedule(run: Run, model: str, tmp_path: Path) -> None:
    MergeConfig(r=[9, 5], metric="keys").save_pretrained(tmp_path)
    done = run(
        *("bench", "latency", "--model", model, "--schedule", tmp_path, "--rounds", 1),
        *("--dtypes", "float32", "--batches", 1, "--json"),
    )
    [report] = rows(done)
    [shown] = report["schedules"]
    assert (shown["merge"]["r"], shown["merge"]["metric"]) == ([9, 5], "keys")


@pytest.mark.slow
def test_a_model_on_the_hub_is_asked_for_its_schedule(
    model: str, video: str, tmp_path: Path
) -> None:
    import subprocess
    import sys

    content = json.dumps({"r": [9, 5]}).encode()
    classify = ["classify", video, "--model", model, "--json", "--schedule", "owner/name"]
    command = [sys.executable, "-m", "vidtldr", *classify]
    with LocalHub({"owner/name/merge_config.json": content}) as hub:
        environment = in_reach(hub.endpoint, tmp_path)
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["num_tokens"] == [39, 34, 34, 34]
    with LocalHub() as hub:
        environment = in_reach(hub.endpoint, tmp_path / "elsewhere")
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: --schedule 'owner/name' is neither a directory here nor")
