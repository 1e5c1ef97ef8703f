"""The latency of a transformer's forward on one device, and the schedule for a speed-up.

No torch here: the caller measures the times.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import floor
from typing import Self

from vidtldr.budget.costs import even_schedules, first_that_fits, merging

__all__ = ["Curve", "LatencyModel", "r_for_speedup"]


@dataclass(frozen=True)
class Curve:
    """Seconds as a non-decreasing function of the number of tokens.

    Attributes:
        num_tokens: The measured numbers of tokens, increasing.
        seconds: The times measured there, made monotone.
    """

    num_tokens: tuple[int, ...]
    seconds: tuple[float, ...]

    @classmethod
    def fit(cls, measured: Mapping[int, float]) -> Self:
        """Fit the monotone curve nearest to the measurements, by least squares.

        Neighbours in the wrong order are noise and share their mean (pool adjacent violators).

        Args:
            measured: Seconds by number of tokens, not empty.
        """
        places = sorted(measured)
        pools: list[list[float]] = []
        for place in places:
            pools.append([measured[place]])
            while len(pools) > 1 and _mean(pools[-2]) > _mean(pools[-1]):
                last = pools.pop()
                pools[-1] += last
        seconds = [_mean(pool) for pool in pools for _ in pool]
        return cls(tuple(places), tuple(seconds))

    def at(self, num_tokens: int) -> float:
        """Interpolate linearly between the measurements; constant outside.

        Constant, so that it never predicts less time than was ever measured.
        """
        after = bisect_left(self.num_tokens, num_tokens)
        if after == 0 or after == len(self.num_tokens):
            return self.seconds[min(after, len(self.num_tokens) - 1)]
        left, right = self.num_tokens[after - 1], self.num_tokens[after]
        share = (num_tokens - left) / (right - left)
        return self.seconds[after - 1] + share * (self.seconds[after] - self.seconds[after - 1])


@dataclass(frozen=True)
class LatencyModel:
    """Seconds of one forward, composed of the halves of its layers, which are all alike.

    Attributes:
        attention: The first half of a layer.
        weighed: The first half where tokens have mass.
        scored: The first half with mass and the score of a merging layer.
        merging: The work of a merging layer between the halves.
        mlp: The second half.
        num_layers: Number of layers of the model.
        num_tokens: Tokens that enter the first layer, prefix tokens included.
        num_prefix_tokens: Class and register tokens, which never merge.
        around: Seconds spent outside the layers.
    """

    attention: Curve
    weighed: Curve
    scored: Curve
    merging: Curve
    mlp: Curve
    num_layers: int
    num_tokens: int
    num_prefix_tokens: int
    around: float

    def seconds(self, r_schedule: Sequence[int] = ()) -> float:
        """Return the seconds of the forward with a schedule; missing layers merge nothing."""
        tokens, has_mass, total = self.num_tokens, False, self.around
        missing = [0] * (self.num_layers - len(r_schedule))
        for r in [*r_schedule, *missing]:
            if r:
                total += self.scored.at(tokens) + self.merging.at(tokens)
                has_mass = True
            else:
                total += (self.weighed if has_mass else self.attention).at(tokens)
            tokens -= r
            total += self.mlp.at(tokens)
        return total

    def speedup(self, r_schedule: Sequence[int]) -> float:
        """Return how many times faster the forward is with a schedule."""
        return self.seconds() / self.seconds(r_schedule)


@lru_cache(maxsize=64)  # a model is patched again for every batch
def r_for_speedup(model: LatencyModel, speedup: float, layers: tuple[int, ...]) -> tuple[int, ...]:
    """Find the schedule predicted to reach a speed-up and barely exceed it.

    Spread over the layers as in `r_for_flop_ratio`.

    Args:
        model: The latency model of the device.
        speedup: The speed-up to reach, at least 1.
        layers: The layers that may merge, 0-based, increasing.

    Returns:
        Tokens to remove in each layer up to the last merging one.

    Raises:
        ValueError: If the layers cannot save enough; the message names the highest speed-up they
            reach.
    """
    mergeable = model.num_tokens - model.num_prefix_tokens
    found = first_that_fits(mergeable, layers, lambda r: model.speedup(r) >= speedup)
    if found is None:
        most = max(model.speedup(r) for r in even_schedules(mergeable, layers))
        raise ValueError(
            f"`speedup` must be at most {floor(1000 * most) / 1000} where {merging(layers)} "
            f"(at most half of the tokens in each) on this device, got {speedup}. Lower it, "
            "or let more or earlier layers merge."
        )
    return found


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
