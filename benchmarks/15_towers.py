"""Vision towers of video language models at 0.6 of the FLOPs, against themselves unmerged.

Random weights with spread-out attention, float32, 2 threads, sizes of published models. Each tower
is timed in turn with its merged copy in one run after a warm-up; outputs are compared first. Both
pass on the grid, so that a language model would read as many tokens.

    python benchmarks/15_towers.py --output benchmarks/results/towers/PROCESSOR.json
    python benchmarks/15_towers.py siglip-so400m --output ...
"""

from collections.abc import Callable
from typing import Any

import torch
from timed_sides import run_cases, timed_sides
from torch import nn

from vidtldr.bench.subject import spread_out_attention
from vidtldr.config import MergeConfig

NUM_ROUNDS = 5
ASKED = {"0.6 of the FLOPs": MergeConfig(flop_ratio=0.6, score="sharpness", output="grid")}


def siglip_so400m() -> dict[str, Any]:
    """The tower of LLaVA-OneVision on four frames, in a batch."""
    from transformers import SiglipVisionConfig, SiglipVisionModel

    config = SiglipVisionConfig(
        image_size=384,
        patch_size=14,
        hidden_size=1152,
        num_hidden_layers=27,
        num_attention_heads=16,
        intermediate_size=4304,
        vision_use_head=False,
    )
    model = spread_out_attention(SiglipVisionModel(config).eval())
    x = torch.randn(4, 3, 384, 384)
    return timed_sides(
        "LLaVA-OneVision: SigLIP-so400m/14, 4 frames of 384²",
        model,
        lambda model: model(pixel_values=x).last_hidden_state,
        ASKED,
        input_shape=tuple(x.shape),
        num_rounds=NUM_ROUNDS,
    )


def qwen3_vl(*, num_layers: int, hidden_size: int, intermediate_size: int, title: str) -> Any:
    """Qwen3-VL's tower on eight frames, two per token, with all its mergers."""
    from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLVisionConfig
    from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLVisionModel

    config = Qwen3VLVisionConfig(
        depth=num_layers,
        hidden_size=hidden_size,
        intermediate_size=intermediate_size,
        num_heads=16,
        out_hidden_size=2560,
        deepstack_visual_indexes=[5, 11, 17],
    )
    config._attn_implementation = "sdpa"
    model = spread_out_attention(Qwen3VLVisionModel(config).eval())
    grid = torch.tensor([[4, 28, 28]])  # 8 frames of 448 x 448
    x = torch.randn(4 * 28 * 28, 3 * 2 * 16 * 16)

    def forward(model: nn.Module) -> torch.Tensor:
        found = model(hidden_states=x, grid_thw=grid)
        return torch.cat([found.pooler_output, *found.deepstack_features])

    return timed_sides(
        title, model, forward, ASKED, input_shape=tuple(x.shape), num_rounds=NUM_ROUNDS
    )


TOWERS: dict[str, Callable[[], dict[str, Any]]] = {
    "siglip-so400m": siglip_so400m,
    "qwen3-vl-4b": lambda: qwen3_vl(
        num_layers=24,
        hidden_size=1024,
        intermediate_size=4096,
        title="Qwen3-VL-4B's tower, 8 frames of 448²",
    ),
}


if __name__ == "__main__":
    run_cases(__doc__, TOWERS)
