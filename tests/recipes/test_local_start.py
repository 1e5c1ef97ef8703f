import pytest
import torch
from local_start import NEIGHBOURS, start_local

from vidtldr.models.umt.vision import VisionEncoder
from vidtldr.shapes.model import normalise, shapes_config
from vidtldr.shapes.world import ShapesWorld

SIDE, NUM_TOKENS = 8, 512  # patches of 12 in 8 frames of 96


@pytest.fixture(scope="module")
def encoder() -> VisionEncoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = VisionEncoder(shapes_config())
        start_local(encoder)
    return encoder.eval()


@torch.no_grad()
@pytest.mark.parametrize("layer", range(len(NEIGHBOURS)))
def test_every_head_looks_at_its_neighbour(encoder: VisionEncoder, layer: int) -> None:
    x = encoder.embed(normalise(ShapesWorld(0, "train").clips([3, 8]).frames))
    block = encoder.blocks[layer]
    q, k, _ = block.attn.project(block.norm1(x))
    found = (q @ k.transpose(-1, -2)).argmax(dim=-1)
    place = torch.arange(NUM_TOKENS)
    for head, (frames, rows, columns) in enumerate(NEIGHBOURS[layer]):
        neighbour = place + (frames * SIDE + rows) * SIDE + columns
        there = (neighbour >= 0) & (neighbour < NUM_TOKENS)
        assert (found[:, head] == neighbour)[:, there].double().mean() > 0.85  # by chance 1 of 512


@torch.no_grad()
def test_norms_begin_as_the_identity_but_for_the_constant(encoder: VisionEncoder) -> None:
    x = encoder.embed(normalise(ShapesWorld(0, "train").clips([3, 8]).frames))
    content = x - encoder.encoder.patch_embed.proj.bias
    content = content - content.mean(dim=-1, keepdim=True)
    norms = [encoder.encoder.norm]
    norms += [norm for block in encoder.blocks for norm in (block.norm1, block.norm2)]
    for norm in norms:
        y = norm(x)
        assert (y - content).norm() / content.norm() < 0.2


@torch.no_grad()
def test_the_last_blocks_and_the_values_are_as_they_were_made() -> None:
    torch.manual_seed(0)
    plain = VisionEncoder(shapes_config())
    torch.manual_seed(0)
    local = VisionEncoder(shapes_config())
    start_local(local)
    size = plain.config.hidden_size
    for layer, (one, other) in enumerate(zip(plain.blocks, local.blocks, strict=True)):
        same = torch.equal(one.attn.qkv.weight, other.attn.qkv.weight)
        assert same == (layer >= len(NEIGHBOURS))
        assert torch.equal(one.attn.qkv.weight[2 * size :], other.attn.qkv.weight[2 * size :])
        assert torch.equal(one.mlp.fc1.weight, other.mlp.fc1.weight)
