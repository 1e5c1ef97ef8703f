"""Compare every attention path that runs on this machine with the one the table chooses.

Letters: `B` clips, `H` heads, `N` tokens now, `D` channels a head.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from vidtldr.measure.busyness import BusyReport
from vidtldr.measure.timing import Timing, paired_ratios, time_in_turn
from vidtldr.ops.attention.api import ATTENTIONS
from vidtldr.ops.attention.paths import AttentionPath, choose_path, runnable_paths

__all__ = ["PathTimes", "measure_paths"]

Outputs = tuple[Tensor, Tensor | None]  # values and score

SDPA = "SDPA"  # without mass and score, as in an unmerged model
# The table is wrong if another path is faster in every round, and by this factor in the median.
CLEARLY_FASTER = 1.1
# Between two paths, relative to the largest value: float32 rounding, or twice that of half dtypes.
FLOAT32_BOUND = 1e-4


@dataclass(frozen=True)
class PathTimes:
    """Attention with mass of one kind, on every path that runs here.

    Attributes:
        dtype: Dtype of queries, keys and values, such as "float32".
        num_tokens: N.
        is_scored: Whether sharpness is computed.
        chosen: The path that `auto` takes.
        times_ms: Times per round of each path, and of fused attention without mass and score
            ("SDPA").
        over_sdpa: Time over SDPA's in the same rounds, by path: median, lowest and highest.
        busy: CPU time other programs took meanwhile.
    """

    dtype: str
    num_tokens: int
    is_scored: bool
    chosen: AttentionPath
    times_ms: dict[str, tuple[float, ...]]
    over_sdpa: dict[str, dict[str, float]]
    busy: BusyReport

    @property
    def faster(self) -> dict[str, float]:
        """Return the paths clearly faster than the chosen one, with their speed-ups."""
        chosen = Timing(self.times_ms[self.chosen])
        ratios = {
            path: paired_ratios(chosen, Timing(times))
            for path, times in self.times_ms.items()
            if path not in (SDPA, self.chosen)
        }
        return {
            path: ratio["median"]
            for path, ratio in ratios.items()
            if ratio["lowest"] > 1 and ratio["median"] >= CLEARLY_FASTER
        }

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            "dtype": self.dtype,
            "num_tokens": self.num_tokens,
            "is_scored": self.is_scored,
            "chosen": self.chosen,
            "times_ms": self.times_ms,
            "over_sdpa": self.over_sdpa,
            "faster": self.faster,
            **self.busy.to_dict(),
        }


@torch.inference_mode()
def measure_paths(
    *,
    dtypes: list[torch.dtype],
    tokens: list[int],
    num_heads: int,
    channels: int,
    batch: int,
    device: torch.device,
    num_rounds: int,
    on_step: Callable[[], object] = lambda: None,
) -> Iterator[PathTimes]:
    """Compare the outputs of all paths, then time them in turn.

    Args:
        dtypes: Dtypes of queries, keys and values.
        tokens: N.
        num_heads: H.
        channels: D.
        batch: B.
        device: The device to run on.
        num_rounds: Timed rounds, after one warm-up round.
        on_step: Called after every kind of attention.

    Yields:
        The times of each kind of attention.

    Raises:
        FloatingPointError: If two paths differ by more than rounding.
    """
    for dtype, num_tokens, is_scored in product(dtypes, tokens, (False, True)):
        shape = (3, batch, num_heads, num_tokens, channels)
        q, k, v = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device, dtype)
        mass = 1 + 9 * torch.rand(batch, num_tokens, generator=torch.Generator().manual_seed(1))
        runs = _runs(q, k, v, mass.to(device), is_scored=is_scored)
        _compare(runs, dtype)
        timings = time_in_turn(runs, num_repeats=num_rounds, device=device)
        yield PathTimes(
            str(dtype).removeprefix("torch."),
            num_tokens,
            is_scored,
            choose_path(q, is_scored=is_scored),
            {path: timing.times_ms for path, timing in timings.items()},
            {
                path: paired_ratios(timing, timings[SDPA])
                for path, timing in timings.items()
                if path != SDPA
            },
            timings[SDPA].busy,
        )
        on_step()


def _runs(
    q: Tensor, k: Tensor, v: Tensor, mass: Tensor, *, is_scored: bool
) -> dict[str, Callable[[], Outputs]]:
    scale = q.shape[-1] ** -0.5
    score = "sharpness" if is_scored else None

    def run(path: AttentionPath) -> Outputs:
        return ATTENTIONS[path](q, k, v, scale, mass, score)

    runs: dict[str, Callable[[], Outputs]] = {
        SDPA: lambda: (F.scaled_dot_product_attention(q, k, v, scale=scale), None)
    }
    return runs | {path: partial(run, path) for path in runnable_paths(q, is_scored=is_scored)}


def _compare(runs: dict[str, Callable[[], Outputs]], dtype: torch.dtype) -> None:
    outputs = {path: run() for path, run in runs.items() if path != SDPA}
    first = next(iter(outputs))
    half = 4 * torch.finfo(dtype).eps
    # Scores are float32 whatever the dtype.
    bounds = (FLOAT32_BOUND if dtype == torch.float32 else half, FLOAT32_BOUND)
    for path, output in outputs.items():
        for found, expected, bound in zip(output, outputs[first], bounds, strict=True):
            if found is None or expected is None:
                continue
            difference = ((found - expected).abs().max() / expected.abs().max()).item()
            if difference <= bound:
                continue
            raise FloatingPointError(
                f"attention by {path!r} must be that by {first!r} within {bound:.2g} of the "
                f"largest value, got {difference:.2g}. Please report it: its time means nothing."
            )
