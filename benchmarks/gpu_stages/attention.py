"""Attention of one layer, with mass and score, against plain fused attention.

Layers that merge nothing need mass but no score: for them each back-end is tried with log mass as a
bias and with log mass folded into an extra channel.
"""

from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from gpu_stages.backends import BACKENDS, first_line
from gpu_stages.bounds import Inputs, errors_of, is_within
from gpu_stages.clock import described, time_parts
from gpu_stages.stage import Work
from vidtldr.measure.memory import peak_tensor_bytes
from vidtldr.measure.timing import paired_ratios
from vidtldr.ops.attention import AttentionOutput, attend

__all__ = ["measure_attention"]

Side = Callable[[], AttentionOutput]


def measure_attention(work: Work, batch: int, num_tokens: int) -> dict[str, Any]:
    """Check and time every variant at one size in bfloat16; times are per call."""
    shape = (batch, work.sizes.num_heads, num_tokens, work.sizes.channels)
    inputs = Inputs.draw(shape, torch.bfloat16, work.device)
    with torch.inference_mode():
        sides, refused = _keep_what_runs(_sides_of(inputs))
        errors, wrong = _check(sides, inputs)
        right = {name: side for name, side in sides.items() if name not in wrong}
        rows = _measure(right, work)
    found = {"shape": shape, "dtype": "bfloat16", "refused": refused, "wrong": wrong}
    return found | rows | {"errors": errors}


def _measure(sides: dict[str, Side], work: Work) -> dict[str, Any]:
    """Measure times relative to the fastest back-end without mass, and peak memory."""
    timings = time_parts(sides, work)
    best = min(
        (name for name in sides if name.removeprefix("sdpa-") in BACKENDS),
        key=lambda name: median(timings[name].times_ms),
    )
    return {
        "best_sdpa": best,
        "sides": {
            name: described(timings[name])
            | {
                "time_over_best_sdpa": paired_ratios(timings[name], timings[best]),
                "peak_tensor_bytes": peak_tensor_bytes(side, work.device),
            }
            for name, side in sides.items()
        },
    }


def _sides_of(inputs: Inputs) -> dict[str, Side]:
    q, k, v, mass, scale = inputs.q, inputs.k, inputs.v, inputs.mass, inputs.scale

    def scored(impl: Any, score: Any, mass: Tensor | None) -> Side:
        return lambda: attend(q, k, v, scale=scale, mass=mass, score=score, impl=impl)

    sides: dict[str, Side] = {}
    for name, backend in BACKENDS.items():
        sides[f"sdpa-{name}"] = _fused(
            backend, lambda: F.scaled_dot_product_attention(q, k, v, scale=scale)
        )
        sides[f"sdpa-{name}-bias-with-mass"] = _fused(
            # Named explicitly: "auto" need not take fused attention on a CPU.
            backend,
            lambda: attend(q, k, v, scale=scale, mass=mass, impl="blocked").x,
        )
        sides[f"sdpa-{name}-folded-with-mass"] = _fused(backend, lambda: _folded(inputs))
    sides["triton"] = scored("triton", "sharpness", None)
    sides["triton-with-mass"] = scored("triton", "sharpness", mass)
    sides["triton-received-with-mass"] = scored("triton", "received", mass)
    # The per-head score comes from the attention kernel itself.
    sides["triton-per-head-with-mass"] = scored("triton", "sharpness-per-head", mass)
    sides["blocked-with-mass"] = scored("blocked", "sharpness", mass)
    return sides


def _fused(backend: SDPBackend, attention: Callable[[], Tensor]) -> Side:
    def run() -> AttentionOutput:
        with sdpa_kernel(backend):
            return AttentionOutput(attention(), None)

    return run


def _folded(inputs: Inputs) -> Tensor:
    """Add log mass as an extra key channel (queries have 1 there), padded to eight channels."""
    q, k, v = inputs.q, inputs.k, inputs.v
    group = (*q.shape[:-1], 8)
    ones, logs, zeros = q.new_zeros(group), q.new_zeros(group), q.new_zeros(group)
    ones[..., 0] = 1
    logs[..., 0] = (inputs.mass.log() / inputs.scale)[:, None]
    longer = [torch.cat(pair, dim=-1) for pair in ((q, ones), (k, logs), (v, zeros))]
    return F.scaled_dot_product_attention(*longer, scale=inputs.scale)[..., : v.shape[-1]]


def _keep_what_runs(sides: dict[str, Side]) -> tuple[dict[str, Side], dict[str, str]]:
    """Return the variants that run here, and the reason for each that does not."""
    refused: dict[str, str] = {}
    for name, side in sides.items():
        try:
            side()
        except Exception as error:  # no kernel, out of memory, no Triton: the message says which
            refused[name] = first_line(error)
    return {name: side for name, side in sides.items() if name not in refused}, refused


def _check(
    sides: dict[str, Side], inputs: Inputs
) -> tuple[dict[str, dict[str, float | None]], dict[str, dict[str, float | None]]]:
    """Compute every variant's errors on the last clip against float64, and those out of bounds."""
    errors = {}
    for name, side in sides.items():
        out = side()
        score = None if out.score is None else out.score[-1:]
        errors[name] = errors_of(
            AttentionOutput(out.x[-1:], score),
            inputs.last(),
            with_mass=name.endswith("with-mass"),
            score=_score_of(name),
        )
    return errors, {name: found for name, found in errors.items() if not is_within(found)}


def _score_of(name: str) -> Any:
    if "received" in name:
        return "received"
    return "sharpness-per-head" if "per-head" in name else "sharpness"
