import os
import subprocess
import sys

import pytest

from vidtldr.store.writer_lock import WriterLock, is_locked


def test_one_holds_it_and_releases_it(tmp_path):
    assert not is_locked(tmp_path)
    with WriterLock(tmp_path):
        assert is_locked(tmp_path)
        with pytest.raises(BlockingIOError, match=f"while process {os.getpid()} writes it"):
            WriterLock(tmp_path)
    assert not is_locked(tmp_path)
    WriterLock(tmp_path).release()


def test_it_dies_with_its_holder_and_is_not_inherited(tmp_path):
    code = (
        "import subprocess, sys, time; from pathlib import Path; "
        "from vidtldr.store.writer_lock import WriterLock; lock = WriterLock(Path(sys.argv[1])); "
        "child = subprocess.Popen(['sleep', '60']); print(child.pid, flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    child = int(holder.stdout.readline())
    assert is_locked(tmp_path)
    holder.kill()
    holder.wait()
    holder.stdout.close()
    os.kill(child, 0)  # it lives
    assert not is_locked(tmp_path)
    os.kill(child, 9)


def test_a_place_that_cannot_be_written_is_said(tmp_path):
    with pytest.raises(OSError, match="an index must be writable, got"):
        WriterLock(tmp_path / "nowhere")
