import subprocess
from pathlib import Path

import pytest
import torch

from vidtldr.measure import environment as module
from vidtldr.measure.environment import environment
from vidtldr.ops.processor import cpu_capability

CPU = torch.device("cpu")


def test_the_command_names_no_folder_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    typed = ["show", "/home/me/secret/a b.mp4", "--report=/tmp/x/r.html", "-o", "out/r.html"]
    for program in ("/opt/venv/bin/vidtldr", "/opt/lib/vidtldr/__main__.py"):
        monkeypatch.setattr("sys.argv", [program, *typed])
        command = environment(CPU)["command"]
        assert command == "vidtldr show 'a b.mp4' --report=r.html -o out/r.html"


def test_the_commit_is_never_one_of_a_repository_around(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "site-packages" / "vidtldr" / "measure" / "environment.py"
    file.parent.mkdir(parents=True)
    file.touch()
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "a"], cwd=tmp_path, check=True)
    monkeypatch.setattr(module, "__file__", str(file))
    assert environment(CPU)["commit"] is None
    subprocess.run([*git, "add", "-f", "."], cwd=tmp_path, check=True)
    found = environment(CPU)["commit"]
    assert found is not None
    assert found.endswith("with changes")


def test_every_record_says_what_vector_unit_the_processor_has() -> None:
    assert environment(CPU)["cpu_capability"] == cpu_capability()
