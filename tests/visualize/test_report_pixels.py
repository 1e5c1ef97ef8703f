"""What each picture of the report has inside its patches, to the pixel."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from support.browser import OpenReport, why_not
from support.scenes import Scene
from visualize.test_report_in_browser import look_away, slide

from vidtldr.visualize.colours import BACKGROUND, heat, patch_colours
from vidtldr.visualize.merged_layer import MergedLayer
from vidtldr.visualize.overlay import BACKGROUND_ALPHA, GROUP_ALPHA, SALIENCY_ALPHA
from vidtldr.visualize.report import write_report

WHY_NOT = why_not()
pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))
GRID = (4, 4)
NUM_FRAMES = 3
LAYERS = [0, 1]
ROUNDING = 3  # of alpha in 8 bits and of a browser's blending


@pytest.fixture(scope="module")
def page(
    driver: Any, scene: Scene, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OpenReport]:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(path, scene.report())
    return OpenReport(driver, path, 1440)


def show(page: OpenReport, layer: int, frame: int) -> None:
    """Choose a layer and the first picture of a frame of the grid, with nothing highlighted."""
    slide(page, "layer", layer)
    slide(page, "frame", 2 * frame)
    look_away(page)


def inside(picture: np.ndarray, row: int, column: int) -> np.ndarray:
    """A patch without the lines along its edges, (h, w, 3)."""
    height, width = picture.shape[0] / GRID[0], picture.shape[1] / GRID[1]
    top, left = round(row * height), round(column * width)
    bottom, right = round((row + 1) * height), round((column + 1) * width)
    return picture[top + 6 : bottom - 6, left + 6 : right - 6].astype(int)


def mixed(under: np.ndarray, colour: Any, alpha: int) -> np.ndarray:
    return (under * (255 - alpha) + np.asarray(colour, int) * alpha) / 255


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    assert np.abs(found - expected).max() <= ROUNDING


def check_groups(
    page: OpenReport, canvas: Any, layer: MergedLayer, frame: int, colours: np.ndarray
) -> None:
    """Every patch that shares a token is picture and colour mixed; one of its own is clear."""
    under, found = page.picture_under(canvas, 2 * frame), page.drawn(canvas)
    for row, column in np.ndindex(*GRID):
        at = (frame, row, column)
        if layer.is_dropped[at]:
            continue
        bare = inside(under, row, column)
        colour = colours[layer.first_patch[layer.group[at]]]
        expected = mixed(bare, colour, GROUP_ALPHA) if layer.is_shared[at] else bare
        assert_close(inside(found, row, column), expected)


@pytest.mark.parametrize("number", LAYERS)
def test_groups_are_the_picture_and_their_colour_mixed(
    page: OpenReport, scene: Scene, number: int
) -> None:
    colours = patch_colours(scene.seen["vid-TLDR"].grid)
    layer = scene.seen["vid-TLDR"].layers[number]
    for frame in range(NUM_FRAMES):
        show(page, number, frame)
        canvas = page.find("#stage .panels canvas[data-view=groups]")
        check_groups(page, canvas, layer, frame, colours)


@pytest.mark.parametrize("number", LAYERS)
def test_methods_side_by_side_have_each_its_own_groups(
    page: OpenReport, scene: Scene, number: int
) -> None:
    colours = patch_colours(scene.seen["ToMe"].grid)
    for frame in range(NUM_FRAMES):
        show(page, number, frame)
        for method, name in enumerate(("vid-TLDR", "ToMe")):
            canvas = page.find(f"section[aria-labelledby=rival-title] [data-method='{method}']")
            check_groups(page, canvas, scene.seen[name].layers[number], frame, colours)


@pytest.mark.parametrize("number", LAYERS)
def test_saliency_is_the_picture_and_its_heat_mixed(
    page: OpenReport, scene: Scene, number: int
) -> None:
    layer = scene.seen["vid-TLDR"].layers[number]
    assert layer.saliency is not None
    for frame in range(NUM_FRAMES):
        show(page, number, frame)
        canvas = page.find("#stage .panels canvas[data-view=saliency]")
        under, found = page.picture_under(canvas, 2 * frame), page.drawn(canvas)
        for row, column in np.ndindex(*GRID):
            colour = heat(layer.saliency[frame, row, column])
            expected = mixed(inside(under, row, column), colour, SALIENCY_ALPHA)
            assert_close(inside(found, row, column), expected)


@pytest.mark.parametrize("number", LAYERS)
def test_background_is_darkened_and_foreground_is_the_picture(
    page: OpenReport, scene: Scene, number: int
) -> None:
    layer = scene.seen["vid-TLDR"].layers[number]
    assert layer.is_foreground is not None
    for frame in range(NUM_FRAMES):
        show(page, number, frame)
        canvas = page.find("#stage .panels canvas[data-view=background]")
        under, found = page.picture_under(canvas, 2 * frame), page.drawn(canvas)
        for row, column in np.ndindex(*GRID):
            bare = inside(under, row, column)
            is_bare = layer.is_foreground[frame, row, column]
            expected = bare if is_bare else mixed(bare, BACKGROUND, BACKGROUND_ALPHA)
            assert_close(inside(found, row, column), expected)


def test_what_the_model_sees_is_the_frame_that_was_chosen(page: OpenReport, scene: Scene) -> None:
    tiles = scene.report().tiles
    for number in range(len(tiles)):
        slide(page, "frame", number)
        look_away(page)
        found = page.drawn(page.find("#stage .panels canvas[data-view=picture]"))
        nearest = np.indices(found.shape[:2]).astype(float) + 0.5
        rows, columns = (
            (nearest[side] / found.shape[side] * tiles[0].shape[side]).astype(int)
            for side in (0, 1)
        )
        distances = [np.abs(tile[rows, columns].astype(int) - found).mean() for tile in tiles]
        assert int(np.argmin(distances)) == number
        assert min(distances) < 4  # scaling and JPEG


@pytest.mark.parametrize("side", [0, 1])
def test_features_have_the_colours_of_their_own_side(
    page: OpenReport, scene: Scene, side: int
) -> None:
    colours = scene.report().features[side].reshape(NUM_FRAMES, *GRID, 3)
    view = ("unmergedFeatures", "mergedFeatures")[side]
    for frame in range(NUM_FRAMES):
        show(page, 0, frame)
        found = page.drawn(page.find(f"canvas[data-view={view}]"))
        for row, column in np.ndindex(*GRID):
            assert (inside(found, row, column) == colours[frame, row, column]).all()


@pytest.mark.parametrize("number", LAYERS)
def test_every_patch_says_its_side_and_what_it_adds(
    page: OpenReport, scene: Scene, number: int
) -> None:
    layer = scene.seen["vid-TLDR"].layers[number]
    assert layer.is_foreground is not None
    assert layer.saliency is not None
    show(page, number, 1)
    canvas = page.find("#stage .panels canvas[data-view=groups]")
    for row, column in np.ndindex(*GRID):
        at = (1, row, column)
        page.hover(canvas, row, column, GRID)
        facts = page.text("#facts")
        side = "foreground" if layer.is_foreground[at] else "background"
        assert f"{layer.saliency[at]:.2f}, {side}" in facts
        if not layer.is_dropped[at]:
            mass = f"{layer.mass[layer.group[at]]:.2f}"
            weight = layer.weight[at]
            adds = f"{weight:.2f}" if weight >= 0.01 else "less than 0.01"
            assert f"{mass}; this patch adds {adds}" in facts
