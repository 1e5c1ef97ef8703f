"""How time and memory of one merging layer's attention grow with the number of tokens.

Letters: `B` clips, `H` heads, `N` tokens now, `D` channels a head.
"""

from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from vidtldr.baselines.materialised import two_maps
from vidtldr.bench.speed import validate_finite
from vidtldr.measure.memory import peak_tensor_bytes
from vidtldr.measure.timing import Timing, paired_ratios, time_in_turn
from vidtldr.ops.attention import AttentionScore, attend

__all__ = ["SIDES", "ScalingRow", "measure_scaling"]

SDPA = "SDPA"
MATERIALISED = "both maps stored"
# Whether keys have mass, as after the first merging layer, and which score is computed.
SIDES: dict[str, tuple[bool, AttentionScore | None]] = {
    SDPA: (False, None),
    "mass": (True, None),
    "sharpness": (False, "sharpness"),
    "mass, sharpness": (True, "sharpness"),
    "mass, sharpness per head": (True, "sharpness-per-head"),
    MATERIALISED: (True, "sharpness"),
}
NUM_MAPS = 4  # logits, with mass, and the two softmaxes
FLOAT32_BYTES = 4  # the second softmax is averaged in float32


@dataclass(frozen=True)
class ScalingRow:
    """One attention variant at one number of tokens.

    Attributes:
        side: One of `SIDES`.
        num_tokens: N.
        times_ms: Time per round, milliseconds; empty if the maps would not fit.
        peak_bytes: Peak memory of intermediate tensors; None if the maps would not fit.
        slowdown: Time over that of fused attention without mass and score in the same rounds:
            median, lowest and highest.
    """

    side: str
    num_tokens: int
    times_ms: tuple[float, ...]
    peak_bytes: int | None
    slowdown: dict[str, float] | None

    def to_dict(self) -> dict[str, Any]:
        """Return all fields, ready for JSON."""
        median_ms = Timing(self.times_ms).median_ms if self.times_ms else None
        return asdict(self) | {"median_ms": median_ms}


@torch.inference_mode()
def measure_scaling(
    num_tokens: int,
    *,
    num_heads: int,
    channels: int,
    batch: int,
    device: torch.device,
    dtype: torch.dtype,
    num_rounds: int,
    most_map_bytes: int,
    num_warmups: int = 1,
    sides: Collection[str] = SIDES,
) -> list[ScalingRow]:
    """Time attention on random queries, keys and values, with and without mass and a score.

    Args:
        num_tokens: N.
        num_heads: H.
        channels: D.
        batch: B.
        device: The device to run on.
        dtype: Dtype of queries, keys and values.
        num_rounds: Timed rounds.
        most_map_bytes: Maps that would take more memory than this are not stored; their row is
            empty.
        num_warmups: Warm-up rounds before them.
        sides: Which of `SIDES` to time; fused attention, the reference, is always timed.

    Raises:
        FloatingPointError: If attended values are not finite.
    """
    runs = _runs(num_tokens, num_heads, channels, batch, device, dtype)
    size = torch.finfo(dtype).bits // 8
    pair_bytes = NUM_MAPS * size + (FLOAT32_BYTES if size < FLOAT32_BYTES else 0)
    fits = pair_bytes * batch * num_heads * num_tokens**2 <= most_map_bytes
    runs = {side: run for side, run in runs.items() if side == SDPA or side in sides}
    if not fits:
        runs.pop(MATERIALISED, None)
    for side, run in runs.items():
        validate_finite(side, run())
    timings = time_in_turn(runs, num_repeats=num_rounds, num_warmups=num_warmups, device=device)
    rows = []
    for side, run in runs.items():
        slowdown = paired_ratios(timings[side], timings[SDPA])
        peak = peak_tensor_bytes(run, device)
        rows.append(ScalingRow(side, num_tokens, timings[side].times_ms, peak, slowdown))
    if not fits and MATERIALISED in sides:
        rows.append(ScalingRow(MATERIALISED, num_tokens, (), None, None))
    return rows


def _runs(
    num_tokens: int,
    num_heads: int,
    channels: int,
    batch: int,
    device: torch.device,
    dtype: torch.dtype,
) -> dict[str, Callable[[], Tensor]]:
    generator = torch.Generator(device).manual_seed(0)
    shape = (3, batch, num_heads, num_tokens, channels)
    q, k, v = torch.randn(shape, device=device, generator=generator).to(dtype)
    mass = 1 + 9 * torch.rand(batch, num_tokens, device=device, generator=generator)
    scale = channels**-0.5

    def run_of(side: str) -> Callable[[], Tensor]:
        has_mass, score = SIDES[side]
        weights = mass if has_mass else None
        if side == SDPA:  # `attend` without a score need not be fused attention
            return lambda: F.scaled_dot_product_attention(q, k, v, scale=scale)
        if side == MATERIALISED:
            return lambda: two_maps(q, k, v, scale=scale, mass=weights, with_score=True).x
        return lambda: attend(q, k, v, scale=scale, mass=weights, score=score).x

    return {side: run_of(side) for side in SIDES}
