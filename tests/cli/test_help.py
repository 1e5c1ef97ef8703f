import os
import re
import subprocess
import sys
from collections.abc import Callable

import pytest
from click.testing import Result

import vidtldr

SUBCOMMANDS = [
    ["classify"],
    ["show"],
    ["search"],
    ["ask"],
    ["embed"],
    ["index", "add"],
    ["convert"],
    ["tune"],
    ["evaluate"],
    ["evaluate", "retrieval"],
    ["evaluate", "answering"],
    ["evaluate", "multiple-choice"],
    ["shapes"],
    ["shapes", "export"],
    ["demo"],
    ["bench"],
    ["bench", "quality"],
    ["bench", "saliency"],
    ["bench", "latency"],
    ["bench", "memory"],
    ["index"],
    ["index", "status"],
    ["index", "verify"],
    ["index", "prune"],
    ["index", "export"],
]
WITHOUT_MODEL = ("convert", "shapes", "demo", "bench", "status", "verify", "prune", "export")
GROUPS = (["evaluate"], ["shapes"], ["bench"], ["index"])
CODE = """
import sys
from vidtldr.cli.main import main
for arguments in sys.argv[1:]:
    sys.argv = ["vidtldr", *arguments.split()]
    try:
        main()
    except SystemExit as end:
        assert not end.code
names = ("torch", "transformers", "av", "numpy", "PIL", "jinja2", "pyarrow")
heavy = [name for name in names if name in sys.modules]
assert not heavy, heavy
"""


def test_help_and_version_import_nothing_heavy() -> None:
    helps = [f"{' '.join(names)} --help" for names in SUBCOMMANDS]
    command = [sys.executable, "-c", CODE, "--help", "--version", *helps]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.count("Usage:") == 1 + len(helps)


@pytest.mark.parametrize("names", SUBCOMMANDS, ids=" ".join)
def test_every_subcommand_explains_itself(
    run: Callable[..., Result], names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    text = run(*names, "--help").stdout
    assert "Exit codes:" in text or names[0] == "evaluate" or names in GROUPS
    if names[0] not in ("demo", "bench") or names in GROUPS:
        assert run(*names).exit_code == 2  # those have a default for everything
    if names[-1] not in WITHOUT_MODEL and names[0] not in WITHOUT_MODEL and names not in GROUPS:
        for option in ("--model", "--arch", "--tokenizer", "--frames", "--json"):
            assert option in text
        for option in ("--preset", "--flop-ratio", "--num-tokens", "--merge-layers", "--schedule"):
            assert option in text or names == ["tune"]  # which finds out what to merge
    assert not re.search(r"default: \(", text)


@pytest.mark.parametrize("columns", ["80", "120"])
@pytest.mark.parametrize(
    "names", [each for each in SUBCOMMANDS if each not in GROUPS], ids=" ".join
)
def test_nothing_is_cut_off(
    run: Callable[..., Result], names: list[str], columns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    text = run(*names, "--help").stdout
    assert "…" not in text
    assert "representation-shift" in text or {names[0], names[-1]} & {*WITHOUT_MODEL, "tune"}


def test_the_root_lists_them_all(run: Callable[..., Result]) -> None:
    text = run("--help").stdout
    assert all(names[0] in text for names in SUBCOMMANDS)
    assert vidtldr.__version__ in run("--version").stdout
    assert run("clasify", "x").exit_code == 2


def test_usage_errors_are_found_without_torch(tmp_path: os.PathLike[str]) -> None:
    code = CODE.replace("assert not end.code", "assert end.code == 2, end.code")
    arguments = [
        "search dog a.mp4 --model x",
        "search dog a.mp4 --model umt:nowhere",
        f"ask a.mp4 what --model umt:{tmp_path} --answers nowhere.json",
        f"search dog a.mp4 --model umt:{tmp_path} --preset umt-b16/nothing",
        f"embed a.mp4 --model umt:{tmp_path} -o /no/where/f.parquet",
        "search dog a.mp4 --preset umt-b16/nothing",
        "classify a.mp4 --r 1,two",
        "show a.mp4 --video out.webm",
        "tune a.mp4 --target speed=2",
        "show a.mp4 --model x",
        "convert nowhere.pth out",
    ]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("error: ") == done.stderr.count("\n") == len(arguments)
