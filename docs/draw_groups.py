"""Draw the picture of docs/when-it-works.md: what three methods merge in one generated clip.

python docs/draw_groups.py
"""

from dataclasses import replace
from pathlib import Path

from torch import nn

from vidtldr.baselines.schedules import merging, placement
from vidtldr.bench.trained_shapes import load_shapes
from vidtldr.budget.costs import default_layers
from vidtldr.bundled import BUNDLED
from vidtldr.shapes.model import normalise
from vidtldr.shapes.world import ShapesWorld
from vidtldr.video.transform import Region
from vidtldr.visualize.contact_sheet import SheetRow, draw_sheet, layer_rows
from vidtldr.visualize.observe import observe
from vidtldr.visualize.tiles import make_tiles

PICTURE = Path(__file__).with_name("groups.png")
BUDGET, SEED, CLIP = 0.5, 3, 1
TILE, NUM_SHOWN = 180, 4  # pixels; frames


def main() -> None:
    encoder = load_shapes(BUNDLED / "model.safetensors").vision_encoder.eval()
    side = encoder.config.image_size
    frames = ShapesWorld(SEED, "validation", encoder.config.num_frames, side).clips([CLIP]).frames
    tiles = make_tiles(frames[0].permute(0, 2, 3, 1), Region(0, 0, side, side), TILE)
    spread = default_layers(len(encoder.blocks), "ward")
    rows: list[SheetRow] = []
    for name, variant in {
        "vid-TLDR": merging(encoder, BUDGET, placement(0), score="sharpness"),
        "ToMe": merging(encoder, BUDGET, placement(0), score=None, metric="keys"),
        "Default": merging(encoder, BUDGET, spread),
    }.items():
        seen = observe(variant.twin_of(encoder), normalise(frames), nn.Module.__call__)
        first, last = (layer_rows(tiles, seen.layers[at], seen.grid) for at in (0, -1))
        layers = f"layers {spread[0]} to {spread[-1]}" if name == "Default" else "layers 0 to 2"
        title = f"{name}, {layers}: {seen.grid.num_patches} patches in {seen.num_tokens[-1]} tokens"
        if not rows:
            rows += first[:2]  # the frames and their saliency by vid-TLDR
        rows.append(replace(last[-1], title=title))
    shown = [replace(row, pictures=row.pictures[:NUM_SHOWN]) for row in rows]
    heading = f"Merged groups at {BUDGET:g} of the FLOPs (hatched: dropped)"
    sheet = draw_sheet(heading, shown, [None] * NUM_SHOWN)
    sheet.quantize(128).save(PICTURE, optimize=True)


if __name__ == "__main__":
    main()
