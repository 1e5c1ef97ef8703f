import os
import pty
import threading
from pathlib import Path

import pytest

from vidtldr.files import whole_file, write_bytes, write_json


def test_a_pipe_stays_a_pipe_and_its_reader_gets_everything(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.json"
    os.mkfifo(pipe)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    write_json(pipe, {"a": 1})
    reader.join(timeout=30)
    assert got == [b'{\n  "a": 1\n}\n']
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]


def test_a_character_device_is_written_to_and_stays(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    device = Path(os.ttyname(theirs))
    write_bytes(device, b"all of it")
    assert os.read(ours, 100) == b"all of it"
    assert device.is_char_device()
    os.close(ours)
    os.close(theirs)


def test_a_failed_write_sends_nothing_to_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(TypeError), whole_file(pipe) as partial:
        partial.write_bytes("no bytes")  # type: ignore[arg-type]
    assert pipe.is_fifo()


def test_a_link_stays_and_the_file_behind_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    file, link = tmp_path / "folder" / "real.txt", tmp_path / "link.json"
    link.symlink_to(file)
    for content in (b"first", b"second"):  # at first the link leads to nothing
        write_bytes(link, content)
        assert link.is_symlink()
        assert file.read_bytes() == content
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["folder", "link.json", "real.txt"]


def test_a_replaced_file_keeps_its_permissions(tmp_path: Path) -> None:
    file = tmp_path / "private.json"
    file.touch(mode=0o600)
    write_json(file, {})
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_text() == "{}\n"


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="output must be a file"):
        write_bytes(tmp_path, b"content")
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(OSError, match="output must be a file"):
        write_bytes(loop, b"x")
    assert loop.is_symlink()


def test_standard_output_is_a_dash(
    capfdbinary: pytest.CaptureFixture[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_bytes(Path("-"), b"\x00\xff")
    assert capfdbinary.readouterr().out == b"\x00\xff"
    assert list(tmp_path.iterdir()) == []
