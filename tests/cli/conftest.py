from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from click.testing import Result
from support.tiny_files import write_video, write_videomae
from support.umt_files import UMTFiles, write_umt, write_wide_umt
from support.umt_sets import VideoSet, written_set
from typer.testing import CliRunner

from vidtldr.cli.main import app


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_videomae(tmp_path_factory.mktemp("model") / "tiny"))


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_video(tmp_path_factory.mktemp("video") / "square.mp4"))


@pytest.fixture(scope="session")
def umt(tmp_path_factory: pytest.TempPathFactory) -> UMTFiles:
    return write_umt(tmp_path_factory.mktemp("umt"))


@pytest.fixture(scope="session")
def wide_umt(tmp_path_factory: pytest.TempPathFactory) -> UMTFiles:
    return write_wide_umt(tmp_path_factory.mktemp("wide"))


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> VideoSet:
    """Five films and a broken one among them."""
    return written_set(tmp_path_factory.mktemp("films"))


@pytest.fixture(autouse=True)
def no_lines_of_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a slow machine they would come between the lines that tests look at."""
    monkeypatch.setattr("vidtldr.cli.terminal.SECONDS_BETWEEN_LINES", 3600.0)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Many small operations: a second thread costs more than it gives."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def run() -> Callable[..., Result]:
    """Run a subcommand in this process."""

    def invoke(*arguments: str | Path) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return invoke
