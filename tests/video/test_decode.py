"""Frames are exact: their numbers are read from their pixels."""

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from support.film import FILM_SIZE, numbered, read_number, write_film
from torch import Tensor

from vidtldr.video.decode import Clip, VideoError, read_clip
from vidtldr.video.sampling import Sampling


def numbers(clip: Clip) -> list[int]:
    return [read_number(frame) for frame in clip.frames]


def validate_exact(path: Path, num_frames_in_file: int) -> None:
    for sampling in (Sampling(7), Sampling(5, "dense", 3), Sampling(num_frames_in_file)):
        clip = read_clip(path, sampling)
        assert clip.num_frames_in_file == num_frames_in_file
        assert list(clip.indices) == sampling.indices(num_frames_in_file)
        assert numbers(clip) == list(clip.indices)


def test_b_frames_come_in_display_order(b_frames: Path) -> None:
    with av.open(str(b_frames)) as container:
        stored = [packet.pts for packet in container.demux(video=0) if packet.size]
    assert stored != sorted(stored)
    validate_exact(b_frames, 40)


def test_a_clip_says_what_it_holds(b_frames: Path) -> None:
    clip = read_clip(b_frames, Sampling(4))
    assert clip.path == str(b_frames)
    assert clip.frames.dtype == torch.uint8
    assert clip.frames.shape == (4, FILM_SIZE[1], FILM_SIZE[0], 3)
    assert clip.indices == (4, 14, 24, 34)
    assert clip.timestamps_seconds == (4 / 25, 14 / 25, 24 / 25, 34 / 25)
    assert clip.duration_seconds == 1.6
    assert clip.notes == ()


_KINDS: dict[str, dict[str, Any]] = {
    "h264.mkv": {"options": {"bf": "2"}},
    "h264.ts": {"options": {"bf": "2"}},
    "raw.h264": {"options": {"bf": "2"}, "file_format": "h264"},
    "fragmented.mp4": {"container": {"movflags": "frag_keyframe+empty_moov"}},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": "log-level=none:pools=1"}},
    "vp8.webm": {"codec": "libvpx"},
    "vp8_hidden.webm": {
        "codec": "libvpx",
        "options": {"auto-alt-ref": "1", "lag-in-frames": "16", "b": "200k", "deadline": "good"},
    },
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}},
    "animation.gif": {"codec": "gif", "pix_fmt": "rgb8"},
    "mpeg4.avi": {"codec": "mpeg4"},
    "mpeg4_b.avi": {"codec": "mpeg4", "options": {"bf": "2"}},
    "mpeg2.mpg": {"codec": "mpeg2video", "options": {"bf": "2"}},
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "ffv1.mkv": {"codec": "ffv1"},
    "prores.mov": {"codec": "prores_ks", "pix_fmt": "yuv422p10le"},
}


@pytest.mark.parametrize("name", _KINDS)
def test_every_kind_of_file_gives_exact_frames(name: str, tmp_path: Path) -> None:
    validate_exact(write_film(tmp_path / name, **_KINDS[name]), 40)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("vp9.webm", {"codec": "libvpx-vp9", "options": {"deadline": "realtime"}}),
        ("h264.mp4", {"pix_fmt": "yuv444p"}),
        ("ffv1.mkv", {"codec": "ffv1", "pix_fmt": "yuv444p"}),
    ],
)
def test_odd_sizes_keep_every_pixel(name: str, settings: dict[str, Any], tmp_path: Path) -> None:
    path = write_film(tmp_path / name, 9, size=(155, 37), **settings)
    clip = read_clip(path, Sampling(9))
    assert clip.frames.shape == (9, 37, 155, 3)
    assert numbers(clip) == list(range(9))
    assert clip.frames[..., -2:, 0, :].int().abs().sum() == clip.frames[:, -2:, 0].int().sum()


def test_colours_are_red_green_blue(b_frames: Path) -> None:
    red, green, blue = read_clip(b_frames, Sampling(1)).frames[0, -3, 40].tolist()
    assert red > 170
    assert green < 40
    assert blue < 40


