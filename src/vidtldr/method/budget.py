"""What a transformer's forward costs, and the schedule that meets a budget. No torch here.

FLOPs are those of matrix products, convolutions and attention, and 1 MAC = 2 FLOPs, as
`vidtldr.bench.flops` counts them by running the model in float32 on a CPU. Here they are worked
out, so that thousands of schedules can be tried in a moment. Other implementations of attention sum
up the mass in other layers or not at all, which is less than 1 % of a forward.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil

__all__ = [
    "ForwardCosts",
    "LayerCosts",
    "default_layers",
    "even_schedules",
    "first_that_fits",
    "listed",
    "r_for_flop_ratio",
    "r_for_num_tokens",
]

_Schedule = tuple[int, ...]


@dataclass(frozen=True)
class LayerCosts:
    """FLOPs of one layer.

    Attributes:
        attention_per_token: Projections before and after attention.
        attention_per_pair: Both products of attention for one query and one key, all heads.
        mlp_per_token: The MLP.
        match_per_pair: The similarity of one source and one destination, where the layer merges.
        score_per_token: What the score adds for each token, where the layer merges.
        score_per_pair: What it adds for one query and one key there.
        mass_per_pair: What the score adds for one query and one key once tokens have mass.
    """

    attention_per_token: int
    attention_per_pair: int
    mlp_per_token: int
    match_per_pair: int
    score_per_token: int = 0
    score_per_pair: int = 0
    mass_per_pair: int = 0


@dataclass(frozen=True)
class ForwardCosts:
    """FLOPs of the parts of one clip's forward.

    Attributes:
        layers: First layer first.
        num_tokens: Tokens that enter the first layer, prefix tokens included.
        num_prefix_tokens: Class and register tokens, which never merge.
        constant: Patch embedding and head.
        per_final_token: What the head does with every token that leaves the last layer.
    """

    layers: tuple[LayerCosts, ...]
    num_tokens: int
    num_prefix_tokens: int
    constant: int = 0
    per_final_token: int = 0

    def flops(self, r_schedule: Sequence[int] = ()) -> int:
        """FLOPs of the forward with a schedule; missing layers merge nothing."""
        final_tokens = self.num_tokens - sum(r_schedule)
        per_layer = sum(self.flops_per_layer(r_schedule))
        return self.constant + per_layer + final_tokens * self.per_final_token

    def flops_per_layer(self, r_schedule: Sequence[int] = ()) -> list[int]:
        """FLOPs of each layer with a schedule, what merging costs included."""
        tokens, has_mass, per_layer = self.num_tokens, False, []
        missing = [0] * (len(self.layers) - len(r_schedule))
        for layer, r in zip(self.layers, [*r_schedule, *missing], strict=True):
            flops = tokens * layer.attention_per_token + tokens**2 * layer.attention_per_pair
            if r:
                destinations = (tokens - self.num_prefix_tokens) // 2
                sources = tokens - self.num_prefix_tokens - destinations
                flops += sources * destinations * layer.match_per_pair
                flops += tokens * layer.score_per_token + tokens**2 * layer.score_per_pair
                flops += tokens**2 * layer.mass_per_pair if has_mass else 0
                has_mass = True
            tokens -= r
            per_layer.append(flops + tokens * layer.mlp_per_token)
        return per_layer


def default_layers(num_layers: int) -> tuple[int, ...]:
    """The first quarter of a model's layers, rounded up, as the paper's schedules use it."""
    return tuple(range(ceil(num_layers / 4)))


@lru_cache(maxsize=64)  # a model is patched again for every batch
def r_for_flop_ratio(costs: ForwardCosts, flop_ratio: float, layers: tuple[int, ...]) -> _Schedule:
    """Find the schedule whose forward costs at most a share of the unmerged one, and hardly less.

    Every listed layer merges the same share of the tokens that enter it. Then layers get tokens
    back, the last one first, until none could keep one more.

    Args:
        costs: Of the model.
        flop_ratio: The share, in (0, 1].
        layers: The layers that may merge, 0-based, increasing.

    Returns:
        Tokens to remove in each layer up to the last listed one.

    Raises:
        ValueError: If the layers cannot save so much; the message names the lowest share.
    """
    full = costs.flops()
    mergeable = costs.num_tokens - costs.num_prefix_tokens
    # A quotient, as the message has it: flop_ratio * full may be rounded to less than it names.
    found = first_that_fits(mergeable, layers, lambda r: costs.flops(r) / full <= flop_ratio)
    if found is None:
        flops = min(costs.flops(r) for r in even_schedules(mergeable, layers))
        lowest = ceil(1000 * flops / full) / 1000
        raise ValueError(
            f"flop_ratio must be at least {lowest} where layers {listed(layers)} merge (at most "
            f"half of the tokens in each), got {flop_ratio}. Raise it, or let more or earlier "
            "layers merge."
        )
    return found


def r_for_num_tokens(
    num_mergeable: int, num_kept: int, layers: tuple[int, ...], num_prefix_tokens: int = 0
) -> _Schedule:
    """Find the schedule that leaves a number of tokens; spread as in `r_for_flop_ratio`.

    Args:
        num_mergeable: Tokens that enter the first layer, prefix tokens left out.
        num_kept: Tokens that leave the last layer, prefix tokens included.
        layers: The layers that may merge, 0-based, increasing.
        num_prefix_tokens: Class and register tokens, which never merge.

    Returns:
        Tokens to remove in each layer up to the last listed one.

    Raises:
        ValueError: If that is more than there are, or fewer than the layers can leave; the message
            names both limits.
    """
    removed = num_mergeable + num_prefix_tokens - num_kept
    found = first_that_fits(num_mergeable, layers, lambda r: sum(r) >= removed)
    if removed < 0 or found is None:
        lowest = num_mergeable - sum(_even_schedule(num_mergeable, layers, num_mergeable))
        raise ValueError(
            f"num_tokens must be in [{lowest + num_prefix_tokens}, "
            f"{num_mergeable + num_prefix_tokens}] where layers {listed(layers)} merge (at most "
            f"half of the tokens in each), got {num_kept}. Change it, or let more layers merge."
        )
    return found


def first_that_fits(
    num_mergeable: int, layers: tuple[int, ...], fits: Callable[[_Schedule], bool]
) -> _Schedule | None:
    """The evenly spread schedule that removes least and fits, tokens given back; None if none."""
    for r in even_schedules(num_mergeable, layers):
        if fits(r):
            return _with_tokens_given_back(r, fits)
    return None


def even_schedules(num_mergeable: int, layers: tuple[int, ...]) -> Iterator[_Schedule]:
    """Schedules of equal shares, from none of the tokens to half of them."""
    for share in range(num_mergeable + 1):
        yield _even_schedule(num_mergeable, layers, share)


def _even_schedule(num_mergeable: int, layers: tuple[int, ...], share: int) -> _Schedule:
    """Each listed layer merges `share / num_mergeable` of the half that it may."""
    r = [0] * (layers[-1] + 1)
    tokens = num_mergeable
    for layer in layers:
        r[layer] = tokens * share // (2 * num_mergeable)
        tokens -= r[layer]
    return tuple(r)


def _with_tokens_given_back(r: _Schedule, fits: Callable[[_Schedule], bool]) -> _Schedule:
    """Again and again, as a layer that stops merging saves what its score costs."""
    before = None
    while r != before:
        before = r
        for layer in range(len(r) - 1, -1, -1):
            while r[layer] and fits(one_less := (*r[:layer], r[layer] - 1, *r[layer + 1 :])):
                r = one_less
    return r


def listed(layers: tuple[int, ...]) -> str:
    """Layers with commas between, for a message."""
    return ", ".join(map(str, layers))
