"""Read what a Hugging Face processor does to pixels from a model's config files.

Source: transformers 5.23, the processors of the supported families and their torchvision and
Pillow backends. The classes are only named here, not imported: same pixels without needing
torchvision.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

from vidtldr.files import read_json

__all__ = ["PROCESSORS", "read_processor_config"]

Channels = tuple[float, float, float]

_HALF = (0.5, 0.5, 0.5)
_IMAGENET: tuple[Channels, Channels] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_OPENAI: tuple[Channels, Channels] = (
    (0.48145466, 0.4578275, 0.40821073),
    (0.26862954, 0.26130258, 0.27577711),
)
_NEAREST, _BILINEAR, _BICUBIC = 0, 2, 3


class Processor(NamedTuple):
    """Defaults of a processor class, for keys that its file leaves out.

    Attributes:
        backend: Library whose resizing is followed.
        size: What is resized to: length of the shorter side, or (height, width), pixels.
        crop: Side of the centre crop, pixels; None for no crop.
        resample: Filter of the resize, by Pillow's code.
        mean: Subtracted from each channel.
        std: Divides each channel.
        is_square: Whether a size that is one number means a square, not the shorter side.
        rescale_factor: Factor on the pixel values.
        offset: Whether 1 is subtracted after rescaling: always, never, or as the key `offset` says.
        size_over_crop: If given, the shorter side is always this times the crop, rounded down.
    """

    backend: Literal["torch", "pillow"]
    size: int | tuple[int, int]
    crop: int | None = 224
    resample: int = _BILINEAR
    mean: Channels = _HALF
    std: Channels = _HALF
    is_square: bool = False
    rescale_factor: float = 1 / 255
    offset: Literal["always", "never", "key"] = "never"
    size_over_crop: float | None = None


_VIDEOMAE = Processor("torch", 224)
_VIVIT = Processor("pillow", 256, rescale_factor=1 / 127.5, offset="key")
_CLIP = Processor("torch", 224, 224, _BICUBIC, *_OPENAI)
_SIGLIP = Processor("torch", (224, 224), None, _BICUBIC)
_VIT = Processor("torch", (224, 224), None, is_square=True)
_DEIT = Processor("torch", (256, 256), 224, _BICUBIC, is_square=True)
# Its class resizes floats, ours bytes: pixels differ by about one level of 255 at most.
_DINOV3 = Processor("torch", (224, 224), None, _BILINEAR, *_IMAGENET, is_square=True)
_ONEVISION = Processor("torch", (384, 384), None, _BICUBIC, *_OPENAI)  # of videos
_VJEPA2 = Processor("torch", 292, 256, _BILINEAR, *_IMAGENET, size_over_crop=256 / 224)


def _with_old_names(name: str, processor: Processor) -> dict[str, Processor]:
    """The class with the names that transformers has had for it."""
    return {
        f"{name}FeatureExtractor": processor,
        f"{name}ImageProcessor": processor,
        f"{name}ImageProcessorFast": processor,
        f"{name}ImageProcessorPil": processor._replace(backend="pillow"),
    }


# transformers maps the old names (...FeatureExtractor, ...Fast) to the class without the suffix.
PROCESSORS: Mapping[str, Processor] = {
    **_with_old_names("VideoMAE", _VIDEOMAE),
    "VideoMAEVideoProcessor": _VIDEOMAE,
    "VivitFeatureExtractor": _VIVIT,
    "VivitImageProcessor": _VIVIT,
    "VivitImageProcessorFast": _VIVIT,
    "VivitVideoProcessor": Processor("torch", 256, rescale_factor=1 / 127.5, offset="always"),
    **_with_old_names("CLIP", _CLIP),
    **_with_old_names("Bit", _CLIP),
    **_with_old_names("Siglip", _SIGLIP),
    **_with_old_names("ViT", _VIT),
    **_with_old_names("DeiT", _DEIT),
    "DINOv3ViTImageProcessor": _DINOV3,
    "DINOv3ViTImageProcessorFast": _DINOV3,
    "VJEPA2VideoProcessor": _VJEPA2,
    "LlavaNextVideoVideoProcessor": _CLIP,
    "VideoLlavaVideoProcessor": _CLIP,
    "LlavaOnevisionVideoProcessor": _ONEVISION,
    "InternVLVideoProcessor": _ONEVISION._replace(is_square=True),
}

_FAMILIES = list(
    dict.fromkeys(re.split("Feature|Image|Video(?=P)", name)[0] for name in PROCESSORS)
)

_FILES = ("video_preprocessor_config.json", "preprocessor_config.json")
# Processors of texts and pixels together are saved in one file, one key for each part.
_FILE_OF_PARTS = "processor_config.json"
_PARTS = ("video_processor", "image_processor")
_TYPE_KEYS = ("video_processor_type", "image_processor_type", "feature_extractor_type")
_INTERPOLATIONS = {_NEAREST: "nearest", _BILINEAR: "bilinear", _BICUBIC: "bicubic"}
_PIXEL_KEYS = {
    "crop_size",
    "default_to_square",
    "do_center_crop",
    "do_normalize",
    "do_rescale",
    "do_resize",
    "image_mean",
    "image_std",
    "offset",
    "resample",
    "rescale_factor",
    "size",
}
# These affect frames, layouts or code, not pixel values; `do_convert_rgb` is a no-op on RGB.
_OTHER_KEYS = {
    "_processor_class",
    "_valid_processor_keys",
    "auto_map",
    "data_format",
    "device",
    "disable_grouping",
    "do_convert_rgb",
    "do_sample_frames",
    "fps",
    "initial_shift",
    "input_data_format",
    "model_input_names",
    "num_frames",
    "pad_size",
    "processor_class",
    "return_metadata",
    "return_tensors",
    "video_metadata",
    *_TYPE_KEYS,
}


def read_processor_config(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """Turn a model directory's processor file into arguments of `VideoTransform`.

    Args:
        directory: Folder with `video_preprocessor_config.json`, `preprocessor_config.json` or
            `processor_config.json`; the first that is there is read.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If the processor class or a key that could change pixels is unknown.
    """
    file, config = _find(Path(directory))
    try:
        return _arguments(config)
    except ValueError as error:
        raise ValueError(f"{error} It is in {str(file)!r}.") from error


def _find(directory: Path) -> tuple[Path, dict[str, Any]]:
    for name in _FILES:
        if (directory / name).is_file():
            return directory / name, _load(directory / name)
    file = directory / _FILE_OF_PARTS
    parts = _load(file) if file.is_file() else {}
    for key in _PARTS:
        if isinstance(parts.get(key), dict):
            return file, parts[key]
    raise FileNotFoundError(
        f"directory must hold {', '.join(_FILES)} or {_FILE_OF_PARTS}, got {str(directory)!r}. "
        "Copy the file from the model's page, or make a VideoTransform by hand."
    )


def _load(file: Path) -> dict[str, Any]:
    try:
        config = read_json(file)
    except ValueError as error:
        raise ValueError(f"{str(file)!r} must be JSON, got: {error}. Copy it again.") from error
    if not isinstance(config, dict):
        raise ValueError(f"{str(file)!r} must hold a JSON object, got {config!r}. Copy it again.")
    return config


def _arguments(config: dict[str, Any]) -> dict[str, Any]:
    processor = _processor(config)
    _validate_keys(config, processor)
    given = _Given(config, nulls_are_defaults=processor.offset != "key")
    resize = given("do_resize", True)
    rescale = given("do_rescale", True)
    normalize = given("do_normalize", True)
    offset = processor.offset == "always" and rescale
    if processor.offset == "key":
        offset = given("offset", True)
    square = given("default_to_square", processor.is_square)
    size = _size("size", given("size", processor.size), square)
    crop = _size("crop_size", given("crop_size", processor.crop or 224), True)
    if processor.size_over_crop is not None:
        assert isinstance(crop, tuple)
        size = int(crop[0] * processor.size_over_crop)
    return {
        "resize": size if resize else None,
        "crop": crop if given("do_center_crop", processor.crop is not None) else None,
        "interpolation": _interpolation(given("resample", processor.resample)),
        "antialias": True,
        "backend": processor.backend,
        "rescale_factor": given("rescale_factor", processor.rescale_factor) if rescale else None,
        "rescale_offset": offset,
        "mean": _channels(given("image_mean", processor.mean)) if normalize else None,
        "std": _channels(given("image_std", processor.std)) if normalize else None,
    }


class _Given:
    """Looks up a key, with the class's default if the file has none."""

    def __init__(self, config: dict[str, Any], nulls_are_defaults: bool) -> None:
        self._config, self._nulls_are_defaults = config, nulls_are_defaults

    def __call__(self, key: str, default: Any) -> Any:
        value = self._config.get(key, default)
        if value is not None:
            return value
        if not self._nulls_are_defaults and key not in (
            "size",
            "crop_size",
            "image_mean",
            "image_std",
        ):
            raise ValueError(f"{key} must have a value, got null. Write one, or drop the key.")
        return default