def test_a_variable_rate_is_sampled_by_index(tmp_path: Path) -> None:
    ticks = [0, 1, 2, 3, 4, 5, 6, 7, 30, 60]
    path = write_film(tmp_path / "uneven.mp4", 10, pts=ticks, options={"bf": "2"})
    clip = read_clip(path, Sampling(5))
    assert numbers(clip) == [0, 2, 4, 6, 8]
    assert clip.timestamps_seconds == tuple(ticks[index] / 25 for index in clip.indices)


def test_frames_stored_out_of_order_are_put_in_order(tmp_path: Path) -> None:
    shown = [0, 3, 1, 2, 4, 7, 5, 6]
    source = write_film(tmp_path / "a.avi", 8, codec="mjpeg", pix_fmt="yuvj420p")
    path = tmp_path / "shuffled.mov"
    with av.open(str(source)) as read, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(read.streams.video[0])
        packets = [packet for packet in read.demux(video=0) if packet.size]
        for place, tick in enumerate(shown):
            packet = packets[tick]
            packet.stream, packet.dts, packet.pts = stream, place, tick + 3
            out.mux(packet)
    with av.open(str(path)) as container:
        decoded = [frame.pts for frame in container.decode(video=0)]
    assert decoded != sorted(decoded)
    assert numbers(read_clip(path, Sampling(8))) == list(range(8))


def remux(source: Path, path: Path, first: int, shift: int, options: dict[str, str]) -> Path:
    """Copy the packets from number `first` on, moved by `shift` frames."""
    with av.open(str(source)) as read, av.open(str(path), "w", options=options) as out:
        stream = out.add_stream_from_template(read.streams.video[0])
        for packet in [each for each in read.demux(video=0) if each.size][first:]:
            ticks = int(shift / (25 * packet.time_base))
            packet.stream, packet.pts, packet.dts = stream, packet.pts + ticks, packet.dts + ticks
            out.mux(packet)
    return path


def test_frames_hidden_by_an_edit_list_are_not_counted(b_frames: Path, tmp_path: Path) -> None:
    options = {"avoid_negative_ts": "disabled", "use_editlist": "1"}
    clip = read_clip(remux(b_frames, tmp_path / "a.mp4", 0, -5, options), Sampling(35))
    assert numbers(clip) == list(range(5, 40))
    assert clip.notes == ("the file hides 5 frames (edit list): they were left out",)


def test_packets_without_a_frame_are_not_counted(b_frames: Path, tmp_path: Path) -> None:
    clip = read_clip(remux(b_frames, tmp_path / "a.mkv", 1, 0, {}), Sampling(4))
    count = clip.num_frames_in_file
    assert numbers(clip) == [40 - count + index for index in Sampling(4).indices(count)]
    assert clip.notes == (f"39 packets gave {count} frames",)


def test_a_short_file_repeats_its_last_frame_and_says_so(tmp_path: Path) -> None:
    path = write_film(tmp_path / "short.mp4", 3)
    clip = read_clip(path, Sampling(5))
    assert numbers(clip) == [0, 1, 2, 2, 2]
    assert clip.notes == ("too short, with 3 in all: last frame repeated 2 times",)


def test_the_first_seconds_alone_are_used(b_frames: Path) -> None:
    clip = read_clip(b_frames, Sampling(5), max_seconds=0.8)
    assert clip.num_frames_in_file == 20
    assert numbers(clip) == Sampling(5).indices(20)
    assert clip.duration_seconds == 0.8
    assert clip.notes == ("only the first 0.8 seconds were used: 20 frames",)
    assert read_clip(b_frames, Sampling(5), max_seconds=9).notes == ()


def test_a_cut_stops_decoding_early_and_stays_exact(tmp_path: Path) -> None:
    path = write_film(tmp_path / "long.mkv", 200, options={"bf": "3"})
    clip = read_clip(path, Sampling(20), max_seconds=0.8)
    assert numbers(clip) == list(range(20))


