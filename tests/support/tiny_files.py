"""Small videos and model directories, written to disk as a user has them."""

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
from support.tiny_models import videomae, vivit
from torch import nn

VIDEOMAE_PROCESSOR = {
    "image_processor_type": "VideoMAEImageProcessor",
    "size": {"shortest_edge": 32},
    "crop_size": {"height": 32, "width": 32},
}
VIVIT_PROCESSOR = {
    "image_processor_type": "VivitImageProcessor",
    "size": {"shortest_edge": 36},
    "crop_size": {"height": 32, "width": 32},
}


def write_video(path: Path, num_frames: int = 12, width: int = 64, height: int = 48) -> Path:
    """H.264 with a square that moves over noise."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for t in range(num_frames):
            picture = rng.integers(0, 90, (height, width, 3), dtype=np.uint8)
            picture[8:24, 3 * t : 3 * t + 16] = (240, 200, 40)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def write_model(directory: Path, model: nn.Module, processor: dict[str, Any]) -> Path:
    """What `save_pretrained` writes, and the preprocessor config beside it."""
    model.save_pretrained(directory)
    (directory / "preprocessor_config.json").write_text(json.dumps(processor))
    return directory


def write_videomae(directory: Path) -> Path:
    names = {i: f"label {i}" for i in range(7)}
    model = videomae(id2label=names, label2id={name: i for i, name in names.items()})
    return write_model(directory, model, VIDEOMAE_PROCESSOR)


def write_vivit(directory: Path) -> Path:
    return write_model(directory, vivit(), VIVIT_PROCESSOR)
