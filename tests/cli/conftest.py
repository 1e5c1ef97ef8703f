from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from tiny_files import write_video, write_videomae
from typer.testing import CliRunner

from vidtldr.cli.main import app


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_videomae(tmp_path_factory.mktemp("model") / "tiny"))


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_video(tmp_path_factory.mktemp("video") / "square.mp4"))


@pytest.fixture
def run() -> Callable[..., Result]:
    """Run a subcommand in this process."""

    def invoke(*arguments: str | Path) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return invoke
