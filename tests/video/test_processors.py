"""`VideoTransform.from_pretrained` against the processors of transformers.

Those on Pillow run everywhere. Those on torchvision carry the marker `timm`: its environment is the
one with torchvision.
"""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from vidtldr.video.processor_config import PROCESSORS
from vidtldr.video.transform import VideoTransform

_SIZES = [(240, 320), (320, 240), (97, 301), (224, 224), (300, 300)]
_CONFIGS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "an int": {"size": 80, "crop_size": 64},
    "a square": {"size": {"height": 64, "width": 72}, "crop_size": {"height": 60, "width": 50}},
    "a list": {"size": [64, 72], "do_center_crop": False},
    "bicubic": {"size": {"shortest_edge": 70}, "crop_size": [63, 61], "resample": 3},
    "nearest": {"size": {"shortest_edge": 70}, "crop_size": 64, "resample": 0},
    "no resize": {"do_resize": False, "crop_size": {"height": 90, "width": 91}},
    "no normalise": {"size": 64, "crop_size": 64, "do_normalize": False},
    "imagenet": {
        "size": 64,
        "crop_size": 64,
        "rescale_factor": 0.00392156862745098,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
    },
    "one number": {"size": 64, "crop_size": 64, "image_mean": 0.4, "image_std": 0.3},
}


VIDEOS = "pixel_values_videos"


def save(folder: Path, config: dict[str, Any], name: str = "preprocessor_config.json") -> Path:
    (folder / name).write_text(json.dumps(config))
    return folder


def noise(height: int, width: int) -> Tensor:
    return torch.randint(0, 256, (2, height, width, 3), dtype=torch.uint8)


def expected_input(processor: Any, frames: Tensor) -> Tensor:
    listed = [np.asarray(frame) for frame in frames.numpy()]
    found = processor(listed, return_tensors="pt")
    values = torch.as_tensor(found["pixel_values" if "pixel_values" in found else VIDEOS]).float()
    return values[0] if values.ndim == 5 else values


@pytest.mark.parametrize("size", _SIZES)
@pytest.mark.parametrize("config", _CONFIGS.values(), ids=_CONFIGS)
@pytest.mark.parametrize(
    "name",
    [
        "VideoMAEImageProcessorPil",
        "VivitImageProcessor",
        "CLIPImageProcessorPil",
        "BitImageProcessorPil",
        "SiglipImageProcessorPil",
        "ViTImageProcessorPil",
        "DeiTImageProcessorPil",
    ],
)
def test_pillow_processors_are_followed_bit_for_bit(
    name: str, config: dict[str, Any], size: tuple[int, int], tmp_path: Path
) -> None:
    import transformers

    frames = noise(*size)
    transform = VideoTransform.from_pretrained(
        save(tmp_path, {"image_processor_type": name, **config})
    )
    assert transform.backend == "pillow"
    processor = getattr(transformers, name)(**config)
    assert torch.equal(transform(frames), expected_input(processor, frames))


def test_vivit_without_offset_is_followed(tmp_path: Path) -> None:
    import transformers

    config = {"offset": False, "size": 64, "crop_size": 64}
    transform = VideoTransform.from_pretrained(
        save(tmp_path, {"image_processor_type": "VivitImageProcessor", **config})
    )
    frames = noise(90, 120)
    processor = transformers.VivitImageProcessor(**config)
    assert torch.equal(transform(frames), expected_input(processor, frames))


@pytest.mark.timm
@pytest.mark.parametrize("size", _SIZES)
@pytest.mark.parametrize("config", _CONFIGS.values(), ids=_CONFIGS)
@pytest.mark.parametrize(
    "name",
    [
        "VideoMAEImageProcessor",
        "VideoMAEVideoProcessor",
        "VivitVideoProcessor",
        "CLIPImageProcessor",
        "BitImageProcessor",
        "SiglipImageProcessor",
        "ViTImageProcessor",
        "DeiTImageProcessor",
        "VJEPA2VideoProcessor",
        "LlavaNextVideoVideoProcessor",
        "VideoLlavaVideoProcessor",
        "LlavaOnevisionVideoProcessor",
        "InternVLVideoProcessor",
    ],
)
def test_torchvision_processors_are_followed_bit_for_bit(
    name: str, config: dict[str, Any], size: tuple[int, int], tmp_path: Path
) -> None:
    pytest.importorskip("torchvision", reason="needs the environment of `make test-timm`")
    import transformers

    if name == "VJEPA2VideoProcessor" and isinstance(config.get("crop_size"), list):
        pytest.skip("its class takes no list")
    frames = noise(*size)
    transform = VideoTransform.from_pretrained(
        save(tmp_path, {"video_processor_type": name, **config})
    )
    assert transform.backend == "torch"
    processor = getattr(transformers, name)(**config)
    assert torch.equal(transform(frames), expected_input(processor, frames))


@pytest.mark.timm
@pytest.mark.parametrize("size", _SIZES)
def test_dinov3_is_followed_to_one_level(size: tuple[int, int], tmp_path: Path) -> None:
    pytest.importorskip("torchvision", reason="needs the environment of `make test-timm`")
    import transformers

    frames = noise(*size)
    transform = VideoTransform.from_pretrained(
        save(tmp_path, {"image_processor_type": "DINOv3ViTImageProcessorFast"})
    )
    found = transform(frames) - expected_input(transformers.DINOv3ViTImageProcessor(), frames)
    # Bytes are rounded after each of two passes, floats never.
    assert found.abs().max() < 1.05 / 255 / 0.224


