"""Videos that were written are decoded again and compared with the file that they were made of."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from support.film import write_film
from visualize.test_merged_layer import layer_by_hand

from vidtldr.video.transform import Region
from vidtldr.visualize.colours import patch_colours
from vidtldr.visualize.overlay import GROUP_ALPHA, Paint
from vidtldr.visualize.overlay_video import clip_painter, nearest_sampled, write_overlay_video
from vidtldr.visualize.patch_grid import PatchGrid

SIZE = (120, 80)


def decoded(path: Path) -> tuple[list[np.ndarray], list[Fraction], tuple]:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        stream = container.streams.video[0]
        first = frames[0].pts
        times = [(frame.pts - first) * stream.time_base for frame in frames]
        facts = (stream.average_rate, stream.width, stream.height, stream.codec.name)
        return [frame.to_ndarray(format="rgb24") for frame in frames], times, facts


def whole(height: int, width: int) -> Region:
    return Region(0, 0, height, width)


def painter(seen=whole):
    return clip_painter(layer_by_hand(), PatchGrid(1, 2, 3), seen)


def numbered_painter(size):
    """Frame k of those sampled is painted in one flat grey of its own."""
    alpha = np.full(size, 255, np.uint8)
    return lambda slot: [Paint(np.full((*size, 3), 40 * (slot + 1), np.uint8), alpha)]


def test_speed_size_and_length_are_the_clip_s_own(tmp_path: Path) -> None:
    source = write_film(tmp_path / "film.mp4", 21, size=SIZE, rate=12)
    out = tmp_path / "out.mp4"
    assert write_overlay_video(out, str(source), painter(), [10]) == 21
    before, times_before, facts_before = decoded(source)
    after, times, facts = decoded(out)
    assert len(after) == len(before)
    assert times == times_before
    assert facts == facts_before == (12, *SIZE, "h264")


def test_uneven_times_stay_uneven(tmp_path: Path) -> None:
    ticks = [0, 1, 2, 7, 8, 20, 21]
    source = write_film(tmp_path / "film.mp4", 7, size=SIZE, pts=ticks, rate=25)
    write_overlay_video(tmp_path / "out.mp4", str(source), painter(), [3])
    assert (
        decoded(tmp_path / "out.mp4")[1] == decoded(source)[1] == [Fraction(t, 25) for t in ticks]
    )


def test_groups_lie_over_the_picture(tmp_path: Path) -> None:
    source = write_film(tmp_path / "film.mp4", 3, size=SIZE)
    write_overlay_video(tmp_path / "out.mp4", str(source), painter(), [1])
    picture, before = decoded(tmp_path / "out.mp4")[0][1], decoded(source)[0][1]
    colour = patch_colours(PatchGrid(1, 2, 3))[1].astype(float)
    expected = before[20, 60] * (1 - GROUP_ALPHA / 255) + colour * GROUP_ALPHA / 255
    assert np.abs(picture[20, 60] - expected).max() < 60  # saliency is under it, and a codec
    assert np.abs(picture[20, 20].astype(int) - before[20, 20]).max() < 16  # a token of its own
    hatched = picture[45:75, 45:75].astype(int)
    assert hatched.max() - hatched.min() > 100


def test_every_frame_shows_the_nearest_that_was_sampled(tmp_path: Path) -> None:
    source = write_film(tmp_path / "film.mp4", 12, size=SIZE)
    write_overlay_video(tmp_path / "out.mp4", str(source), numbered_painter, [1, 5, 10])
    greys = [round(frame.mean() / 40) - 1 for frame in decoded(tmp_path / "out.mp4")[0]]
    assert greys == [0] * 4 + [1] * 4 + [2] * 4
    assert [nearest_sampled(i, [1, 5, 10]) for i in range(12)] == greys


def test_odd_sides_get_one_line_more(tmp_path: Path) -> None:
    source = write_film(tmp_path / "film.avi", 4, size=(101, 67), codec="ffv1", pix_fmt="bgr0")
    write_overlay_video(tmp_path / "out.mp4", str(source), painter(), [1])
    pictures, _, facts = decoded(tmp_path / "out.mp4")
    assert facts[1:3] == (102, 68)
    assert len(pictures) == 4


def test_a_gif_keeps_the_speed_and_the_size(tmp_path: Path) -> None:
    source = write_film(tmp_path / "film.mp4", 9, size=SIZE, rate=12)
    assert write_overlay_video(tmp_path / "out.gif", str(source), numbered_painter, [4]) == 9
    with Image.open(tmp_path / "out.gif") as gif:
        assert gif.size == SIZE
        durations = []
        for index in range(gif.n_frames):
            gif.seek(index)
            durations.append(gif.info["duration"])
    assert abs(sum(durations) - 9 * 1000 / 12) <= 10
    assert Image.open(tmp_path / "out.gif").info["loop"] == 0


def test_a_gif_of_uneven_times_shows_each_frame_to_the_next(tmp_path: Path) -> None:
    ticks = [0, 1, 2, 7, 8, 20, 21]
    source = write_film(tmp_path / "film.mp4", 7, size=SIZE, pts=ticks, rate=25)
    out = tmp_path / "out.gif"
    write_overlay_video(out, str(source), numbered_painter, range(6))
    assert decoded(out)[1] == [Fraction(tick, 25) for tick in ticks[:6]]


def test_a_gif_does_not_wait_for_the_last_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever Pillow keeps, the frames are not gathered before it."""
    done: list[int] = []
    seen: list[int] = []
    save = Image.Image.save

    def noted(self: Image.Image, *args: object, **options: object) -> None:
        seen.append(len(done))
        save(self, *args, **options)

    monkeypatch.setattr(Image.Image, "save", noted)
    source = write_film(tmp_path / "film.mp4", 9, size=SIZE)
    write_overlay_video(
        tmp_path / "out.gif",
        str(source),
        numbered_painter,
        range(6),
        on_step=lambda: done.append(1),
    )
    assert seen == [1]
    assert len(done) == 9