def test_the_best_of_two_streams_is_used_and_named(tmp_path: Path) -> None:
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as out:
        streams = [out.add_stream("libx264", rate=25) for _ in range(2)]
        for stream, width in zip(streams, (146, 292), strict=True):
            stream.width, stream.height, stream.pix_fmt = width, 38, "yuv420p"
        for number in range(12):
            for stream in streams:
                frame = numbered(number, (stream.width, 38))
                frame.pts = number
                out.mux(stream.encode(frame))
        for stream in streams:
            out.mux(stream.encode(None))
    with av.open(str(path)) as container:
        best = container.streams.best("video")
        index, width = best.index, best.width
    clip = read_clip(path, Sampling(12))
    assert clip.frames.shape[2] == width
    assert numbers(clip) == list(range(12))
    assert clip.notes == (
        f"2 video streams: stream {index} ({width}x38), the best by FFmpeg's rule, was used",
    )


def displayed(stored: Tensor, matrix: tuple[int, ...]) -> Tensor:
    """Every pixel where ISO 14496-12 puts it: x' = a x + c y, y' = b x + d y."""
    a, b, c, d = matrix
    rows, columns = torch.meshgrid(
        *(torch.arange(side) for side in stored.shape[:2]), indexing="ij"
    )
    new_columns, new_rows = a * columns + c * rows, b * columns + d * rows
    new_columns, new_rows = new_columns - new_columns.min(), new_rows - new_rows.min()
    picture = stored.new_zeros(int(new_rows.max()) + 1, int(new_columns.max()) + 1, 3)
    picture[new_rows, new_columns] = stored
    return picture


_ONES = [(a, d) for a in (1, -1) for d in (1, -1)]


@pytest.mark.parametrize(
    "matrix", [(a, 0, 0, d) for a, d in _ONES] + [(0, b, c, 0) for b, c in _ONES]
)
def test_pictures_are_turned_and_mirrored_upright(
    matrix: tuple[int, int, int, int], tmp_path: Path
) -> None:
    stored = read_clip(write_film(tmp_path / "plain.mp4", 1), Sampling(1)).frames[0]
    a, b, c, d = (value << 16 for value in matrix)
    path = write_film(
        tmp_path / "turned.mp4",
        1,
        setup=lambda stream: stream.set_display_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30]),
    )
    assert torch.equal(read_clip(path, Sampling(1)).frames[0], displayed(stored, matrix))


