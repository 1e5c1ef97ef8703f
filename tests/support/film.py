"""Films made on the spot, with the number of every frame burnt into its pixels."""

import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import av
import numpy as np
from torch import Tensor

_BITS = 9
_BLOCK = 16
FILM_SIZE = (_BITS * _BLOCK + 2, 38)  # width, height


def numbered(number: int, size: tuple[int, int] = FILM_SIZE) -> av.VideoFrame:
    """A picture of black and white columns that spell `number` in binary; red below."""
    width, height = size
    pixels = np.zeros((height, width, 3), np.uint8)
    for bit in range(_BITS):
        pixels[:, bit * _BLOCK : (bit + 1) * _BLOCK] = 255 * (number >> bit & 1)
    pixels[3 * height // 4 :] = (200, 0, 0)
    return av.VideoFrame.from_ndarray(pixels, format="rgb24")


def read_number(frame: Tensor) -> int:
    """The number in a picture (H, W, 3) of `numbered`."""
    row = frame[frame.shape[0] // 4].float().mean(-1)
    return sum(int(row[bit * _BLOCK + _BLOCK // 2] > 127) << bit for bit in range(_BITS))


def write_film(
    path: Path,
    num_frames: int = 40,
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    size: tuple[int, int] = FILM_SIZE,
    pts: Iterable[int] | None = None,
    rate: int = 25,
    options: dict[str, str] | None = None,
    setup: Callable[[Any], None] | None = None,
    container: dict[str, str] | None = None,
    file_format: str | None = None,
    first_number: int = 0,
) -> Path:
    """Write frames 0, 1, 2, ... with the given timestamps, in ticks of 1 / `rate`."""
    with av.open(str(path), "w", options=container or {}, format=file_format) as out:
        stream = out.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height = size
        stream.pix_fmt = pix_fmt
        if setup:
            setup(stream)
        for number, tick in zip(range(num_frames), pts or range(num_frames), strict=False):
            frame = numbered(number + first_number, size)
            frame.pts = tick
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def write_large_gif(path: Path, side: int) -> Path:
    """89 bytes: three frames of `side` x `side` pixels, of which each draws one."""
    frame = bytes.fromhex("21f904000a000000") + struct.pack("<cHHHHB", b",", 0, 0, 1, 1, 0)
    frame += bytes.fromhex("0202440100")
    header = struct.pack("<6sHHBBB", b"GIF89a", side, side, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    path.write_bytes(header + 3 * frame + b";")
    return path
