"""Long films and large pictures must not fill the memory; where it is full, an error says so."""

import subprocess
import sys
from pathlib import Path

import pytest
from support.film import numbered, write_large_gif

from vidtldr.video.decode import VideoError, read_clip
from vidtldr.video.sampling import Sampling
from vidtldr.video.transform import VideoTransform

_READING = """
import resource, sys
from pathlib import Path
from vidtldr.video.decode import VideoError, read_clip
from vidtldr.video.sampling import Sampling
from vidtldr.video.transform import VideoTransform

def memory_mb(name):
    # ru_maxrss of a child counts what its parent held at the fork: the kernel's own mark does not
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1000

short, long = sys.argv[1:]
"""
_PROGRAM = """
read_clip(short, Sampling(16))
before = memory_mb("VmHWM")
clip = read_clip(long, Sampling(16))
assert clip.num_frames_in_file == 3000, clip.num_frames_in_file
assert clip.frames.shape == (16, 1080, 1920, 3)
print(memory_mb("VmHWM") - before)
"""
_RESIZED = """
transform = VideoTransform(resize=(32, 32))
read_clip(short, Sampling(16), transform=transform)
before = memory_mb("VmHWM")
clip = read_clip(long, Sampling(64), transform=transform)
assert clip.frames.shape == (64, 3, 32, 32)
assert clip.size == (2000, 2000)
print(memory_mb("VmHWM") - before)
"""
_LIMITED = """
read_clip(short, Sampling(4))
taken = int(memory_mb("VmSize") * 1e6)
resource.setrlimit(resource.RLIMIT_AS, (taken + 200_000_000, -1))
try:
    read_clip(long, Sampling(4))
except VideoError as error:
    print(error)
assert read_clip(short, Sampling(4)).num_frames_in_file == 40
"""
_needs_proc = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="peak memory is read in /proc"
)


def output_of(program: str, short: Path, long: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _READING + program, str(short), str(long)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def write_long_film(path: Path) -> None:
    """10 minutes of 1080p at 5 frames a second, grain moving over the picture."""
    import av
    import numpy as np

    grain = np.random.default_rng(0).integers(0, 60, (1080, 1920), dtype=np.uint8)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=5, options={"preset": "ultrafast", "crf": "30"})
        stream.width, stream.height, stream.pix_fmt = 1920, 1080, "yuv420p"
        base = numbered(511, (1920, 1080)).to_ndarray(format="gray") // 2
        for number in range(3000):
            picture = base + np.roll(grain, 8 * number, 1)
            frame = av.VideoFrame.from_ndarray(picture, format="gray")
            frame.pts = number
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


@pytest.mark.slow
@_needs_proc
def test_ten_minutes_of_1080p_add_less_than_half_a_gigabyte(b_frames: Path, tmp_path: Path) -> None:
    film = tmp_path / "long.mp4"
    write_long_film(film)
    assert float(output_of(_PROGRAM, b_frames, film)) < 500


@_needs_proc
def test_frames_are_resized_as_they_are_decoded(b_frames: Path, tmp_path: Path) -> None:
    gif = write_large_gif(tmp_path / "large.gif", 2000)  # 64 frames at full size are 768 MB
    assert float(output_of(_RESIZED, b_frames, gif)) < 250


@_needs_proc
def test_a_lack_of_memory_is_no_damage(b_frames: Path, tmp_path: Path) -> None:
    gif = write_large_gif(tmp_path / "large.gif", 6000)
    said = output_of(_LIMITED, b_frames, gif)
    assert "reading it takes more memory than there is" in said
    assert "damaged" not in said


def test_pictures_beyond_the_budget_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    gif = write_large_gif(tmp_path / "large.gif", 14000)
    with pytest.raises(VideoError, match="14000x14000 are too large: at most 134 million pixels"):
        read_clip(gif, Sampling(4))


def test_pictures_that_ffmpeg_refuses_are_not_called_damaged(tmp_path: Path) -> None:
    gif = write_large_gif(tmp_path / "large.gif", 65535)
    with pytest.raises(VideoError, match="does not accept the size of its pictures"):
        read_clip(gif, Sampling(4))


def test_a_clip_may_not_take_gigabytes(tmp_path: Path) -> None:
    gif = write_large_gif(tmp_path / "large.gif", 4500)
    with pytest.raises(VideoError, match="64 frames of 4500x4500x3 bytes take more than the 3"):
        read_clip(gif, Sampling(64))
    small = VideoTransform(resize=(8, 8))
    assert read_clip(gif, Sampling(64), transform=small).frames.shape == (64, 3, 8, 8)


@pytest.mark.parametrize("seeks", [True, False])
def test_a_view_is_made_of_each_frame_as_decoded(b_frames: Path, seeks: bool) -> None:
    sampling, small = Sampling(64), VideoTransform(resize=(8, 8))  # of 40 frames, some twice
    whole = read_clip(b_frames, sampling)
    clip = read_clip(
        b_frames, sampling, seeks=seeks, transform=small, view=lambda picture: picture[::2]
    )
    assert len(clip.views) == 64
    for view, frame in zip(clip.views, whole.frames.numpy(), strict=True):
        assert (view == frame[::2]).all()
    assert (clip.frames == small.resized(whole.frames)).all()
    assert whole.views == ()
