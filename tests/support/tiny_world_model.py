"""A model of the world of shapes small enough to take every exam in a test."""

from dataclasses import replace

from support.tiny_umt import spread_weights

from vidtldr.shapes.model import ShapesUMT, shapes_config

#: 4 frames of 96 in patches of 16: 144 tokens; 5 layers, so that merging may start early or late.
TINY_WORLD = replace(
    shapes_config(),
    patch_size=16,
    num_frames=4,
    hidden_size=48,
    num_layers=5,
    embed_dim=20,
    text=shapes_config().text
    | {"hidden_size": 24, "num_attention_heads": 2, "intermediate_size": 24},
)


def tiny_world_model(seed: int = 0) -> ShapesUMT:
    return spread_weights(ShapesUMT(TINY_WORLD), seed, scale=2.0)
