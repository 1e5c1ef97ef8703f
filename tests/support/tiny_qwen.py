"""Small Qwen-VL models of transformers with seeded weights, and what they take.

Patches are 4 x 4 of two frames; the language models read one token for every 2 x 2 of them.
"""

import importlib
from collections.abc import Sequence
from typing import Any

import torch
from support.tiny_models import spread_out_weights
from torch import Tensor, nn

Grid = tuple[int, int, int]  # frames, rows and columns of patches

IMAGE, VIDEO, START, END = 100, 101, 102, 103
MODULES = {
    "Qwen2VL": "qwen2_vl",
    "Qwen3VL": "qwen3_vl",
    "Qwen3VLMoe": "qwen3_vl_moe",
    "Qwen3_5": "qwen3_5",
    "Qwen3_5Moe": "qwen3_5_moe",
}
TOWERS = list(MODULES)
DEEPSTACK = {"Qwen3VL": [1, 2], "Qwen3VLMoe": [1, 2]}
VIDEO_OF_THREE: list[Grid] = [(3, 4, 6)]
SEVERAL_SIZES: list[Grid] = [(1, 4, 6), (1, 4, 4)]
TEXT: dict[str, Any] = {
    "vocab_size": 128,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 2, 2]},
    "bos_token_id": 1,
    "eos_token_id": 127,
}


def vision_config(name: str, **config: Any) -> Any:
    sizes = {"depth": 4, "hidden_size": 48, "num_heads": 3, "intermediate_size": 96}
    if name == "Qwen2VL":
        sizes = {"depth": 4, "embed_dim": 48, "hidden_size": 32, "num_heads": 3, "mlp_ratio": 2}
    else:
        sizes |= {"out_hidden_size": 32, "num_position_embeddings": 36}
    if name in DEEPSTACK:
        sizes["deepstack_visual_indexes"] = DEEPSTACK[name]
    kind = getattr(_module("configuration", name), f"{name}VisionConfig")
    return kind(patch_size=4, temporal_patch_size=2, **sizes | config)


def tower(name: str, **config: Any) -> nn.Module:
    """A family's vision tower by itself."""
    names = {"Qwen2VL": "Qwen2VisionTransformerPretrainedModel"}
    kind = getattr(_module("modeling", name), names.get(name, f"{name}VisionModel"))
    return spread_out_weights(kind(vision_config(name, **config)))


def language_model(name: str = "Qwen3VL") -> nn.Module:
    """A family's tower with its language model."""
    configuration = _module("configuration", name)
    text = TEXT | ({} if name == "Qwen2VL" else {"head_dim": 16})
    if name.endswith("Moe"):
        text |= {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
        text |= {"shared_expert_intermediate_size": 16}
    if name.startswith("Qwen3_5"):
        text |= {"linear_num_key_heads": 2, "linear_num_value_heads": 2}
        text |= {"linear_key_head_dim": 8, "linear_value_head_dim": 8}
        text["rope_parameters"] = TEXT["rope_parameters"] | {
            "partial_rotary_factor": 0.5,
            "mrope_section": [2, 1, 1],
        }
    config = getattr(configuration, f"{name}Config")(
        vision_config=vision_config(name).to_dict(),
        text_config=text,
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        vision_start_token_id=START,
        vision_end_token_id=END,
    )
    kind = getattr(_module("modeling", name), f"{name}ForConditionalGeneration")
    return spread_out_weights(kind(config))


def patches(grids: Sequence[Grid], seed: int = 0) -> dict[str, Tensor]:
    """What a tower takes."""
    num_patches = sum(t * h * w for t, h, w in grids)
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randn(num_patches, 3 * 2 * 4 * 4, generator=generator)
    return {"hidden_states": pixels, "grid_thw": torch.tensor(grids)}


def prompt(images: Sequence[Grid] = (), videos: Sequence[Grid] = ()) -> dict[str, Tensor]:
    """What a model takes: text around images and the frames of videos, as Qwen3-VL has them."""
    ids, inputs = [1, 2], {}
    for token, grids, pixels, sizes in (
        (IMAGE, images, "pixel_values", "image_grid_thw"),
        (VIDEO, videos, "pixel_values_videos", "video_grid_thw"),
    ):
        for t, h, w in grids:
            for frame in range(t):
                ids += [10 + frame, START, *[token] * (h * w // 4), END]
        if grids:
            inputs[pixels], inputs[sizes] = patches(grids, seed=token).values()
    input_ids = torch.tensor([[*ids, 3, 4]])
    kinds = (input_ids == IMAGE) + 2 * (input_ids == VIDEO)
    return {"input_ids": input_ids, "mm_token_type_ids": kinds.int(), **inputs}


def _module(kind: str, name: str) -> Any:
    package = MODULES[name]
    return importlib.import_module(f"transformers.models.{package}.{kind}_{package}")


@torch.no_grad()
def outputs(model: Any, inputs: dict[str, Tensor]) -> list[Tensor]:
    """Logits, or what a tower hands to its language model and the grid itself."""
    found = model(**inputs)
    if "logits" in found:
        return [found.logits]
    deepstack = found.get("deepstack_features") or []
    return [found.pooler_output, found.last_hidden_state, *deepstack]


def close(one: Sequence[Tensor], other: Sequence[Tensor], atol: float) -> bool:
    pairs = zip(one, other, strict=True)
    return all(torch.allclose(a, b, atol=atol, rtol=0) for a, b in pairs)


def in_float64(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: x.double() if x.is_floating_point() else x for key, x in inputs.items()}
