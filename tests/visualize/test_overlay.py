import numpy as np
import pytest
from visualize.test_merged_layer import layer_by_hand

from vidtldr.video.transform import Region
from vidtldr.visualize.colours import BACKGROUND, FOREGROUND, heat, patch_colours
from vidtldr.visualize.overlay import (
    BACKGROUND_ALPHA,
    GROUP_ALPHA,
    SALIENCY_ALPHA,
    Cells,
    Paint,
    background_paint,
    blend,
    groups_paint,
    saliency_paint,
    saliency_veil,
)
from vidtldr.visualize.patch_grid import PatchGrid

GRID = PatchGrid(1, 2, 3)
GREY = np.full((40, 60, 3), 100, np.uint8)
CELLS = Cells((40, 60), (2, 3))
CENTRES = [(10, 10), (10, 30), (10, 50), (30, 10), (30, 30), (30, 50)]


def mixed(under: int, colour: int, alpha: int) -> int:
    return round((under * (255 - alpha) + colour * alpha) / 255)


def test_a_group_has_its_colour_on_its_patches_and_an_outline_around_both() -> None:
    paint = groups_paint(layer_by_hand(), 0, CELLS, patch_colours(GRID))
    picture = blend(GREY, paint)
    colour = patch_colours(GRID)[1]  # the group is named by patch 1
    tinted = [mixed(100, int(channel), GROUP_ALPHA) for channel in colour]
    assert picture[10, 30].tolist() == picture[10, 50].tolist() == tinted
    for place in ((0, 30), (0, 59), (19, 50), (10, 20), (10, 59)):
        assert picture[place].tolist() == colour.tolist(), place
    assert picture[10, 40].tolist() == tinted  # no line between patches of one group


def test_dropped_patches_are_hatched_and_tokens_of_their_own_are_clear() -> None:
    picture = blend(GREY, groups_paint(layer_by_hand(), 0, CELLS, patch_colours(GRID)))
    dropped = picture[20:40, 20:40].reshape(-1, 3)
    assert len(np.unique(dropped, axis=0)) == 2
    assert dropped.min() < 90
    assert dropped.max() > 180
    for row, column in (CENTRES[0], CENTRES[3], CENTRES[5]):
        assert picture[row, column].tolist() == [100, 100, 100]


def test_saliency_is_its_colour_on_the_scale() -> None:
    layer = layer_by_hand()
    picture = blend(GREY, saliency_paint(layer, 0, CELLS))
    colours = heat(layer.saliency.ravel())
    for colour, place in zip(colours, CENTRES, strict=True):
        assert picture[place].tolist() == [mixed(100, int(c), SALIENCY_ALPHA) for c in colour]


def test_a_veil_leaves_what_is_not_salient_as_it_is() -> None:
    picture = blend(GREY, saliency_veil(layer_by_hand(), 0, CELLS))
    assert picture[CENTRES[0]].tolist() == [100, 100, 100]
    assert picture[CENTRES[2]].max() > 150


def test_background_is_dark_and_foreground_is_outlined() -> None:
    picture = blend(GREY, background_paint(layer_by_hand(), 0, CELLS))
    dark = [mixed(100, channel, BACKGROUND_ALPHA) for channel in BACKGROUND]
    for place in (CENTRES[0], CENTRES[3], CENTRES[4], CENTRES[5]):
        assert picture[place].tolist() == dark
    assert picture[CENTRES[1]].tolist() == [100, 100, 100]
    assert picture[10, 20].tolist() == list(FOREGROUND)


@pytest.mark.parametrize("size", [(7, 5), (41, 67), (200, 90)])
def test_every_pixel_lies_in_the_patch_that_it_is_nearest_to(size: tuple[int, int]) -> None:
    cells = Cells(size, (2, 3))
    numbers = cells.spread(np.arange(6).reshape(2, 3))
    for row in range(size[0]):
        for column in range(size[1]):
            expected = 3 * int((row + 0.5) / size[0] * 2) + int((column + 0.5) / size[1] * 3)
            assert numbers[row, column] == expected


def test_what_the_model_does_not_see_stays_as_it_was() -> None:
    cells = Cells((40, 60), (2, 3), Region(0, 10, 40, 40))
    layer = layer_by_hand()
    paints = [
        saliency_paint(layer, 0, cells),
        background_paint(layer, 0, cells),
        groups_paint(layer, 0, cells, patch_colours(GRID)),
    ]
    for paint in paints:
        picture = blend(GREY, paint)
        assert (picture[:, :10] == 100).all()
        assert (picture[:, 50:] == 100).all()
        assert (picture[:, 10:50] != 100).any()


def test_blending_is_exact_at_both_ends_and_changes_no_input() -> None:
    colour = np.full((1, 2, 3), 255, np.uint8)
    picture = np.zeros((1, 2, 3), np.uint8)
    mixture = blend(picture, Paint(colour, np.asarray([[0, 255]], np.uint8)))
    assert mixture.tolist() == [[[0] * 3, [255] * 3]]
    assert picture.max() == 0