def test_a_gif_has_every_frame_in_its_place(tmp_path: Path) -> None:
    source = write_film(tmp_path / "film.mp4", 6, size=SIZE)
    out = tmp_path / "out.gif"
    assert write_overlay_video(out, str(source), numbered_painter, range(6)) == 6
    pictures = decoded(out)[0]
    assert len(pictures) == 6  # a GIF's writer may merge equal frames; these differ
    for number, picture in enumerate(pictures):
        assert np.abs(picture.astype(int) - 40 * (number + 1)).max() <= 4  # a palette's rounding


def test_a_gif_has_the_colours_of_the_groups(tmp_path: Path) -> None:
    source = write_film(tmp_path / "film.mp4", 3, size=SIZE)
    for ending in (".gif", ".mp4"):
        write_overlay_video(tmp_path / f"out{ending}", str(source), painter(), [1])
    gif, film = (decoded(tmp_path / f"out{ending}")[0] for ending in (".gif", ".mp4"))
    assert np.abs(gif[1].astype(int) - film[1]).mean() < 16


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"video must end in \.mp4 or \.gif, got '.*out\.webm'"):
        write_overlay_video(tmp_path / "out.webm", "film.mp4", painter(), [0])


@pytest.mark.parametrize("ending", [".mp4", ".gif"])
def test_an_error_of_writing_is_not_blamed_on_the_video(tmp_path: Path, ending: str) -> None:
    source = write_film(tmp_path / "film.mp4", 5, size=SIZE, rate=12)
    with pytest.raises(OSError, match="No such file or directory") as caught:
        write_overlay_video(tmp_path / "gone" / f"out{ending}", str(source), painter(), [2])
    assert str(source) not in str(caught.value)
