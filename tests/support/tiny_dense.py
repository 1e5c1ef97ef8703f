"""A small model of dense outputs with seeded weights, and photos of discs with their masks."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from support.tiny_encoders import dinov2
from support.tiny_models import spread_out_weights

from vidtldr.bench.dense_model import DenseModel, MapDecoder

SIDE = 40


def tiny_dense_model() -> DenseModel:
    """25 places of 8 x 8 pixels."""
    decoder = spread_out_weights(MapDecoder((48, 8, 6, 4)), seed=1)
    assert isinstance(decoder, MapDecoder)
    with torch.no_grad():  # maps on both sides of one half
        decoder.final_conv.weight *= 30
        decoder.final_conv.bias.add_(0.496).mul_(30)
    return DenseModel(dinov2().dinov2, decoder).eval()


def disc(seed: int, height: int = 60, width: int = 80) -> tuple[np.ndarray, np.ndarray]:
    """A coloured disc over noise, uint8 (H, W, 3), and where it is, bool (H, W)."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    centre = rng.integers(20, 40, 2)
    mask = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < 15**2
    picture = rng.integers(0, 120, (height, width, 3), dtype=np.uint8)
    picture[mask] = rng.integers(130, 255, 3, dtype=np.uint8)
    return picture, mask


def write_photos(folder: Path, num_photos: int = 3) -> Path:
    """Write `photos/disc0.jpg` and on, and their masks as PNG in `masks`."""
    for name in ("photos", "masks"):
        (folder / name).mkdir(parents=True)
    for seed in range(num_photos):
        picture, mask = disc(seed)
        Image.fromarray(picture).save(folder / "photos" / f"disc{seed}.jpg", quality=95)
        Image.fromarray(mask.astype(np.uint8) * 255).save(folder / "masks" / f"disc{seed}.png")
    return folder
