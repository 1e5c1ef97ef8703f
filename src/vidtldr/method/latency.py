"""What a transformer's forward takes on one device, and the schedule that meets a speed-up.

No torch here: times come from whoever measured them.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import floor
from typing import Self

from vidtldr.method.budget import even_schedules, first_that_fits, listed

__all__ = ["Curve", "LatencyModel", "r_for_speedup"]


@dataclass(frozen=True)
class Curve:
    """Seconds against a number of tokens; it never falls.

    Attributes:
        num_tokens: Where it was measured, increasing.
        seconds: What was measured there, made monotone.
    """

    num_tokens: tuple[int, ...]
    seconds: tuple[float, ...]

    @classmethod
    def fit(cls, measured: Mapping[int, float]) -> Self:
        """The monotone curve nearest to what was measured, by least squares.

        Neighbours in the wrong order, which is noise, share their mean (pool adjacent violators).

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
        """Seconds, on a straight line between what was measured, and level outside.

        Level, so that it never promises to be faster than anything that was seen.
        """
        after = bisect_left(self.num_tokens, num_tokens)
        if after == 0 or after == len(self.num_tokens):
            return self.seconds[min(after, len(self.num_tokens) - 1)]
        left, right = self.num_tokens[after - 1], self.num_tokens[after]
        share = (num_tokens - left) / (right - left)
        return self.seconds[after - 1] + share * (self.seconds[after] - self.seconds[after - 1])


@dataclass(frozen=True)
class LatencyModel:
    """Seconds of one forward, put together from the halves of its layers, which are all alike.

    Attributes:
        attention: The first half of a layer.
        weighed: The same where tokens have mass.
        scored: The same with mass and the score of a merging layer.
        merging: What a merging layer does between the halves.
        mlp: The second half.
        num_layers: Of the model.
        num_tokens: Tokens that enter the first layer, prefix tokens included.
        num_prefix_tokens: Class and register tokens, which never merge.
        around: Seconds of what is not in a layer.
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
        """Seconds of the forward with a schedule; missing layers merge nothing."""
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
        """How many times faster the forward is with a schedule."""
        return self.seconds() / self.seconds(r_schedule)


@lru_cache(maxsize=64)  # a model is patched again for every batch
def r_for_speedup(model: LatencyModel, speedup: float, layers: tuple[int, ...]) -> tuple[int, ...]:
    """Find the schedule that is predicted to be so many times faster, and hardly more.

    Spread over the layers as in `r_for_flop_ratio`.

    Args:
        model: Of the device.
        speedup: Times, at least 1.
        layers: The layers that may merge, 0-based, increasing.

    Returns:
        Tokens to remove in each layer up to the last listed one.

    Raises:
        ValueError: If the layers cannot save so much; the message names the most that they can.
    """
    mergeable = model.num_tokens - model.num_prefix_tokens
    found = first_that_fits(mergeable, layers, lambda r: model.speedup(r) >= speedup)
    if found is None:
        most = max(model.speedup(r) for r in even_schedules(mergeable, layers))
        raise ValueError(
            f"speedup must be at most {floor(1000 * most) / 1000} where layers {listed(layers)} "
            f"merge (at most half of the tokens in each) on this device, got {speedup}. Lower it, "
            "or let more or earlier layers merge."
        )
    return found


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
