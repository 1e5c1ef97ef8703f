"""Find photos, videos and the masks that belong to them; does not import torch."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vidtldr.bench.focus_weights import packaged_file
from vidtldr.pipeline.discovery import VIDEO_SUFFIXES, files_below

__all__ = ["BUNDLED_PHOTOS", "PHOTO_SUFFIXES", "PictureFile", "bundled_photos", "find_pictures"]

PHOTO_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
#: Photos inside the package scikit-image that show an object in front of a background.
BUNDLED_PHOTOS = (
    "astronaut.png",
    "camera.png",
    "chelsea.png",
    "clock_motion.png",
    "coffee.png",
    "coins.png",
    "motorcycle_left.png",
    "rocket.jpg",
)


@dataclass(frozen=True)
class PictureFile:
    """A photo, or a video whose frames are the pictures.

    Attributes:
        name: Path relative to the folder that was searched.
        path: The file.
        mask: The file with the true mask; None without one.
    """

    name: str
    path: Path
    mask: Path | None = None

    @property
    def is_video(self) -> bool:
        """Whether frames are read from it."""
        return self.path.suffix.lower() in VIDEO_SUFFIXES


def bundled_photos() -> dict[str, Path]:
    """Find the photos of scikit-image, by name.

    Raises:
        ImportError: If scikit-image is not installed or lacks one of them.
    """
    folder = "skimage/data"
    return {name: packaged_file("scikit-image", f"{folder}/{name}") for name in BUNDLED_PHOTOS}


def find_pictures(photos: Path | None, masks: Path | None) -> list[PictureFile]:
    """Find photos and videos, and the mask of each photo that has one.

    Args:
        photos: A file, or a folder to search recursively; None for scikit-image's photos.
        masks: A folder of masks named as the photos, whatever the ending; None for no masks.

    Raises:
        ValueError: If there are no photos or videos, no photo has a mask, two photos have the same
            mask, or a folder cannot be listed.
        ImportError: If scikit-image's photos are not installed.
    """
    if masks is not None and not masks.is_dir():
        raise ValueError(f"`masks` must be an existing folder, got {str(masks)!r}. Check the path.")
    found = bundled_photos() if photos is None else dict(_below(photos, masks))
    if not found:
        raise ValueError(
            f"`photos` must hold photos or videos, got {str(photos)!r} without any. Names of "
            f"photos end in {', '.join(PHOTO_SUFFIXES)}."
        )
    by_stem = {} if masks is None else _by_stem(masks)
    files = [PictureFile(name, path) for name, path in sorted(found.items())]
    files = [
        file if file.is_video else replace(file, mask=by_stem.get(_stem(file.name)))
        for file in files
    ]
    _validate_masks_differ(files)
    if masks is not None and not any(file.mask for file in files):
        raise ValueError(
            f"`masks` must hold a mask for at least one photo, got {str(masks)!r} without one. "
            "Name each mask as its photo; the ending may differ."
        )
    return files


def _below(photos: Path, masks: Path | None) -> Iterator[tuple[str, Path]]:
    """Yield the name and path of each photo and video, without the masks."""
    if not photos.exists():
        raise ValueError(
            f"`photos` must be an existing folder or file, got {str(photos)!r}. Check the path."
        )
    if masks is not None and os.path.samefile(photos, masks):
        raise ValueError(
            f"`masks` must be another folder than `photos`, got {str(masks)!r} for both. Move the "
            "masks to a folder of their own."
        )
    if photos.is_file():
        yield photos.name, photos
        return
    for path in _files_in(photos, "photos"):
        is_mask = masks is not None and _real(path).is_relative_to(_real(masks))
        if path.suffix.lower() in {*PHOTO_SUFFIXES, *VIDEO_SUFFIXES} and not is_mask:
            yield path.relative_to(photos).as_posix(), path


def _by_stem(masks: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in _files_in(masks, "masks"):
        if path.suffix.lower() in PHOTO_SUFFIXES:
            stem = _stem(path.relative_to(masks).as_posix())
            if stem in found:
                raise ValueError(
                    f"`masks` must hold one mask for each name, got {found[stem].name!r} and "
                    f"{path.name!r}. Remove one."
                )
            found[stem] = path
    return found


def _validate_masks_differ(files: Sequence[PictureFile]) -> None:
    names: dict[Path, str] = {}
    for file in files:
        if file.mask is None:
            continue
        other = names.setdefault(file.mask, file.name)
        if other != file.name:
            raise ValueError(
                f"`photos` must hold one photo for each mask's name, got {other!r} and "
                f"{file.name!r}. Rename one."
            )


def _files_in(folder: Path, argument: str) -> list[Path]:
    def refuse(error: OSError) -> None:
        raise ValueError(
            f"`{argument}` must hold folders that can be listed, got {str(error.filename)!r} "
            f"({error.strerror}). Change its permissions, or move it."
        ) from error

    return sorted(map(Path, files_below(str(folder), refuse, set())))


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))  # unlike `resolve`, it accepts a link to itself


def _stem(name: str) -> str:
    return name.removesuffix(Path(name).suffix)
