"""Trace and draw: see which tokens merge in each layer.

Patches the bundled shapes model, runs one generated clip through it and draws the merged tokens.
Nothing is downloaded.

    python examples/02_trace_and_draw.py [FOLDER]

Writes FOLDER/merged.png. FOLDER is demo/ by default.
"""

import sys
from pathlib import Path

import torch

import vidtldr
from vidtldr.bundled import BUNDLED, bundled_merge
from vidtldr.models.umt import load_umt
from vidtldr.shapes.language import caption
from vidtldr.shapes.model import normalise
from vidtldr.shapes.world import ShapesWorld
from vidtldr.video.transform import Region
from vidtldr.visualize.contact_sheet import draw_sheet, layer_rows
from vidtldr.visualize.merged_layer import merged_layers
from vidtldr.visualize.patch_grid import find_patch_grid
from vidtldr.visualize.tiles import make_tiles

CLIP = 3
TILE_PIXELS = 192


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    model = load_umt(BUNDLED)
    clip = ShapesWorld(split="test").clips([CLIP])
    pixel_values = normalise(clip.frames)  # (1, T, 3, S, S)
    text = caption(clip.factors.rows()[0])
    print(f"Clip {CLIP}: {text}.")

    # vid-TLDR's score, which drops background; by default tokens merge by similarity alone.
    vidtldr.apply_patch(model, bundled_merge().choosing(score="sharpness"))
    with torch.inference_mode(), vidtldr.trace(model) as trace:
        model.encode_video(pixel_values)

    print(f"Tokens before the first layer: {trace.source.shape[1]}")
    for layer, num_tokens in enumerate(trace.num_tokens):
        print(f"Tokens after layer {layer}: {num_tokens}")

    # Generated clips come with true masks, so we can check what was dropped.
    is_object = clip.foreground_patches(model.config.patch_size)
    is_dropped = trace.source_weight == 0
    print(f"Dropped: {is_dropped[is_object].float().mean():.0%} of the patches on an object")
    print(f"Dropped: {is_dropped[~is_object].float().mean():.0%} of the background patches")

    grid = find_patch_grid(model, pixel_values)
    last = merged_layers(trace, grid)[-1]
    side = clip.frames.shape[-1]
    frames = clip.frames[0].permute(0, 2, 3, 1)  # (T, S, S, 3)
    tiles = make_tiles(frames, Region(0, 0, side, side), TILE_PIXELS)
    sheet = draw_sheet(text, layer_rows(tiles, last, grid), [None] * len(tiles))
    sheet.save(folder / "merged.png", dpi=sheet.info["dpi"])
    print(f"Wrote {folder / 'merged.png'}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
