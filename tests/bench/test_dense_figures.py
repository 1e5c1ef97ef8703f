import pytest
import torch
from torch import Tensor

from vidtldr.bench.dense_figures import agreement, feature_distance, map_auroc, map_change, max_f


def f_reference(found: list[bool], mask: list[bool]) -> float:
    hits = sum(one and other for one, other in zip(found, mask, strict=True))
    if hits == 0:
        return 0.0
    precision, recall = hits / sum(found), hits / sum(mask)
    return 1.3 * precision * recall / (0.3 * precision + recall)


def max_f_reference(saliency: Tensor, mask: Tensor) -> float:
    """Threshold by threshold and pixel by pixel."""
    values, wanted = saliency.double().flatten().tolist(), mask.flatten().tolist()
    return max(f_reference([value > k / 255 for value in values], wanted) for k in range(255))


def auroc_reference(saliency: Tensor, mask: Tensor) -> float:
    """Every pair of a pixel of the foreground and one of the background."""
    values, wanted = saliency.double().flatten().tolist(), mask.flatten().tolist()
    pairs = [
        1.0 if high > low else 0.5 if high == low else 0.0
        for high, is_high in zip(values, wanted, strict=True)
        if is_high
        for low, is_low in zip(values, wanted, strict=True)
        if not is_low
    ]
    return sum(pairs) / len(pairs)


def a_map(seed: int) -> tuple[Tensor, Tensor]:
    """A map with ties, some values exactly at thresholds, and a mask that it half finds."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(5, 7, generator=generator) < 0.3
    mask[0, 0], mask[4, 6] = True, False
    levels = torch.randint(0, 256, (5, 7), generator=generator) + 60 * mask
    return (levels.clamp(max=255).double() / 255).to([torch.float32, torch.float64][seed % 2]), mask


@pytest.mark.parametrize("seed", range(8))
def test_accuracy_of_a_map_equals_slow_counting(seed: int) -> None:
    saliency, mask = a_map(seed)
    assert max_f(saliency, mask) == pytest.approx(max_f_reference(saliency, mask), abs=1e-12)
    assert map_auroc(saliency, mask) == pytest.approx(auroc_reference(saliency, mask), abs=1e-12)


def test_accuracy_by_hand() -> None:
    mask = torch.tensor([[True, True], [False, False]])
    assert max_f(torch.tensor([[0.9, 0.8], [0.1, 0.2]]), mask) == 1.0
    assert map_auroc(torch.tensor([[0.9, 0.8], [0.1, 0.2]]), mask) == 1.0
    # The best threshold finds all four: precision 0.5, recall 1, F = 1.3 * 0.5 / (0.15 + 1).
    upside_down = torch.tensor([[0.1, 0.2], [0.9, 0.8]])
    assert max_f(upside_down, mask) == pytest.approx(0.65 / 1.15)
    assert map_auroc(upside_down, mask) == 0.0
    # A constant map finds everything or nothing; a map of zeros nothing, as 0 exceeds no threshold.
    assert max_f(torch.full((2, 2), 0.5), mask) == pytest.approx(0.65 / 1.15)
    assert max_f(torch.zeros(2, 2), mask) == 0.0
    # Found: one of two, and nothing else: precision 1, recall 0.5.
    assert max_f(torch.tensor([[0.9, 0.0], [0.0, 0.0]]), mask) == pytest.approx(0.65 / 0.8)


@pytest.mark.parametrize("seed", range(4))
def test_agreement_is_f_of_maps_above_one_half(seed: int) -> None:
    (ours, _), (own, _) = a_map(seed), a_map(seed + 10)
    found, wanted = (ours > 0.5).flatten().tolist(), (own > 0.5).flatten().tolist()
    assert agreement(ours, own) == pytest.approx(f_reference(found, wanted), abs=1e-12)
    assert agreement(own, own) == 1.0


def test_agreement_with_a_map_that_finds_nothing_means_nothing() -> None:
    assert agreement(torch.ones(2, 2), torch.full((2, 2), 0.5)) is None
    assert agreement(torch.zeros(2, 2), torch.ones(2, 2)) == 0.0


def test_distances_by_hand() -> None:
    unmerged = torch.tensor([[[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]]])
    moved = torch.tensor([[[5.0, 0.0], [2.0, 0.0], [-1.0, 0.0]]])  # same way, across, opposite
    assert feature_distance(moved, unmerged) == pytest.approx((0 + 1 + 2) / 3)
    assert feature_distance(unmerged, unmerged) == pytest.approx(0, abs=1e-15)
    assert map_change(torch.tensor([0.25, 0.75]), torch.tensor([0.5, 0.25])) == 0.375
