"""The provenance of a benchmark file: where, when and by what it was made."""

import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from vidtldr.measure.device_name import device_name
from vidtldr.ops.processor import bfloat16_is_native, cpu_capability

__all__ = ["device_name", "environment", "environment_facts"]


def environment(device: torch.device) -> dict[str, Any]:
    """Return command, commit, versions, date and device, ready for JSON.

    Args:
        device: Where the models ran.
    """
    return {
        "command": _command(sys.argv),
        "commit": _commit(),
        "cpu_capability": cpu_capability(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "device": device_name(device),
        "has_native_bfloat16": bfloat16_is_native(device),
        "num_threads": torch.get_num_threads(),
        "platform": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: _version_of(name) for name in ("vidtldr", "torch", "transformers")},
    }


def environment_facts(environment: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return device, threads, versions, date and commit from `environment`."""
    versions = environment["versions"]
    named = [f"{name} {version}" for name, version in versions.items() if version is not None]
    facts = [
        ("device", f"{environment['device']}, {_threads(environment['num_threads'])}"),
        ("platform", f"{environment['platform']}, Python {environment['python']}"),
        ("versions", ", ".join(named)),
        ("date", environment["date"]),
    ]
    if environment["commit"] is not None:
        facts.append(("commit", environment["commit"]))
    return facts


def _threads(count: int) -> str:
    return f"{count} thread{'' if count == 1 else 's'}"


def _command(argv: Sequence[str]) -> str:
    """Return the command typed; absolute paths keep only their last part, for privacy."""
    program = Path(argv[0])
    name = program.parent.name if program.name == "__main__.py" else program.name
    return shlex.join([name, *map(_without_folders, argv[1:])])


def _without_folders(argument: str) -> str:
    option, equals, value = argument.rpartition("=")
    return f"{option}{equals}{Path(value).name}" if Path(value).is_absolute() else argument


def _commit() -> str | None:
    """Return the commit of the running sources and whether they differ; None outside git."""
    commit = _git("rev-parse", "HEAD")
    # A virtual environment inside another repository would give that repository's commit.
    is_ours = _git("ls-files", "--error-unmatch", str(Path(__file__).resolve())) is not None
    if commit is None or not is_ours:
        return None
    return commit + (" with changes" if _git("status", "--porcelain", ".") else "")


def _git(*arguments: str) -> str | None:
    source = Path(__file__).resolve().parents[1]
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=source, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _version_of(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
