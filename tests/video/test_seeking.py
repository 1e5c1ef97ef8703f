"""Seeking gives what decoding the whole file gives, and decodes less."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import pytest
import torch
from support.film import read_number, write_film

from vidtldr.video.deadline import StopFlag
from vidtldr.video.decode import Clip, VideoError, read_clip
from vidtldr.video.frames import scan_packets
from vidtldr.video.sampling import Sampling
from vidtldr.video.seeking import decode_stretches, plan_stretches
from vidtldr.video.transform import VideoTransform

NUM_FRAMES = 120
GOP = 10
H264 = {"g": str(GOP), "bf": "2", "sc_threshold": "0"}
_UNEVEN = [tick + 5 * (tick // 7) for tick in range(NUM_FRAMES)]

SEEKABLE: dict[str, dict[str, Any]] = {
    "h264.mp4": {"options": H264},
    "h264.mkv": {"options": H264},
    "open_gop.mp4": {"options": H264 | {"x264-params": "open-gop=1:b-pyramid=normal"}},
    "open_gop.mkv": {"options": H264 | {"x264-params": "open-gop=1:b-pyramid=normal"}},
    "uneven.mp4": {"options": H264, "pts": _UNEVEN},
    "fragmented.mp4": {
        "options": H264,
        "container": {"movflags": "frag_keyframe+empty_moov"},
    },
    "hevc.mp4": {
        "codec": "libx265",
        "options": {"x265-params": f"log-level=none:pools=1:keyint={GOP}:min-keyint={GOP}"},
    },
    "vp9.webm": {
        "codec": "libvpx-vp9",
        "options": {"deadline": "realtime", "cpu-used": "8", "g": str(GOP)},
    },
    "mpeg4.mp4": {"codec": "mpeg4", "options": {"g": str(GOP)}},
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
}
#: Where it depends on the container whether seeking works; it must never matter to the clip.
OTHERS: dict[str, dict[str, Any]] = {
    "h264.ts": {"options": H264},
    "raw.h264": {"options": H264, "file_format": "h264"},
    "mpeg4_b.avi": {"codec": "mpeg4", "options": {"g": str(GOP), "bf": "2"}},
    "intra_refresh.mp4": {"options": {"x264-params": "intra-refresh=1:keyint=10:bframes=0"}},
    "interlaced.mp4": {"options": H264 | {"x264-params": "tff=1:interlaced=1"}, "size": (146, 64)},
    "hevc_open_gop.mp4": {
        "codec": "libx265",
        "options": {
            "x265-params": "log-level=none:pools=1:keyint=12:min-keyint=12:open-gop=1:bframes=3"
        },
    },
    "hevc_open_gop.mkv": {
        "codec": "libx265",
        "options": {
            "x265-params": "log-level=none:pools=1:keyint=12:min-keyint=12:open-gop=1:bframes=3"
        },
    },
    "mpeg2.mkv": {"codec": "mpeg2video", "options": {"bf": "2", "g": str(GOP)}},
    "mpeg2.mpg": {"codec": "mpeg2video", "options": {"bf": "2", "g": str(GOP)}},
    "vp8_hidden.webm": {
        "codec": "libvpx",
        "options": {"auto-alt-ref": "1", "lag-in-frames": "16", "b": "200k", "g": str(GOP)},
    },
    "animation.gif": {"codec": "gif", "pix_fmt": "rgb8"},
    "one_keyframe.mp4": {"options": H264 | {"g": "500"}},
}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("seekable")
    kinds = SEEKABLE | OTHERS
    return {name: write_film(folder / name, NUM_FRAMES, **kinds[name]) for name in kinds}


def assert_same(one: Clip, other: Clip) -> None:
    assert torch.equal(one.frames, other.frames)
    assert one.indices == other.indices
    assert one.timestamps_seconds == other.timestamps_seconds
    assert one.num_frames_in_file == other.num_frames_in_file
    assert one.duration_seconds == other.duration_seconds
    assert (one.codec, one.notes) == (other.codec, other.notes)


@pytest.mark.parametrize("sampling", [Sampling(3), Sampling(5), Sampling(4, "dense", 2)])
@pytest.mark.parametrize("name", [*SEEKABLE, *OTHERS])
def test_the_clip_is_that_of_the_whole_walk(
    films: dict[str, Path], name: str, sampling: Sampling
) -> None:
    assert_same(read_clip(films[name], sampling), read_clip(films[name], sampling, seeks=False))


TRANSFORMS = [
    VideoTransform(resize=(24, 24), interpolation="bicubic", antialias=False, mean=0.5, std=0.5),
    VideoTransform(resize=30, crop=(24, 20)),
    VideoTransform(resize=30, crop=(24, 20), backend="pillow", rescale_offset=True),
    VideoTransform(),
]


@pytest.mark.parametrize("name", [*SEEKABLE, *OTHERS])
def test_resizing_as_frames_are_decoded_changes_no_bit(films: dict[str, Path], name: str) -> None:
    whole = read_clip(films[name], Sampling(4), seeks=False)
    for transform in TRANSFORMS:
        clip = read_clip(films[name], Sampling(4), transform=transform)
        assert torch.equal(transform.normalised(clip.frames), transform(whole.frames))
        assert clip.size == tuple(whole.frames.shape[1:3])
        assert clip.notes == whole.notes


def test_a_picture_smaller_than_the_crop_is_an_error_of_the_file(films: dict[str, Path]) -> None:
    with pytest.raises(VideoError, match="crop must fit into the frame"):
        read_clip(films["h264.mp4"], Sampling(4), transform=VideoTransform(crop=(99, 99)))


@pytest.mark.parametrize("name", SEEKABLE)
def test_every_frame_is_reached_from_its_keyframe_alone(films: dict[str, Path], name: str) -> None:
    scan = scan_packets(str(films[name]), StopFlag())
    for position in range(0, NUM_FRAMES, 7):
        stretches = plan_stretches(scan, [position])
        num_packets = sum(each.last_packet - each.first_packet + 1 for each in stretches)
        assert 0 < num_packets <= 2 * (GOP + 3)  # its group and the last one
        found = decode_stretches(str(films[name]), scan, stretches, [position], StopFlag())
        assert found is not None
        assert found.frames is not None
        assert read_number(found.frames[0]) == position


def test_seconds_are_cut_as_in_the_whole_walk(films: dict[str, Path]) -> None:
    for seconds in (0.5, 2.0):
        one, other = (
            read_clip(films["h264.mp4"], Sampling(4), max_seconds=seconds, seeks=seeks)
            for seeks in (True, False)
        )
        assert_same(one, other)


@pytest.mark.parametrize("name", OTHERS)
def test_the_whole_is_decoded_where_seeking_does_not_pay(films: dict[str, Path], name: str) -> None:
    scan = scan_packets(str(films[name]), StopFlag())
    if name == "one_keyframe.mp4":
        assert plan_stretches(scan, Sampling(3).indices(NUM_FRAMES)) == ()
    scan = scan_packets(str(films["h264.mp4"]), StopFlag())
    assert plan_stretches(scan, range(NUM_FRAMES)) == ()


def damage_packet(path: Path, display_position: int, copy: Path) -> Path:
    """Overwrite the middle of the packet of one frame."""
    with av.open(str(path)) as container:
        packets = [(p.pts, p.pos, p.size) for p in container.demux(video=0) if p.size]
    _, start, size = sorted(packets)[display_position]
    content = bytearray(path.read_bytes())
    content[start + size // 4 : start + size] = b"\xff" * (size - size // 4)
    copy.write_bytes(content)
    return copy


def test_damage_on_the_way_to_a_frame_makes_it_read_everything(
    films: dict[str, Path], tmp_path: Path
) -> None:
    keyframe = 30  # of the group of frame 35, the second that Sampling(5) picks
    damaged = damage_packet(films["h264.mp4"], keyframe, tmp_path / "damaged.mp4")
    one, other = (read_clip(damaged, Sampling(5), seeks=seeks) for seeks in (True, False))
    assert 35 in other.indices
    assert other.notes
    assert_same(one, other)


def test_damage_elsewhere_goes_unseen(films: dict[str, Path], tmp_path: Path) -> None:
    damaged = damage_packet(films["h264.mp4"], 40, tmp_path / "damaged.mp4")
    assert read_clip(damaged, Sampling(5), seeks=False).notes
    assert_same(
        replace(read_clip(damaged, Sampling(5)), path=""),
        replace(read_clip(films["h264.mp4"], Sampling(5), seeks=False), path=""),
    )


def test_a_file_that_ends_early_is_read_whole(films: dict[str, Path], tmp_path: Path) -> None:
    for name in ("h264.mkv", "h264.ts", "fragmented.mp4"):
        content = films[name].read_bytes()
        short = tmp_path / name
        short.write_bytes(content[: len(content) * 3 // 5])
        one, other = (read_clip(short, Sampling(4), seeks=seeks) for seeks in (True, False))
        assert_same(one, other)
