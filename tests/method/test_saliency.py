import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vidtldr.method.saliency import foreground_mask, masked_saliency, saliency


def reference_masked_saliency(sharpness: list[float]) -> list[float]:
    """Eq. 5, 8 and 9 by the letter, one clip, in Python floats (float64)."""
    low, high = min(sharpness), max(sharpness)
    s = [(h - low) / (high - low) for h in sharpness]
    mean = math.fsum(s) / len(s)
    mask = [1.0 if si >= mean else 0.0 for si in s]
    return [m * (si - mean) / (max(s) - mean) for m, si in zip(mask, s, strict=True)]


def test_a_clip_worked_by_hand() -> None:
    # s = 0, 0.25, 0.5, 1 of mean 0.4375: two tokens are background.
    sharpness = torch.tensor([[-4.0, -3.0, -2.0, 0.0]])
    assert torch.equal(saliency(sharpness), torch.tensor([[0.0, 0.25, 0.5, 1.0]]))
    expected = torch.tensor([[0.0, 0.0, 0.0625 / 0.5625, 1.0]])
    assert torch.allclose(masked_saliency(sharpness), expected, atol=1e-7)
    assert torch.equal(foreground_mask(sharpness), torch.tensor([[0.0, 0.0, 1.0, 1.0]]))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("num_tokens", [2, 7, 101])
def test_masked_saliency_equals_the_equations(dtype: torch.dtype, num_tokens: int) -> None:
    sharpness = (-3 * torch.rand(4, num_tokens, dtype=torch.float64)).to(dtype)
    found = masked_saliency(sharpness)
    clips = [reference_masked_saliency(clip.double().tolist()) for clip in sharpness]
    expected = torch.tensor(clips, dtype=torch.float64)
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    # The differences are exact to eps * |h|, and Eq. 9 divides them by max - mean.
    spread = (sharpness.double().amax(1) - sharpness.double().mean(1)).min()
    tolerance = 8 * torch.finfo(found.dtype).eps * 3 / spread
    assert (found.double() - expected).abs().max() <= tolerance


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_constant_sharpness_has_no_background(dtype: torch.dtype) -> None:
    sharpness = torch.full((2, 5), -1.7, dtype=dtype)
    assert masked_saliency(sharpness).eq(1).all()
    assert foreground_mask(sharpness).eq(1).all()
    assert saliency(sharpness).eq(1).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("num_tokens", [2, 7, 101])
def test_the_mask_equals_the_equations(dtype: torch.dtype, num_tokens: int) -> None:
    sharpness = (-3 * torch.rand(4, num_tokens, dtype=torch.float64)).to(dtype)
    found = foreground_mask(sharpness)
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    for clip, mask in zip(sharpness.double().tolist(), found.tolist(), strict=True):
        low, high = min(clip), max(clip)
        s = [(h - low) / (high - low) for h in clip]  # Eq. 5
        assert mask == [1.0 if si >= math.fsum(s) / len(s) else 0.0 for si in s]  # Eq. 8


def test_the_mask_is_where_masked_saliency_can_be_above_zero() -> None:
    sharpness = -torch.rand(5, 33)
    assert torch.equal(foreground_mask(sharpness), masked_saliency(sharpness).gt(0).float())


def test_one_constant_clip_leaves_the_others_alone() -> None:
    sharpness = torch.tensor([[-1.0, -1.0, -1.0], [-3.0, -2.0, -1.0]])
    found = masked_saliency(sharpness)
    assert torch.equal(found[0], torch.ones(3))
    assert torch.equal(found[1], torch.tensor([0.0, 0.0, 1.0]))


def test_a_mean_that_rounds_up_to_the_maximum_gives_no_nan() -> None:
    # The mean of many equal values and one an ulp below rounds to the maximum.
    sharpness = torch.full((1, 10_001), -0.1)
    sharpness[0, 3] = torch.nextafter(sharpness[0, 3], torch.tensor(-1.0))
    assert masked_saliency(sharpness).isfinite().all()
    assert foreground_mask(sharpness).amax() == 1


def test_a_mean_that_rounds_to_above_every_token_leaves_them_foreground() -> None:
    for num_tokens in range(2, 200):  # some of these means round up
        sharpness = torch.full((1, num_tokens), -0.1)
        assert foreground_mask(sharpness).eq(1).all()


def test_a_single_token_is_foreground() -> None:
    assert torch.equal(masked_saliency(torch.tensor([[-0.5]])), torch.ones(1, 1))


@given(st.lists(st.floats(-50, 0, width=32), min_size=1, max_size=40))
def test_weights_are_finite_and_in_the_unit_interval(sharpness: list[float]) -> None:
    for score in (saliency, masked_saliency, foreground_mask):
        found = score(torch.tensor([sharpness]))
        assert found.isfinite().all()
        assert found.ge(0).all()
        assert found.le(1).all()


def test_the_sharpest_token_weighs_one() -> None:
    sharpness = -torch.rand(5, 33)
    assert torch.equal(masked_saliency(sharpness).amax(dim=1), torch.ones(5))


def test_a_score_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"score must be \(B, N\), got shape \(2, 3, 4\)"):
        masked_saliency(torch.zeros(2, 3, 4))
    with pytest.raises(ValueError, match=r"score must be \(B, N\), got shape \(2, 3, 4\)"):
        foreground_mask(torch.zeros(2, 3, 4))


def test_an_integer_score_is_refused() -> None:
    with pytest.raises(TypeError, match=r"score must be floating point, got torch.int64"):
        saliency(torch.zeros(2, 3, dtype=torch.long))