def write_photos(path: Path, orientations: list[int]) -> Path:
    """Motion JPEG as cameras write it, with EXIF in every frame."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuvj420p"
        for number, orientation in enumerate(orientations):
            exif = Image.Exif()
            exif[0x0112] = orientation
            photo = Image.new("RGB", (48, 32), (0, 0, 200))
            photo.paste((200, 0, 0), (0, 0, 24, 16))
            content = io.BytesIO()
            photo.save(content, "JPEG", quality=95, subsampling=2, exif=exif)
            packet = av.Packet(content.getvalue())
            packet.stream, packet.time_base = stream, Fraction(1, 10)
            packet.pts = packet.dts = number
            out.mux(packet)
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_in_every_frame_turns_and_mirrors_as_it_says(orientation: int, tmp_path: Path) -> None:
    """PyAV knows no side data of this type."""
    clip = read_clip(write_photos(tmp_path / "camera.avi", [orientation] * 3), Sampling(3))
    stored = Image.new("RGB", (48, 32), (0, 0, 200))
    stored.paste((200, 0, 0), (0, 0, 24, 16))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.info["exif"] = exif.tobytes()
    stored.getexif().update(exif)
    expected = torch.from_numpy(np.array(ImageOps.exif_transpose(stored)))
    assert clip.frames.shape[1:] == expected.shape
    assert (clip.frames[2].float() - expected).abs().mean() < 12


def test_frames_of_two_sizes_are_made_equal(tmp_path: Path) -> None:
    parts = [
        write_film(tmp_path / f"{width}.ts", 10, size=(width, 38), first_number=first)
        for width, first in ((146, 0), (292, 10))
    ]
    path = tmp_path / "joined.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    clip = read_clip(path, Sampling(20))
    assert clip.frames.shape == (20, 38, 146, 3)
    assert numbers(clip)[:10] == list(range(10))
    assert "frames of 2 sizes: all were scaled to the size of the first used" in clip.notes


def test_pixels_that_are_not_square_are_said(tmp_path: Path) -> None:
    def setup(stream: Any) -> None:
        stream.sample_aspect_ratio = 2

    path = write_film(tmp_path / "wide.mkv", 5, setup=setup)
    assert read_clip(path, Sampling(5)).notes == ("pixels are not square (2:1): used as stored",)


def test_two_runs_are_identical(b_frames: Path) -> None:
    first, second = (read_clip(b_frames, Sampling(16)) for _ in range(2))
    assert torch.equal(first.frames, second.frames)
    assert first.timestamps_seconds == second.timestamps_seconds


@pytest.mark.parametrize("name", ["max_seconds", "time_limit_seconds"])
@pytest.mark.parametrize("value", [0, -1.0, float("nan")])
def test_limits_must_be_above_zero(name: str, value: float, b_frames: Path) -> None:
    with pytest.raises(ValueError, match=f"{name} must be above 0 seconds, got"):
        read_clip(b_frames, Sampling(4), **{name: value})


def test_infinite_limits_are_no_limits(b_frames: Path) -> None:
    forever = float("inf")
    clip = read_clip(b_frames, Sampling(1), max_seconds=forever, time_limit_seconds=forever)
    assert numbers(clip) == [19]
    assert clip.notes == ()


def test_a_cut_without_any_clock_is_refused(tmp_path: Path, monkeypatch: Any) -> None:
    path = write_film(tmp_path / "raw.h264", 5, file_format="h264")
    import vidtldr.video.decode as decode

    def without_rate(*arguments: Any) -> Any:
        from dataclasses import replace

        return replace(scan(*arguments), average_rate=None, packet_pts=(None,) * 5)

    scan = decode.scan_packets
    monkeypatch.setattr(decode, "scan_packets", without_rate)
    with pytest.raises(VideoError, match="neither timestamps nor a frame rate"):
        read_clip(path, Sampling(4), max_seconds=1)


def tagged(**values: int) -> Any:
    def setup(stream: Any) -> None:
        for name, value in values.items():
            setattr(stream.codec_context, name, value)

    return setup


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
def test_hdr_is_said(transfer: int, name: str, tmp_path: Path) -> None:
    tags = tagged(color_trc=transfer, color_primaries=9, colorspace=9)
    path = write_film(tmp_path / "hdr.mp4", 5, pix_fmt="yuv420p10le", setup=tags)
    assert read_clip(path, Sampling(5)).notes == (
        f"HDR ({name}): used without tone mapping, so its contrast and colours are weaker than on "
        "a screen",
    )


def test_interlaced_frames_are_said(tmp_path: Path) -> None:
    options = {"x264-params": "tff=1:interlaced=1"}
    path = write_film(tmp_path / "fields.mp4", 5, options=options, size=(146, 64))
    assert read_clip(path, Sampling(5)).notes == (
        "interlaced: used without deinterlacing, so moving edges may look like combs",
    )


def test_transparency_is_said_where_there_is_any(tmp_path: Path) -> None:
    for name, alpha, notes in (
        ("clear.mov", 100, 1),
        ("opaque.mov", 255, 0),
    ):
        path = tmp_path / name
        with av.open(str(path), "w") as out:
            stream = out.add_stream("png", rate=10)
            stream.width, stream.height, stream.pix_fmt = 32, 24, "rgba"
            for number in range(4):
                pixels = np.full((24, 32, 4), 60 * number, np.uint8)
                pixels[..., 3] = alpha
                out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgba")))
            out.mux(stream.encode(None))
        found = read_clip(path, Sampling(4)).notes
        said = ("partly transparent: the colours stored under the transparency were used",)
        assert found == said[:notes]
