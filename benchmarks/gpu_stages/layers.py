"""The time breakdown of each merging layer: attention, score, match, merge, and MLP.

Letters: `B` clips, `N` tokens, `C` channels.
"""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from gpu_stages.clock import described, time_parts
from gpu_stages.stage import Work
from gpu_stages.subjects import subject
from vidtldr.hosts.host import Host
from vidtldr.hosts.registry import find_host
from vidtldr.method.matching import match_tokens
from vidtldr.method.merging import merge_tokens
from vidtldr.method.saliency import masked_saliency
from vidtldr.ops.attention import attend

__all__ = ["measure_layers"]


def measure_layers(work: Work, name: str, batch: int) -> dict[str, Any]:
    """Time the parts of every merging layer of a model in bfloat16, on random tokens."""
    chosen = subject(name, is_smoke=work.sizes.is_smoke)
    host = find_host(copy.deepcopy(chosen.model).to(work.device, torch.bfloat16))
    assert host.num_tokens is not None  # built-in subjects have a fixed input
    num_tokens, layers = host.num_tokens, []
    for layer, r in enumerate(chosen.r):
        if r:
            shape = (batch, num_tokens)
            layers.append({"layer": layer, "r": r} | _measure_layer(work, host, layer, shape, r))
            num_tokens -= r
        work.keep({"model": name, "batch": batch, "layers": layers})
    return {"model": name, "batch": batch, "layers": layers}


def _measure_layer(
    work: Work, host: Host, layer: int, shape: tuple[int, int], r: int
) -> dict[str, Any]:
    sizes = host.sizes(host.blocks[layer])
    generator = torch.Generator(work.device).manual_seed(layer)
    draw = partial(torch.randn, device=work.device, generator=generator)
    x = draw(*shape, sizes.num_heads * sizes.head_channels).to(torch.bfloat16)
    with torch.inference_mode():
        timings = time_parts(_parts_of(host, layer, x, 1 + draw(shape).abs(), r), work)
    times = {name: timing.median_ms for name, timing in timings.items()}
    return {
        "num_tokens": shape[1],
        "mass_ms": times["attention with mass"] - times["attention"],
        "score_ms": times["attention with mass and score"] - times["attention with mass"],
        "parts": {name: described(timing) for name, timing in timings.items()},
    }


def _parts_of(
    host: Host, layer: int, x: Tensor, mass: Tensor, r: int
) -> dict[str, Callable[[], object]]:
    """Isolate each part, on tokens x (B, N, C) with mass (B, N); attention includes its norm."""
    block, prefix = host.blocks[layer], host.num_prefix_tokens
    plain, weighed = partial(attend), partial(attend, mass=mass)
    scored = partial(attend, mass=mass, score="sharpness")
    half = host.attention_half(block, x, scored)
    assert half.score is not None
    score = half.score[:, prefix:]
    weights = masked_saliency(score)
    match = match_tokens(half.x, r, prefix)
    merged, _ = merge_tokens(half.x, mass, match, weights)
    return {
        "attention": lambda: host.attention_half(block, x, plain),
        "attention with mass": lambda: host.attention_half(block, x, weighed),
        "attention with mass and score": lambda: host.attention_half(block, x, scored),
        "weights of a score": lambda: masked_saliency(score),
        "match": lambda: match_tokens(half.x, r, prefix),
        "merge": lambda: merge_tokens(half.x, mass, match, weights),
        "mlp, unmerged": lambda: host.mlp_half(block, half.x),
        "mlp, merged": lambda: host.mlp_half(block, merged),
    }
