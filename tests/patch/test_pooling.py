import pickle

import pytest
import torch
from support.tiny_models import vivit
from support.tiny_world_model import tiny_world_model
from torch import Tensor

import vidtldr
from vidtldr.models.umt.vision import VisionEncoder
from vidtldr.patch.patching import trace


@pytest.fixture
def encoder() -> VisionEncoder:
    return tiny_world_model().vision_encoder


@pytest.fixture
def clips() -> Tensor:
    return torch.randn(2, 4, 3, 96, 96, generator=torch.Generator().manual_seed(3))


@torch.no_grad()
def test_tokens_count_by_their_mass_and_stay_what_they_are(
    encoder: VisionEncoder, clips: Tensor
) -> None:
    vidtldr.apply_patch(encoder, r=[40, 20], score=None)
    alike = encoder(clips)
    vidtldr.apply_patch(encoder, r=[40, 20], score=None, pooling="mass")
    with trace(encoder) as recorded:
        found = encoder(clips)
    assert torch.equal(found.tokens, alike.tokens)
    for clip, mass in enumerate(recorded.mass.tolist()):
        assert sum(mass) == pytest.approx(144)
        mean = sum(m * token for m, token in zip(mass, found.tokens[clip], strict=True)) / sum(mass)
        expected = encoder.pool_norm(mean)
        torch.testing.assert_close(found.pooled[clip], expected)
    assert not torch.allclose(found.pooled, alike.pooled, atol=1e-4)


@torch.no_grad()
def test_equal_tokens_that_merge_change_nothing(encoder: VisionEncoder) -> None:
    table = encoder.encoder.positions
    table.copy_(table[:1].expand_as(table))  # without a place of their own, equal patches are equal
    clips = torch.zeros(1, 4, 3, 96, 96)
    clips[..., :48] = 1.0
    unmerged = encoder(clips).pooled
    by_tokens = vidtldr.apply_patch(encoder, r=[50, 30], score=None)(clips).pooled
    by_mass = vidtldr.apply_patch(encoder, r=[50, 30], score=None, pooling="mass")(clips).pooled
    torch.testing.assert_close(by_mass, unmerged, rtol=1e-4, atol=1e-4)
    assert (by_tokens - unmerged).abs().max() > 1e-3


@torch.no_grad()
def test_removing_the_patch_gives_the_mean_back(encoder: VisionEncoder, clips: Tensor) -> None:
    before = encoder(clips).pooled
    vidtldr.apply_patch(encoder, r=[9], pooling="mass")
    again = pickle.loads(pickle.dumps(encoder))
    assert torch.equal(again(clips).pooled, encoder(clips).pooled)
    with pytest.raises(RuntimeError, match="input of pool must be the output of layer 4 itself"):
        encoder.pool(torch.randn(2, 135, 48))
    assert torch.equal(vidtldr.remove_patch(encoder)(clips).pooled, before)


def test_models_that_pool_nothing_are_refused() -> None:
    with pytest.raises(NotImplementedError, match="pooling must be 'tokens' for Vivit"):
        vidtldr.apply_patch(vivit(), r=[3], pooling="mass")
