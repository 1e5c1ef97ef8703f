import pytest
import torch
from support import tiny_encoders
from support.tiny_models import clips, videomae, vivit
from support.tiny_umt import TINY
from torch import nn

from vidtldr.models.umt import build_vision_encoder
from vidtldr.visualize.patch_grid import PatchGrid, find_patch_grid


def test_tubelets_span_two_frames() -> None:
    grid = find_patch_grid(videomae(), clips())
    assert grid == PatchGrid(3, 4, 4, frames_per_token=2)
    assert grid.num_patches == 48


def test_class_tokens_come_before_the_patches() -> None:
    assert find_patch_grid(vivit(), clips()) == PatchGrid(3, 4, 4, 2, num_prefix_tokens=1)


def test_a_umt_has_patches_of_single_frames() -> None:
    encoder = build_vision_encoder(TINY)
    assert find_patch_grid(encoder, torch.zeros(1, 3, 3, 12, 12)) == PatchGrid(3, 3, 3)


def test_a_clip_that_is_no_whole_number_of_patches_is_refused() -> None:
    with pytest.raises(ValueError, match=r"in whole patches of 2 x 8 x 8, got \(1, 5, 3, 32, 32\)"):
        find_patch_grid(videomae(), torch.zeros(1, 5, 3, 32, 32))


def test_a_model_that_embeds_no_videos_is_refused() -> None:
    model = videomae()
    model.videomae.embeddings.patch_embeddings.projection = nn.Linear(3, 3)
    with pytest.raises(NotImplementedError, match="one convolution to be drawn, got 0"):
        find_patch_grid(model, clips())


def test_tubes_are_laid_out_as_frames() -> None:
    grid = find_patch_grid(tiny_encoders.timesformer(), torch.zeros(1, 3, 3, 40, 40))
    assert (grid.shape, grid.is_tube_major, grid.is_per_frame) == ((3, 5, 5), True, False)
    tokens = torch.arange(75)  # place by place, the frames of each in a row
    assert torch.equal(grid.lay_out(tokens)[1], torch.arange(25).view(5, 5) * 3 + 1)
    assert grid.lay_out(tokens[:, None].expand(-1, 2)).shape == (3, 5, 5, 2)
