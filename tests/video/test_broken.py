"""Files that break readers, and files that are no videos."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition
from support.film import numbered, read_number, write_film

from vidtldr.video import decode, frames
from vidtldr.video.decode import VideoError, read_clip
from vidtldr.video.local_file import open_video
from vidtldr.video.sampling import Sampling


def refused(path: Path | str, **limits: Any) -> str:
    """The message of the error, which must be one printable line."""
    with pytest.raises(VideoError) as caught:
        read_clip(path, Sampling(4), **limits)
    message = str(caught.value)
    assert message.isprintable()
    return message


def cut(path: Path, share: float) -> Path:
    content = path.read_bytes()
    short = path.with_name(f"cut_{path.name}")
    short.write_bytes(content[: int(len(content) * share)])
    return short


def test_a_file_cut_in_the_middle_gives_the_frames_that_are_left(tmp_path: Path) -> None:
    path = cut(write_film(tmp_path / "film.mkv", 150, options={"bf": "2"}), 0.5)
    clip = read_clip(path, Sampling(6))
    assert 50 < clip.num_frames_in_file < 110
    assert [read_number(frame) for frame in clip.frames] == list(clip.indices)
    assert list(clip.indices) == Sampling(6).indices(clip.num_frames_in_file)
    count, seconds = clip.num_frames_in_file, clip.duration_seconds
    assert (
        f"the file ends early: its {count} frames cover {seconds:.1f} of the 6.0 seconds in its "
        "header"
    ) in clip.notes


def test_a_cut_mp4_with_its_index_in_front_says_how_much_is_left(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.mp4", 60, container={"movflags": "faststart"})
    clip = read_clip(cut(path, 0.85), Sampling(4))
    assert 10 < clip.num_frames_in_file < 60
    assert [read_number(frame) for frame in clip.frames] == list(clip.indices)
    share = f"{clip.num_frames_in_file} of 60 frames could be decoded"
    assert any(note.endswith(share) for note in clip.notes)


def test_a_file_that_breaks_off_gives_the_frames_before(
    b_frames: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class BreakingContainer:
        def __init__(self, container: Any) -> None:
            self.container = container

        def __getattr__(self, name: str) -> Any:
            return getattr(self.container, name)

        def demux(self, stream: Any) -> Any:
            for number, packet in enumerate(self.container.demux(stream)):
                if number == 24:  # a whole number of groups of pictures
                    raise av.InvalidDataError(1094995529, "Invalid data")
                yield packet

    @contextmanager
    def open_breaking(path: str, stop: Any) -> Any:
        with open_video(path, stop) as (container, stream):
            yield BreakingContainer(container), stream

    monkeypatch.setattr(frames, "open_video", open_breaking)
    clip = read_clip(b_frames, Sampling(6))
    assert [read_number(frame) for frame in clip.frames] == Sampling(6).indices(24)
    assert "the file breaks off: 24 of 40 frames could be decoded" in clip.notes
    assert "the file breaks off" in read_clip(b_frames, Sampling(6), max_seconds=0.5).notes


def test_a_cut_mp4_without_its_index_is_refused(tmp_path: Path) -> None:
    message = refused(cut(write_film(tmp_path / "film.mp4", 60), 0.6))
    assert "FFmpeg cannot read its content" in message


def test_a_damaged_packet_is_passed_over_and_said(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film.mkv", 30, codec="ffv1")
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    content = bytearray(path.read_bytes())
    start, size = packets[12]
    content[start : start + size + 20] = bytes(size + 20)
    path.write_bytes(content)
    clip = read_clip(path, Sampling(30))
    assert clip.num_frames_in_file < 30
    numbers = [read_number(frame) for frame in clip.frames[: clip.num_frames_in_file]]
    assert numbers[:12] == list(range(12))
    assert set(numbers) <= set(range(30))
    assert clip.notes


def test_any_damage_ends_in_a_clip_or_an_error(b_frames: Path, tmp_path: Path) -> None:
    sound = b_frames.read_bytes()
    for seed in range(12):
        content = bytearray(sound)
        for place in range(200 + 37 * seed, len(content), 911):
            content[place] ^= 0x5A + seed
        path = tmp_path / f"{seed}.mp4"
        path.write_bytes(content)
        try:
            first, second = (read_clip(path, Sampling(8), time_limit_seconds=30) for _ in range(2))
        except VideoError:
            continue
        assert first.frames.equal(second.frames)


def test_garbage_named_as_a_video_is_refused(tmp_path: Path) -> None:
    for name, content in (("text.mp4", b"a shopping list\n" * 40), ("empty.mp4", b"")):
        path = tmp_path / name
        path.write_bytes(content)
        assert "FFmpeg cannot read its content" in refused(path)


def test_sound_alone_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sound.mkv"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame(format="s16", layout="mono", samples=800)
        frame.sample_rate, frame.pts = 8000, 0
        out.mux(stream.encode(frame))
    assert "no video stream that FFmpeg can decode (it has: audio)" in refused(path)


def test_a_cover_image_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as out:
        sound = out.add_stream("aac", rate=8000, layout="mono")
        cover = out.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 146, 38, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        out.mux(cover.encode(numbered(1)))
        out.mux(cover.encode(None))
        for start in range(0, 4096, 1024):
            silence = np.zeros((1, 1024), np.float32)
            samples = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
            samples.sample_rate, samples.pts = 8000, start
            out.mux(sound.encode(samples))
    assert "its only picture is a cover image" in refused(path)


def test_only_local_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    assert "it is no regular file" in refused(tmp_path / "pipe.mp4")
    assert "it is a directory" in refused(tmp_path)
    assert "there is no such file" in refused(tmp_path / "missing.mp4")
    assert re.search(r"it is no file \(.*embedded null", refused("null\0byte.mp4"))
    for url in ("http://127.0.0.1/a.mp4", "file:///a.mp4", "rtsp://127.0.0.1/a"):
        assert "it is a URL" in refused(url)


def test_bytes_are_no_path() -> None:
    with pytest.raises(TypeError, match="path must be a string or a path"):
        read_clip(b"film.mp4", Sampling(4))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name", ["line\nbreak.mp4", "\x1b[31mred.mp4", "\u202ereversed.mp4", "\udcff.mp4"]
)
def test_hostile_names_stay_on_one_line(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(b"nothing")
    assert str(tmp_path) in refused(path)


@pytest.mark.parametrize("name", ["concat:a|b.mp4", "data:video.mp4", "%03d.mp4", "a?b#c.mp4"])
def test_names_are_never_taken_for_protocols(
    name: str, b_frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).write_bytes(b_frames.read_bytes())
    monkeypatch.chdir(tmp_path)
    assert read_clip(name, Sampling(2)).num_frames_in_file == 40


_PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{target}\n#EXT-X-ENDLIST\n"
_LIST = "ffconcat version 1.0\nfile {target}\n"
_MANIFEST = (
    '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT1S"><Period><AdaptationSet contentType="video">'
    '<Representation id="0" bandwidth="1"><BaseURL>{target}</BaseURL><SegmentBase/>'
    "</Representation></AdaptationSet></Period></MPD>"
)


@pytest.mark.parametrize("name", ["list.m3u8", "list.mp4", "list.mpd"])
@pytest.mark.parametrize("text", [_PLAYLIST, _LIST, _MANIFEST], ids=["hls", "concat", "dash"])
def test_lists_open_neither_the_network_nor_other_files(
    text: str, name: str, b_frames: Path, tmp_path: Path
) -> None:
    (tmp_path / "other.mp4").write_bytes(b_frames.read_bytes())
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        port = server.getsockname()[1]
        path = tmp_path / name
        for target in (f"http://127.0.0.1:{port}/a.mp4", "other.mp4", str(tmp_path / "other.mp4")):
            path.write_text(text.format(target=target))
            refused(path)
        with pytest.raises(TimeoutError):
            server.accept()


def test_nothing_reaches_stderr(b_frames: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.mp4"
    content = bytearray(b_frames.read_bytes())
    content[400:900] = bytes(500)
    damaged.write_bytes(content)
    program = (
        "import sys\n"
        "from vidtldr.video.decode import VideoError, read_clip\n"
        "from vidtldr.video.sampling import Sampling\n"
        "for path in sys.argv[1:]:\n"
        "    try:\n"
        "        read_clip(path, Sampling(4))\n"
        "    except VideoError:\n"
        "        pass\n"
    )
    paths = [str(path) for path in (b_frames, damaged, cut(b_frames, 0.7))]
    done = subprocess.run([sys.executable, "-c", program, *paths], capture_output=True, check=True)
    assert done.stdout + done.stderr == b""


def test_importing_the_room_loads_no_video_reader() -> None:
    program = (
        "import sys, vidtldr.video.decode, vidtldr.video.transform\n"
        "assert not {'av', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def stall(stopped: threading.Event) -> Any:
    """A reader that hangs, but can be told to stop."""

    def scan(path: str, stop: Any) -> Any:
        while not stop.is_set():
            time.sleep(0.01)
        stopped.set()
        stop.check()

    return scan


def test_a_reader_that_stalls_is_given_up(b_frames: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = threading.Event()
    monkeypatch.setattr(decode, "scan_packets", stall(stopped))
    start = time.monotonic()
    message = refused(b_frames, time_limit_seconds=0.2)
    assert time.monotonic() - start < 2
    assert "reading took longer than 0.2 seconds" in message
    assert stopped.wait(2)


def test_a_real_reader_stops_when_time_is_over(
    b_frames: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = threading.active_count()
    message = refused(b_frames, time_limit_seconds=1e-6)
    assert "reading took longer than 1e-06 seconds" in message
    assert "Raise time_limit_seconds (--time-limit)" in message
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before


def test_ctrl_c_works_while_waiting(b_frames: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = threading.Event()
    monkeypatch.setattr(decode, "scan_packets", stall(stopped))
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        read_clip(b_frames, Sampling(4), time_limit_seconds=20)
    assert time.monotonic() - start < 5
    assert stopped.wait(2)


def test_a_timeout_of_the_disk_is_no_timeout_of_ours(
    b_frames: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*arguments: Any) -> Any:
        raise TimeoutError("the disk")

    monkeypatch.setattr(decode, "scan_packets", read)
    message = refused(b_frames)
    assert "TimeoutError (the disk)" in message
    assert "longer than" not in message


def test_errors_of_libraries_become_errors_of_the_file(
    b_frames: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raising(error: Exception) -> Any:
        def scan(*_: Any) -> Any:
            raise error

        return scan

    for error, words in (
        (KeyError("\x1b[31m\n\udcff"), "failed with KeyError"),
        (AttributeError(), "failed with AttributeError. Try"),
        (OSError(5, "Input/output error"), "Input/output error"),
        (MemoryError(), "takes more memory than there is"),
        (RuntimeError("can't start new thread"), "takes more memory than there is"),
    ):
        monkeypatch.setattr(decode, "scan_packets", raising(error))
        assert words in refused(b_frames)


def test_files_are_closed(b_frames: Path, tmp_path: Path) -> None:
    listing = Path("/proc/self/fd")
    if not listing.is_dir():
        pytest.skip("open files are listed in /proc only")
    refusing = cut(b_frames, 0.7)
    before = len(list(listing.iterdir()))
    for _ in range(5):
        read_clip(b_frames, Sampling(4))
        read_clip(b_frames, Sampling(4), max_seconds=0.2)
        refused(refusing)
    assert len(list(listing.iterdir())) == before


def test_a_file_that_is_not_there_is_said_first() -> None:
    assert refused("nothere.mp4") == (
        "'nothere.mp4' cannot be read: there is no such file. Check the path."
    )


def test_a_forbidden_file_is_not_taken_for_a_damaged_one(tmp_path: Path) -> None:
    """As root, who may read everything, this thread reads as nobody."""
    path = write_film(tmp_path / "film.mp4", 3)
    path.chmod(0)
    if os.geteuid():
        message = refused(path)
    else:
        os.seteuid(65534)
        try:
            message = refused(path)
        finally:
            os.seteuid(0)
    assert "cannot be read: this user is not allowed to read it. Change its permissions" in message
    assert "complete copy" not in message
