"""A model of the world small enough for tests, with spread-out weights."""

from dataclasses import replace

from support.tiny_umt import spread_weights

from vidtldr.shapes.model import ShapesUMT, shapes_config

#: 4 frames of 96 in patches of 24: 64 tokens
TINY_SHAPES = replace(
    shapes_config(),
    patch_size=24,
    num_frames=4,
    hidden_size=24,
    num_layers=2,
    num_heads=3,
    embed_dim=20,
    text=shapes_config().text
    | {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 24},
)


def tiny_model(seed: int = 0) -> ShapesUMT:
    return spread_weights(ShapesUMT(TINY_SHAPES), seed)
