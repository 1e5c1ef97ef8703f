"""A contact sheet: one column per frame, one row for each thing shown of it.

Letters: `T` frames of the clip, `h` and `w` a tile.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from vidtldr.visualize.colours import HEAT, patch_colours
from vidtldr.visualize.merged_layer import MergedLayer
from vidtldr.visualize.overlay import (
    Cells,
    background_paint,
    blend,
    groups_paint,
    saliency_paint,
)
from vidtldr.visualize.patch_grid import PatchGrid

__all__ = ["SheetRow", "draw_sheet", "feature_rows", "layer_rows"]

Picture = NDArray[np.uint8]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

DOTS_PER_INCH = 300
_MARGIN, _GAP = 24, 8
_LARGEST_TEXT, _SMALLEST_TEXT, _LETTERS_A_TILE = 20, 9, 10
_IN_NO_FONT = "\uffff"  # no character
_INK, _PAPER = (20, 24, 33), (255, 255, 255)


@dataclass(frozen=True, eq=False)
class SheetRow:
    """One row.

    Attributes:
        title: What it shows, in a few words.
        pictures: One per frame, all of one size.
        has_scale: Whether to draw the saliency scale beside the title.
    """

    title: str
    pictures: Sequence[Picture]
    has_scale: bool = False


def layer_rows(tiles: Sequence[Picture], layer: MergedLayer, grid: PatchGrid) -> list[SheetRow]:
    """Make the rows of one layer: the picture, its saliency, its background, the merged groups.

    Args:
        tiles: T pictures of shape (h, w, 3).
        layer: What merged; without a score, there are no rows for saliency and background.
        grid: Where the patches are.
    """
    cells = Cells(tiles[0].shape[:2], grid.shape[1:])
    colours = patch_colours(grid)
    at = [i // grid.frames_per_token for i in range(len(tiles))]
    rows = [SheetRow("What the model sees", tiles)]
    if layer.saliency is not None:
        heated = [blend(x, saliency_paint(layer, t, cells)) for x, t in zip(tiles, at, strict=True)]
        masked = [
            blend(x, background_paint(layer, t, cells)) for x, t in zip(tiles, at, strict=True)
        ]
        rows.append(SheetRow(f"Saliency in layer {layer.layer}", heated, has_scale=True))
        rows.append(SheetRow("Foreground (outlined) and background (dark)", masked))
    grouped = [
        blend(x, groups_paint(layer, t, cells, colours)) for x, t in zip(tiles, at, strict=True)
    ]
    title = (
        f"Merged groups after layer {layer.layer}: {grid.num_patches} patches in "
        f"{layer.num_tokens} tokens (one colour a token, clear: on its own, hatched: dropped)"
    )
    return [*rows, SheetRow(title, grouped)]


def feature_rows(
    tiles: Sequence[Picture], unmerged: Picture, merged: Picture, grid: PatchGrid
) -> list[SheetRow]:
    """Make rows of features at the full resolution of the patches.

    Args:
        tiles: T pictures of shape (h, w, 3).
        unmerged: Colours of the unmerged model's features, shape (N0, 3).
        merged: Colours of the merged model's features, unmerged to every patch, shape (N0, 3).
        grid: Where the patches are.
    """
    size = (tiles[0].shape[1], tiles[0].shape[0])
    rows = [SheetRow("What the model sees", tiles)]
    for title, colours in (
        ("Features of the last layer, unmerged", unmerged),
        ("Merged, given back to every patch by unmerge_tokens", merged),
    ):
        maps = colours.reshape(*grid.shape, 3)
        pictures = [
            np.asarray(Image.fromarray(maps[i // grid.frames_per_token]).resize(size, 0))
            for i in range(len(tiles))
        ]
        rows.append(SheetRow(title, pictures))
    return rows


def draw_sheet(
    heading: str, rows: Sequence[SheetRow], times_seconds: Sequence[float | None]
) -> Image.Image:
    """Draw rows under a heading on white, for print.

    Args:
        heading: A line at the top.
        rows: At least one; all with the same number and size of pictures.
        times_seconds: The time of each frame, None if unknown; written over its column.

    Returns:
        An RGB picture with its resolution, 300 dots per inch, in `info`.
    """
    height, width = rows[0].pictures[0].shape[:2]
    num_columns = len(rows[0].pictures)
    text = min(max(width // _LETTERS_A_TILE, _SMALLEST_TEXT), _LARGEST_TEXT)
    font, large = ImageFont.load_default(text), ImageFont.load_default(text * 1.3)
    heading = _drawable(heading, large)
    rows = [replace(row, title=_drawable(row.title, font)) for row in rows]
    words = [large.getlength(heading), *(font.getlength(row.title) for row in rows)]
    inner = max(num_columns * (width + _GAP) - _GAP, round(max(words)))
    row_height = height + text + 2 * _GAP
    top = _MARGIN + 3 * text + 2 * _GAP
    sheet = Image.new("RGB", (2 * _MARGIN + inner, top + len(rows) * row_height + _MARGIN), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, _MARGIN), heading, _INK, large)
    for column, seconds in enumerate(times_seconds):
        left = _MARGIN + column * (width + _GAP)
        when = "" if seconds is None else f" · {seconds:.2f} s"
        draw.text((left, top - text - _GAP), f"frame {column}{when}", _INK, font)
    for index, row in enumerate(rows):
        y = top + index * row_height
        draw.text((_MARGIN, y), row.title, _INK, font)
        if row.has_scale:
            _draw_scale(sheet, _MARGIN + round(font.getlength(row.title)), y, text)
        for column, picture in enumerate(row.pictures):
            place = (_MARGIN + column * (width + _GAP), y + text + _GAP)
            sheet.paste(Image.fromarray(picture), place)
    sheet.info["dpi"] = (DOTS_PER_INCH, DOTS_PER_INCH)
    return sheet


def _drawable(words: str, font: Font) -> str:
    """Escape the characters that a font has no glyph for and would draw as a box."""
    box = _picture_of(_IN_NO_FONT, font)
    return "".join(
        letter if _picture_of(letter, font) != box else ascii(letter)[1:-1] for letter in words
    )


def _picture_of(letter: str, font: Font) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(letter)
    return mask.size, bytes(mask)


def _draw_scale(sheet: Image.Image, x: int, y: int, text: int) -> None:
    """Draw the saliency scale, with its end values, after a title that ends at x."""
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(text)
    x, length = x + 2 * _GAP, 8 * text
    draw.text((x, y), "0", _INK, font)
    bar = Image.fromarray(np.repeat(HEAT[None], text - 4, axis=0)).resize((length, text - 4))
    sheet.paste(bar, (x + text, y + 4))
    draw.text((x + text + length + 6, y), "1", _INK, font)