@pytest.mark.parametrize("name", PROCESSORS)
def test_every_known_class_is_read_without_a_key(name: str, tmp_path: Path) -> None:
    transform = VideoTransform.from_pretrained(save(tmp_path, {"feature_extractor_type": name}))
    is_on_pillow = name.endswith("Pil") or name in _ON_PILLOW
    assert transform.backend == ("pillow" if is_on_pillow else "torch")
    side = _SIDES.get(re.split("Image|Video|Feature", name)[0], 224)
    assert transform.fixed_size == (side, side)


_SIDES = {"VJEPA2": 256, "LlavaOnevision": 384, "InternVL": 384}
_ON_PILLOW = {"VivitFeatureExtractor", "VivitImageProcessor", "VivitImageProcessorFast"}


@pytest.mark.parametrize("part", ["image_processor", "video_processor"])
def test_a_file_of_all_parts_is_read(part: str, tmp_path: Path) -> None:
    own = {"image_processor_type": "SiglipImageProcessor", "size": {"height": 40, "width": 40}}
    save(tmp_path, {"processor_class": "SiglipProcessor", part: own}, "processor_config.json")
    assert VideoTransform.from_pretrained(tmp_path).resize == (40, 40)


def test_the_video_file_is_preferred(tmp_path: Path) -> None:
    save(tmp_path, {"image_processor_type": "VivitImageProcessor"})
    save(
        tmp_path,
        {"video_processor_type": "VideoMAEVideoProcessor", "size": 99},
        "video_preprocessor_config.json",
    )
    with pytest.raises(ValueError, match="crop"):
        VideoTransform.from_pretrained(tmp_path)(noise(120, 120))


def test_the_file_of_a_published_videomae_is_read(tmp_path: Path) -> None:
    published = {
        "crop_size": {"height": 224, "width": 224},
        "do_center_crop": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "feature_extractor_type": "VideoMAEFeatureExtractor",
        "image_mean": [0.485, 0.456, 0.406],
        "image_processor_type": "VideoMAEImageProcessor",
        "image_std": [0.229, 0.224, 0.225],
        "resample": 2,
        "rescale_factor": 0.00392156862745098,
        "size": {"shortest_edge": 224},
    }
    assert VideoTransform.from_pretrained(save(tmp_path, published)) == VideoTransform(
        resize=224,
        crop=(224, 224),
        rescale_factor=0.00392156862745098,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    )


@pytest.mark.parametrize("name", ["VideoMAEImageProcessor", "VivitVideoProcessor"])
def test_nulls_are_the_defaults_of_the_class(name: str, tmp_path: Path) -> None:
    keys = ("do_resize", "size", "resample", "image_mean", "rescale_factor", "do_pad")
    plain = VideoTransform.from_pretrained(save(tmp_path, {"image_processor_type": name}))
    nulls = save(tmp_path, {"image_processor_type": name, **dict.fromkeys(keys)})
    assert VideoTransform.from_pretrained(nulls) == plain


def test_switches_turn_steps_off(tmp_path: Path) -> None:
    off = dict.fromkeys(("do_resize", "do_center_crop", "do_rescale", "do_normalize"), False)
    config = {"video_processor_type": "VivitVideoProcessor", **off}
    assert VideoTransform.from_pretrained(save(tmp_path, config)) == VideoTransform(
        rescale_factor=None
    )


_VIDEOMAE = {"image_processor_type": "VideoMAEImageProcessor"}
_VIVIT = {"image_processor_type": "VivitImageProcessor"}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "the processor class must be that of a known family (VideoMAE, Vivit, CLIP, Bit, "),
        ({"image_processor_type": "ChineseCLIPImageProcessor"}, "got 'ChineseCLIPImageProcessor'"),
        ({**_VIDEOMAE, "resample": 1}, "resample must be one of 0 (nearest), 2 (bilinear), 3"),
        ({**_VIDEOMAE, "resample": True}, "resample must be one of"),
        ({**_VIDEOMAE, "do_pad": True}, "got do_pad"),
        ({**_VIDEOMAE, "do_flip_channel_order": True}, "got do_flip_channel_order"),
        ({**_VIDEOMAE, "offset": True}, "got offset"),
        ({**_VIDEOMAE, "size": {"longest_edge": 9}}, "size must be an int, [height, width] or"),
        ({**_VIDEOMAE, "size": {"shortest_edge": 9, "longest_edge": 99}}, "size must be an int"),
        ({**_VIDEOMAE, "crop_size": {"shortest_edge": 9}}, "crop_size must be an int"),
        ({**_VIDEOMAE, "size": "224"}, "size must be an int"),
        ({**_VIDEOMAE, "size": {"shortest_edge": "9"}}, "resize must be an int or"),
        ({**_VIVIT, "resample": None}, "resample must have a value, got null"),
        ({**_VIVIT, "do_rescale": False}, "rescale_offset must be False without rescale_factor"),
    ],
)
def test_what_is_not_known_is_refused(config: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        VideoTransform.from_pretrained(save(tmp_path, config))
    assert message in str(caught.value)


def test_a_size_smaller_than_the_crop_is_refused_not_padded(tmp_path: Path) -> None:
    transform = VideoTransform.from_pretrained(save(tmp_path, {**_VIDEOMAE, "size": 200}))
    with pytest.raises(ValueError, match="padding is not done"):
        transform(noise(240, 240))


@pytest.mark.parametrize("text", ["{", "[1]"])
def test_a_file_that_is_no_json_object_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(text)
    with pytest.raises(ValueError, match=r"preprocessor_config.json' must"):
        VideoTransform.from_pretrained(tmp_path)


def test_a_folder_without_a_processor_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError,
        match=r"directory must hold .* or processor_config\.json, got",
    ):
        VideoTransform.from_pretrained(tmp_path)
