from operator import methodcaller
from pathlib import Path

import pytest

from vidtldr.pipeline.worker_process import WorkerProcess


def test_files_of_the_working_directory_are_not_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    worker = WorkerProcess()
    worker.start(methodcaller("send", 7))
    assert worker.connection.recv() == 7
    worker.end()
