"""A long film must not fill the memory."""

import subprocess
import sys
from pathlib import Path

import pytest
from video.film import numbered

_PROGRAM = """
import sys
from pathlib import Path
from vidtldr.video.decode import read_clip
from vidtldr.video.sampling import Sampling

def peak_mb():
    # ru_maxrss of a child counts what its parent held at the fork: the kernel's own mark does not
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1000

short, long = sys.argv[1:]
read_clip(short, Sampling(16))
before = peak_mb()
clip = read_clip(long, Sampling(16))
assert clip.num_frames_in_file == 3000, clip.num_frames_in_file
assert clip.frames.shape == (16, 1080, 1920, 3)
print(peak_mb() - before)
"""


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
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read in /proc")
def test_ten_minutes_of_1080p_add_less_than_half_a_gigabyte(b_frames: Path, tmp_path: Path) -> None:
    film = tmp_path / "long.mp4"
    write_long_film(film)
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(b_frames), str(film)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(done.stdout) < 500
