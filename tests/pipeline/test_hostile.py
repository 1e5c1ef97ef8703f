"""Files that crash, hang or fill their process; the decoder is replaced by one that obeys names."""

import os

import pytest
from support.film import write_film
from support.flat_model import request
from support.pipeline_films import failures_of, rows_of

from vidtldr.pipeline.decode_worker import limit_memory
from vidtldr.pipeline.local import index_videos


@pytest.mark.slow
def test_files_that_harm_their_process_are_noted_and_the_others_indexed(tmp_path, monkeypatch):
    names = ("a", "crash", "once", "hang", "large", "strange", "z")
    paths = [str(write_film(tmp_path / f"{name}.mp4", 9)) for name in names]
    monkeypatch.setattr("vidtldr.pipeline.decode_pool._MODULES", ("support.evil_decoder",))
    monkeypatch.setattr("vidtldr.pipeline.decode_pool._LOADING_SECONDS", 20.0)
    monkeypatch.setattr("vidtldr.pipeline.decode_pool._GRACE_SECONDS", 0.0)
    wanted = request(time_limit_seconds=3.0, memory_bytes=2**31)
    report = index_videos(tmp_path / "my.index", paths, wanted, gpus=[None])
    assert (report.num_indexed, report.num_failed) == (3, 4)
    reasons = {
        os.path.basename(path): text for path, text in failures_of(tmp_path / "my.index").items()
    }
    assert "it ended its decoder by signal SIGSEGV, twice" in reasons["crash.mp4"]
    assert "said nothing for" in reasons["hang.mp4"]
    assert "reading it takes more than 2 GiB" in reasons["large.mp4"]
    assert "UnicodeDecodeError" in reasons["strange.mp4"]
    indexed = {
        os.path.basename(dict(row)["path"]) for row in rows_of(tmp_path / "my.index").values()
    }
    assert indexed == {"a.mp4", "once.mp4", "z.mp4"}


@pytest.mark.slow
def test_a_clip_that_ends_the_encoder_is_noted_and_those_beside_it_indexed(tmp_path):
    dark = [str(write_film(tmp_path / f"{n}.mp4", 9, first_number=0)) for n in range(3)]
    white = write_film(tmp_path / "white.mp4", 9, first_number=0)
    make_white(white)
    wanted = request(broken="die on bright", batch_size=4)
    paths = [dark[0], str(white), *dark[1:]]
    report = index_videos(tmp_path / "my.index", paths, wanted, gpus=[None])
    assert (report.num_indexed, report.num_failed) == (3, 1)
    assert (
        "encoding it ended the encoder each time" in failures_of(tmp_path / "my.index")[str(white)]
    )


def make_white(path):
    import av
    import numpy as np

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(8):
            picture = np.full((48, 64, 3), 255, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def test_a_fifo_is_no_video_and_nobody_waits_for_it(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    report = index_videos(
        tmp_path / "my.index", [str(tmp_path / "pipe.mp4")], request(), gpus=[None]
    )
    assert report.num_failed == 1
    assert "no regular file" in failures_of(tmp_path / "my.index")[str(tmp_path / "pipe.mp4")]


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs Linux")
def test_the_limit_of_memory_is_a_memory_error_in_a_process_of_its_own():
    pid = os.fork()
    if pid == 0:
        try:
            limit_memory(2**28)
            bytearray(2**29)
        except MemoryError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