def _processor(config: dict[str, Any]) -> Processor:
    name = str(next((config[key] for key in _TYPE_KEYS if config.get(key)), None))
    if name not in PROCESSORS:
        raise ValueError(
            f"the processor class must be that of a known family ({', '.join(_FAMILIES)}), got "
            f"{name!r}. Make a VideoTransform by hand for another."
        )
    return PROCESSORS[name]


def _validate_keys(config: dict[str, Any], processor: Processor) -> None:
    known = _PIXEL_KEYS | _OTHER_KEYS
    if processor.offset == "never":
        known = known - {"offset"}
    unknown = sorted(key for key, value in config.items() if key not in known and value)
    if unknown:
        raise ValueError(
            f"keys that may change pixels must be among {', '.join(sorted(_PIXEL_KEYS))}, got "
            f"{', '.join(unknown)}. Drop them if they change nothing."
        )


def _size(key: str, size: Any, square: bool) -> int | tuple[int, int]:
    """Parse a size given as an int, a list or a dictionary, as transformers does."""
    if isinstance(size, int) and not isinstance(size, bool):
        return (size, size) if square else size
    if isinstance(size, list | tuple) and len(size) == 2:
        return (size[0], size[1])
    if isinstance(size, dict):
        size = {name: value for name, value in size.items() if value is not None}
        if size.keys() == {"height", "width"}:
            return (size["height"], size["width"])
        if size.keys() == {"shortest_edge"} and key == "size":
            return cast(int, size["shortest_edge"])
    shapes = "an int, [height, width] or {height, width}"
    raise ValueError(
        f"{key} must be {shapes}{' or {shortest_edge}' if key == 'size' else ''}, got {size!r}. "
        "Write one of these."
    )


def _interpolation(resample: Any) -> str:
    if isinstance(resample, bool) or resample not in _INTERPOLATIONS:
        codes = ", ".join(f"{code} ({name})" for code, name in _INTERPOLATIONS.items())
        raise ValueError(f"resample must be one of {codes}, got {resample!r}. Use one of these.")
    return _INTERPOLATIONS[resample]


def _channels(values: Any) -> Any:
    return tuple(values) if isinstance(values, list) else values
