import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
from click.testing import Result
from typer.main import get_command

import vidtldr
from vidtldr.cli.main import app

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
    ["evaluate", "classification"],
    ["shapes"],
    ["shapes", "export"],
    ["demo"],
    ["bench"],
    ["bench", "quality"],
    ["bench", "saliency"],
    ["bench", "latency"],
    ["bench", "memory"],
    ["bench", "dense"],
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
    assert text.count("<bool>") == 1  # of --help, which is typer's: flags take no value


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


COMMANDS = [each for each in SUBCOMMANDS if each not in GROUPS]


@pytest.mark.parametrize("columns", ["60", "100"])
@pytest.mark.parametrize("names", COMMANDS, ids=" ".join)
def test_no_word_is_broken(
    run: Callable[..., Result], names: list[str], columns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    shown = set(re.split(r"[\s│]+", run(*names, "--help").stdout))
    command = get_command(app)
    for name in names:
        command = command.commands[name]
    texts = [
        (command.help or "").replace("\\[", "["),
        *(getattr(each, "help", None) or "" for each in command.params),
    ]
    broken = {word for text in texts for word in text.split() if word not in shown}
    assert {word for word in broken if len(word) < int(columns) // 3} == set()


@pytest.mark.parametrize("names", COMMANDS, ids=" ".join)
def test_every_command_has_an_example(run: Callable[..., Result], names: list[str]) -> None:
    text = " ".join(run(*names, "--help").stdout.split())
    [example] = re.findall(r"Example: (vidtldr [^\u256d]*?) (?:Exit codes|\u256d)", text)
    words = shlex.split(example)
    assert words[1 : 1 + len(names)] == names
    flags = {word for word in words if word.startswith("-")}
    assert flags <= set(re.findall(r"(?<!\w)--?[a-z][a-z-]*", text.replace(example, "")))


def test_options_come_in_groups_the_command_s_own_first(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    for names in (["classify"], ["search"], ["embed"], ["index", "add"], ["show"]):
        titles = re.findall(r"\u256d\u2500 (.+?) \u2500", run(*names, "--help").stdout)
        kept = [title for title in titles if title not in ("Arguments", "Output")]
        assert kept == ["Options", "Model", "Merging", "Input and output"]
    text = run("classify", "--help").stdout
    marks = ("│ --compare", "─ Model ", "│ --model", "│ --frames", "─ Merging ", "│ --schedule")
    places = [text.index(mark) for mark in marks]
    assert places == sorted(places)


def test_a_flag_does_not_look_as_if_it_took_a_value(run: Callable[..., Result]) -> None:
    for line in run("classify", "--help").stdout.splitlines():
        assert "--compare" not in line or "<bool>" not in line


def test_the_root_lists_them_all(run: Callable[..., Result]) -> None:
    text = run("--help").stdout
    assert all(names[0] in text for names in SUBCOMMANDS)
    shown = run("--version").stdout
    assert shown.startswith(f"vidtldr {vidtldr.__version__}\nPython 3.")
    for package in ("torch", "transformers", "av"):
        assert f"{package} {version(package)}" in shown
    assert run("clasify", "x").exit_code == 2


def test_usage_errors_are_found_without_torch(tmp_path: Path) -> None:
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
        "classify nowhere.mp4",
        "search dog nowhere.mp4",
        "ask nowhere.mp4 what",
        "show nowhere.mp4",
        "search dog --index nowhere",
        "embed empty -o f.parquet",
        "tune empty",
        "index add empty --index x",
        "classify a.mp4 --labels lables.txt",
        "search dog a.mp4 --tokenizer nowhere",
        "search dog a.mp4 --arch nowhere.json",
        "evaluate multiple-choice --annotations nowhere.json --videos empty",
        "evaluate multiple-choice --annotations a.json --videos empty",
        "evaluate classification --annotations nowhere.txt --videos empty",
        "evaluate classification --annotations a.json --videos empty",
        "evaluate classification --annotations list.txt --videos empty",
        "evaluate classification --annotations list.txt --videos empty --protocol k400",
        "evaluate classification --annotations list.txt --videos . --labels yoga,golf",
        "bench quality --weights nowhere.safetensors",
        "bench saliency --weights nowhere.safetensors",
        "bench paths -o nowhere/x.json",
        "bench dense --photos nowhere",
        "bench dense --photos empty",
        "bench dense --side 100",
        "demo full",
        "shapes export full",
        "convert a.mp4 full",
    ]
    (tmp_path / "a.mp4").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    (tmp_path / "list.txt").write_text("a.mp4 golfing\n")
    (tmp_path / "a.json").write_text('[{"video": "x", "caption": ["a"], "answer": 0}]')
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("error: ") == done.stderr.count("\n") == len(arguments)
