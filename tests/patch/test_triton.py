"""A whole model that merges with the Triton kernels, in Triton's interpreter."""

import sys

import pytest
import torch
from support.tiny_models import clips, videomae

import vidtldr


@pytest.mark.triton
@pytest.mark.skipif(sys.platform != "linux", reason="triton comes for Linux")
@pytest.mark.parametrize("score", ["sharpness", "received", "sharpness-per-head"])
def test_a_merged_model_answers_alike_on_the_kernels(score: str) -> None:
    model = videomae()
    with torch.no_grad():
        vidtldr.apply_patch(model, r=[11, 7, 0, 4], score=score, impl="reference")
        expected = model(pixel_values=clips(2)).logits
        vidtldr.apply_patch(model, r=[11, 7, 0, 4], score=score, impl="triton")
        found = model(pixel_values=clips(2)).logits
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-4)
