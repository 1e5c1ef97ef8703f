import pytest
import torch
from support.tiny_world_model import tiny_world_model
from torch import Tensor

from vidtldr.baselines.baseline import (
    FewerFrames,
    LowerResolution,
    Merging,
    RandomDropping,
    Unmerged,
    shrunk_positions,
)
from vidtldr.config import MergeConfig
from vidtldr.models.umt.vision import VisionEncoder
from vidtldr.patch.patching import patched


@pytest.fixture
def encoder() -> VisionEncoder:
    return tiny_world_model().vision_encoder


@pytest.fixture
def clips() -> Tensor:
    return torch.randn(3, 4, 3, 96, 96, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_random_dropping_equals_blocks_run_by_hand_on_the_tokens_drawn(
    encoder: VisionEncoder, clips: Tensor
) -> None:
    torch.manual_seed(7)
    found = RandomDropping((0, 5, 3)).forward_of(encoder)(clips)
    torch.manual_seed(7)
    kept1 = torch.rand(3, 144).argsort(dim=1)[:, 5:].sort(dim=1).values
    kept2 = torch.rand(3, 139).argsort(dim=1)[:, 3:].sort(dim=1).values
    for clip in range(3):
        x = encoder.embed(clips[clip : clip + 1])
        for layer, block in enumerate(encoder.blocks):
            x = x + block.attn(block.norm1(x))
            if layer == 1:
                x = x[:, kept1[clip]]
            if layer == 2:
                x = x[:, kept2[clip]]
            x = x + block.mlp(block.norm2(x))
        torch.testing.assert_close(found.tokens[clip], encoder.pool(x).tokens[0])
        torch.testing.assert_close(found.pooled[clip], encoder.pool(x).pooled[0])
    assert any(kept1[0] != kept1[1])


@torch.no_grad()
def test_dropping_nothing_is_the_encoder_itself(encoder: VisionEncoder, clips: Tensor) -> None:
    found = RandomDropping((0, 0)).forward_of(encoder)(clips)
    torch.testing.assert_close(found.pooled, encoder(clips).pooled)
    assert torch.equal(Unmerged().forward_of(encoder)(clips).pooled, encoder(clips).pooled)


@torch.no_grad()
def test_merging_is_the_patched_encoder_and_leaves_it_unpatched(
    encoder: VisionEncoder, clips: Tensor
) -> None:
    config = MergeConfig(r=[20, 9], score="received")
    before = encoder(clips).pooled
    found = Merging(config).forward_of(encoder)(clips)
    assert torch.equal(encoder(clips).pooled, before)
    with patched(encoder, config):
        assert torch.equal(encoder(clips).pooled, found.pooled)
    assert found.tokens.shape[1] == 144 - 29


@torch.no_grad()
@pytest.mark.parametrize(("num_frames", "indices"), [(4, [0, 1, 2, 3]), (2, [0, 2]), (1, [1])])
def test_fewer_frames_are_the_middles_of_equal_parts(
    encoder: VisionEncoder, clips: Tensor, num_frames: int, indices: list[int]
) -> None:
    found = FewerFrames(num_frames).forward_of(encoder)(clips)
    assert torch.equal(found.pooled, encoder(clips[:, indices]).pooled)


@torch.no_grad()
def test_full_resolution_is_the_encoder_itself(encoder: VisionEncoder, clips: Tensor) -> None:
    found = LowerResolution(96).forward_of(encoder)(clips)
    torch.testing.assert_close(found.pooled, encoder(clips).pooled)


@torch.no_grad()
def test_half_resolution_averages_positions_and_keeps_constant_frames(
    encoder: VisionEncoder,
) -> None:
    table = encoder.encoder.positions.view(4, 6, 6, 48)  # frames, rows, columns, channels
    expected = torch.stack(
        [
            table[frame, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].mean(dim=(0, 1))
            for frame in range(4)
            for row in range(3)
            for column in range(3)
        ]
    )
    torch.testing.assert_close(shrunk_positions(encoder, 3), expected)
    flat = torch.full((1, 4, 3, 96, 96), 0.7)
    found = LowerResolution(48).forward_of(encoder)(flat)
    patches = encoder.encoder.patch_embed(flat)[:, :1]  # all of them are alike
    x = patches + expected
    for block in encoder.blocks:
        x = block(x)
    torch.testing.assert_close(found.tokens, encoder.pool(x).tokens)


def test_variants_that_do_the_same_describe_themselves_alike() -> None:
    assert RandomDropping((3, 2)).to_dict() == {"kind": "random dropping", "r": [3, 2]}
    assert FewerFrames(3).to_dict() != LowerResolution(3).to_dict()
    first, second = (Merging(MergeConfig(r=[4], score=None)).to_dict() for _ in range(2))
    assert first == second != Merging(MergeConfig(r=[4], score="sharpness")).to_dict()
    assert first != Merging(MergeConfig(r=[4], linkage="cosine")).to_dict()
