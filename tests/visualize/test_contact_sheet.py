"""The sheet against a picture of it that was looked at and found right."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.scenes import Scene
from support.tiny_models import TRANSFORMERS

from vidtldr.video.transform import Region
from vidtldr.visualize.contact_sheet import SheetRow, draw_sheet, feature_rows, layer_rows
from vidtldr.visualize.tiles import make_tiles

GOLDEN = Path(__file__).with_name("golden-contact-sheet.png")
TILE, NUM_ROWS, NUM_COLUMNS = (90, 120), 4, 6


def sheet_of(scene: Scene) -> Image.Image:
    tiles = make_tiles(scene.frames, Region(0, 0, 60, 80), 120)
    report = scene.report()
    rows = layer_rows(tiles, report.merged.layers[1], report.grid)
    return draw_sheet("clip.mp4: vid-TLDR", rows, report.times_seconds)


@pytest.mark.skipif(TRANSFORMERS < (5, 18), reason="older transformers draws other weights")
def test_the_sheet_is_the_one_that_was_looked_at(scene: Scene) -> None:
    found = np.asarray(sheet_of(scene)).astype(int)
    golden = np.asarray(Image.open(GOLDEN).convert("RGB")).astype(int)
    assert found.shape == golden.shape
    distance = np.abs(found - golden).max(axis=-1)
    assert (distance > 24).mean() < 0.01, "letters may be drawn a little differently, no more"
    assert far_tiles(found, golden) == []


def test_one_patch_of_other_colours_would_be_seen(scene: Scene) -> None:
    golden = np.asarray(Image.open(GOLDEN).convert("RGB")).astype(int)
    for row, column in np.ndindex(NUM_ROWS, NUM_COLUMNS):
        spoilt = golden.copy()
        height, width = TILE[0] // 4, TILE[1] // 4
        patch = tile_at(spoilt, row, column)[height : 2 * height, width : 2 * width]
        patch[:] = 255 - patch
        assert far_tiles(spoilt, golden) == [(row, column)]


def far_tiles(found: np.ndarray, golden: np.ndarray) -> list[tuple[int, int]]:
    """Row and column of each picture that is not the golden one; scaling may round otherwise."""
    return [
        (row, column)
        for row, column in np.ndindex(NUM_ROWS, NUM_COLUMNS)
        if np.abs(tile_at(found, row, column) - tile_at(golden, row, column)).mean() > 0.5
    ]


def tile_at(sheet: np.ndarray, row: int, column: int) -> np.ndarray:
    """A picture of the sheet: below 76 pixels of heading, under the 20 of its row's title."""
    top, left = 76 + row * (TILE[0] + 28) + 20, 24 + column * (TILE[1] + 8)
    return sheet[top : top + TILE[0], left : left + TILE[1]]


def test_the_tiles_of_the_golden_sheet_are_where_they_are_looked_for(scene: Scene) -> None:
    golden = np.asarray(Image.open(GOLDEN).convert("RGB")).astype(int)
    tiles = make_tiles(scene.frames, Region(0, 0, 60, 80), 120)
    for column, tile in enumerate(tiles):
        assert np.abs(tile_at(golden, 0, column) - tile).mean() < 0.5


def test_there_is_a_column_a_frame_and_a_row_a_thing(scene: Scene) -> None:
    report = scene.report()
    rows = layer_rows(report.tiles, report.merged.layers[0], report.grid)
    assert [len(row.pictures) for row in rows] == [6] * 4
    assert "48 patches in 32 tokens" in rows[-1].title
    assert [row.has_scale for row in rows] == [False, True, False, False]
    without_score = layer_rows(report.tiles, report.rival.layers[0], report.grid)
    assert len(without_score) == 2


def test_both_frames_of_a_tubelet_show_the_same_features(scene: Scene) -> None:
    report = scene.report()
    rows = feature_rows(report.tiles, *report.features, report.grid)
    for row in rows[1:]:
        assert (row.pictures[0] == row.pictures[1]).all()
        assert (row.pictures[1] != row.pictures[2]).any()
    first = rows[1].pictures[0]
    assert first[0, 0].tolist() == report.features[0][0].tolist()
    assert first[-1, -1].tolist() == report.features[0][15].tolist()


def test_it_is_made_for_print(scene: Scene, tmp_path: Path) -> None:
    sheet = sheet_of(scene)
    sheet.save(tmp_path / "sheet.png", dpi=sheet.info["dpi"])
    with Image.open(tmp_path / "sheet.png") as saved:
        assert saved.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    assert sheet.getpixel((0, 0)) == (255, 255, 255)


def test_a_letter_that_the_font_lacks_is_spelled_out(scene: Scene) -> None:
    report = scene.report()
    rows = [SheetRow("plain", report.tiles)]
    sheets = [
        np.asarray(draw_sheet(name, rows, report.times_seconds))
        for name in ("\u732b \u00e9.mp4", "\\u732b \u00e9.mp4", "\u72ac \u00e9.mp4")
    ]
    assert (sheets[0] == sheets[1]).all()
    assert (sheets[0] != sheets[2]).any()


def test_tiles_are_what_the_model_sees(scene: Scene) -> None:
    [tile, *_] = make_tiles(scene.frames, Region(0, 10, 60, 60), 60)
    assert tile.shape == (60, 60, 3)
    assert (tile == scene.frames[0, :, 10:70].numpy()).all()
