import numpy as np
import pytest
import torch

from vidtldr.visualize.colours import HEAT, heat, patch_colours
from vidtldr.visualize.feature_colours import cosine_kept, features_to_rgb
from vidtldr.visualize.patch_grid import PatchGrid


def luminance(colours: np.ndarray) -> np.ndarray:
    unit = colours / 255
    linear = np.where(unit > 0.04045, ((unit + 0.055) / 1.055) ** 2.4, unit / 12.92)
    return linear @ (0.2126, 0.7152, 0.0722)


def test_the_scale_of_saliency_reads_in_grey() -> None:
    assert (np.diff(luminance(HEAT.astype(float))) > 0).all()


def test_saliency_outside_its_range_has_the_colours_of_the_ends() -> None:
    values = np.asarray([-1, 0, 1, 2], dtype=np.float32)
    assert heat(values).tolist() == [HEAT[0].tolist()] * 2 + [HEAT[255].tolist()] * 2


@pytest.mark.parametrize("grid", [PatchGrid(12, 14, 14), PatchGrid(8, 8, 8), PatchGrid(8, 16, 16)])
def test_patches_that_touch_have_colours_far_apart(grid: PatchGrid) -> None:
    colours = patch_colours(grid).reshape(*grid.shape, 3).astype(float)
    for axis in range(3):
        distance = np.abs(np.diff(colours, axis=axis)).sum(axis=-1)
        assert distance.min() > 60


def test_equal_features_have_equal_colours_on_every_side() -> None:
    unmerged = torch.randn(40, 7, dtype=torch.float64)
    merged = unmerged.clone()
    merged[3] = unmerged[9]
    one, other = features_to_rgb(unmerged, merged)
    assert (one[[0, 1, 2, 4]] == other[[0, 1, 2, 4]]).all()
    assert (other[3] == one[9]).all()
    assert one.dtype == np.uint8
    assert (one.max(axis=0) == 255).all()


def test_main_directions_come_first() -> None:
    """Red follows the direction of most variance."""
    features = torch.randn(60, 5) * torch.tensor([0.1, 5.0, 0.01, 1.0, 0.02])
    [colours] = features_to_rgb(features)
    red = np.corrcoef(colours[:, 0], features[:, 1])[0, 1]
    assert red > 0.98


def test_features_that_do_not_vary_are_grey() -> None:
    [colours] = features_to_rgb(torch.ones(9, 4))
    assert (colours == 128).all()
    [colours] = features_to_rgb(torch.arange(12.0)[:, None])
    assert (colours[:, 1:] == 128).all()


def test_sides_of_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must be \(9, 4\) on every side, got \(8, 4\)"):
        features_to_rgb(torch.ones(9, 4), torch.ones(8, 4))


def test_what_nothing_changed_in_is_kept() -> None:
    features = torch.randn(20, 6)
    assert cosine_kept(features, features) == pytest.approx(1, abs=1e-6)
    assert abs(cosine_kept(features + 100, torch.randn(20, 6) + 100)) < 0.5
