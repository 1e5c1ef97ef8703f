"""Read what a Hugging Face processor does to pixels from a model's config files.

Source: transformers 5.23, the processors of VideoMAE and ViViT and their torchvision and Pillow
backends. The classes are only named here, not imported: same pixels without needing torchvision.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

from vidtldr.files import read_json

__all__ = ["PROCESSORS", "read_processor_config"]


class Processor(NamedTuple):
    """Defaults of a processor class, for keys that its file leaves out.

    Attributes:
        backend: Library whose resizing is followed.
        shortest_edge: Length to which the shorter side is resized, in pixels.
        rescale_factor: Factor on the pixel values.
        offset: Whether 1 is subtracted after rescaling: always, never, or as the key `offset` says.
    """

    backend: Literal["torch", "pillow"]
    shortest_edge: int
    rescale_factor: float
    offset: Literal["always", "never", "key"]


_VIDEOMAE = Processor("torch", 224, 1 / 255, "never")
_VIVIT = Processor("pillow", 256, 1 / 127.5, "key")

# transformers maps the old names (...FeatureExtractor, ...Fast) to the class without the suffix.
PROCESSORS: Mapping[str, Processor] = {
    "VideoMAEFeatureExtractor": _VIDEOMAE,
    "VideoMAEImageProcessor": _VIDEOMAE,
    "VideoMAEImageProcessorFast": _VIDEOMAE,
    "VideoMAEImageProcessorPil": _VIDEOMAE._replace(backend="pillow"),
    "VideoMAEVideoProcessor": _VIDEOMAE,
    "VivitFeatureExtractor": _VIVIT,
    "VivitImageProcessor": _VIVIT,
    "VivitImageProcessorFast": _VIVIT,
    "VivitVideoProcessor": Processor("torch", 256, 1 / 127.5, "always"),
}

_FILES = ("video_preprocessor_config.json", "preprocessor_config.json")
_TYPE_KEYS = ("video_processor_type", "image_processor_type", "feature_extractor_type")
_INTERPOLATIONS = {0: "nearest", 2: "bilinear", 3: "bicubic"}
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
        directory: Folder with `video_preprocessor_config.json` or `preprocessor_config.json`; the
            first is preferred.

    Raises:
        FileNotFoundError: If neither file exists.
        ValueError: If the processor class or a key that could change pixels is unknown.
    """
    file = _find(Path(directory))
    config = _load(file)
    try:
        return _arguments(config)
    except ValueError as error:
        raise ValueError(f"{error} It is in {str(file)!r}.") from error


def _find(directory: Path) -> Path:
    for name in _FILES:
        if (directory / name).is_file():
            return directory / name
    raise FileNotFoundError(
        f"directory must hold {' or '.join(_FILES)}, got {str(directory)!r}. "
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
    square = given("default_to_square", False)
    size = given("size", {"shortest_edge": processor.shortest_edge})
    crop = given("crop_size", {"height": 224, "width": 224})
    half = [0.5, 0.5, 0.5]
    return {
        "resize": _size("size", size, square) if resize else None,
        "crop": _size("crop_size", crop, True) if given("do_center_crop", True) else None,
        "interpolation": _interpolation(given("resample", 2)),
        "antialias": True,
        "backend": processor.backend,
        "rescale_factor": given("rescale_factor", processor.rescale_factor) if rescale else None,
        "rescale_offset": offset,
        "mean": _channels(given("image_mean", half)) if normalize else None,
        "std": _channels(given("image_std", half)) if normalize else None,
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
            f"the processor class must be one of {', '.join(PROCESSORS)}, got {name!r}. "
            "Make a VideoTransform by hand for another."
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
    if isinstance(size, list) and len(size) == 2:
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
