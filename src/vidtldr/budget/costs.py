"""The cost of a transformer's forward, and the schedule that meets a budget. No torch here.

FLOPs cover matrix products, convolutions and attention, with 1 MAC = 2 FLOPs, as
`vidtldr.measure.flops` counts them by running the model. Here they are computed from sizes, so that
thousands of schedules can be tried in a moment.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil

from vidtldr.config import Linkage

__all__ = [
    "ForwardCosts",
    "LayerCosts",
    "default_layers",
    "even_schedules",
    "first_that_fits",
    "merging",
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
        score_per_token: The cost of the score for each token, where the layer merges.
        constant: What it costs besides, whatever the number of tokens; may be negative.
    """

    attention_per_token: int
    attention_per_pair: int
    mlp_per_token: int
    match_per_pair: int
    score_per_token: int = 0
    constant: int = 0


@dataclass(frozen=True)
class ForwardCosts:
    """FLOPs of the parts of one clip's forward.

    Attributes:
        layers: First layer first.
        num_tokens: Tokens that enter the first layer, extra tokens included; where tubes of tokens
            merge, tubes and extra tokens.
        num_prefix_tokens: Class and register tokens and others, in front or behind, which never
            merge.
        constant: Head.
        per_final_token: The head's cost for every token that leaves the last layer.
        per_place: Patch embedding and what reads the grid, for every token, or tube, that enters
            the first layer and may merge.
    """

    layers: tuple[LayerCosts, ...]
    num_tokens: int
    num_prefix_tokens: int
    constant: int = 0
    per_final_token: int = 0
    per_place: int = 0

    def flops(self, r_schedule: Sequence[int] = ()) -> int:
        """Return the FLOPs of the forward with a schedule; missing layers merge nothing."""
        final_tokens = self.num_tokens - sum(r_schedule)
        per_layer = sum(self.flops_per_layer(r_schedule))
        places = self.num_tokens - self.num_prefix_tokens
        around = self.constant + places * self.per_place + final_tokens * self.per_final_token
        return around + per_layer

    def flops_per_layer(self, r_schedule: Sequence[int] = ()) -> list[int]:
        """Return the FLOPs of each layer with a schedule, including the cost of merging."""
        tokens, per_layer = self.num_tokens, []
        missing = [0] * (len(self.layers) - len(r_schedule))
        for layer, r in zip(self.layers, [*r_schedule, *missing], strict=True):
            flops = tokens * layer.attention_per_token + tokens**2 * layer.attention_per_pair
            flops += layer.constant
            if r:
                destinations = (tokens - self.num_prefix_tokens) // 2
                sources = tokens - self.num_prefix_tokens - destinations
                flops += sources * destinations * layer.match_per_pair
                flops += tokens * layer.score_per_token
            tokens -= r
            per_layer.append(flops + tokens * layer.mlp_per_token)
        return per_layer


def default_layers(num_layers: int, linkage: Linkage = "cosine") -> tuple[int, ...]:
    """The layers that a budget may use unless it names them.

    With Ward's linkage the first three quarters of the model's layers, rounded up: it loses least
    if every layer merges a little. Otherwise the first quarter, as in the paper's schedules.
    """
    return tuple(range(ceil(num_layers * (3 if linkage == "ward" else 1) / 4)))


@lru_cache(maxsize=64)  # a model is patched again for every batch
def r_for_flop_ratio(costs: ForwardCosts, flop_ratio: float, layers: tuple[int, ...]) -> _Schedule:
    """Find the schedule that costs at most a share of the unmerged FLOPs, and barely less.

    Every listed layer merges the same share of the tokens that enter it. Then layers get tokens
    back, the last one first, until none could keep one more.

    Args:
        costs: The costs of the model.
        flop_ratio: The share, in (0, 1].
        layers: The layers that may merge, 0-based, increasing.

    Returns:
        Tokens to remove in each layer up to the last listed one.

    Raises:
        ValueError: If the layers cannot save enough; the message names the lowest share.
    """
    full = costs.flops()
    mergeable = costs.num_tokens - costs.num_prefix_tokens
    # A quotient, as in the message: flop_ratio * full may round to less than the message says.
    found = first_that_fits(mergeable, layers, lambda r: costs.flops(r) / full <= flop_ratio)
    if found is None:
        flops = min(costs.flops(r) for r in even_schedules(mergeable, layers))
        lowest = ceil(1000 * flops / full) / 1000
        raise ValueError(
            f"`flop_ratio` must be at least {lowest} where {merging(layers)} (at most "
            f"half of the tokens in each), got {flop_ratio}. Raise it, or let more or earlier "
            "layers merge."
        )
    return found


def r_for_num_tokens(
    num_mergeable: int,
    num_kept: int,
    layers: tuple[int, ...],
    num_prefix_tokens: int = 0,
    tube_length: int = 1,
) -> _Schedule:
    """Find the schedule that keeps a number of tokens, spread as in `r_for_flop_ratio`.

    Args:
        num_mergeable: Tokens, or tubes of them, that enter the first layer, extra tokens left out.
        num_kept: Tokens that leave the last layer, extra tokens included.
        layers: The layers that may merge, 0-based, increasing.
        num_prefix_tokens: Class and register tokens and other extras, which never merge.
        tube_length: Tokens of a tube; 1 where tokens merge by themselves.

    Returns:
        Tokens, or tubes, to remove in each layer up to the last listed one.

    Raises:
        ValueError: If that is more tokens than enter, or fewer than the layers can leave (the
            message names both limits), or no whole tubes.
    """
    num_kept_tubes, rest = divmod(num_kept - num_prefix_tokens, tube_length)
    if rest:
        raise ValueError(
            f"`num_tokens` must be {num_prefix_tokens} and a multiple of {tube_length} (frames, "
            f"whose tokens merge alike), got {num_kept}. Pass {num_kept - rest}."
        )
    removed = num_mergeable - num_kept_tubes
    found = first_that_fits(num_mergeable, layers, lambda r: sum(r) >= removed)
    if removed < 0 or found is None:
        lowest = num_mergeable - sum(_even_schedule(num_mergeable, layers, num_mergeable))
        raise ValueError(
            f"`num_tokens` must be in [{lowest * tube_length + num_prefix_tokens}, "
            f"{num_mergeable * tube_length + num_prefix_tokens}] where {merging(layers)} (at most "
            f"half of the tokens in each), got {num_kept}. Change it, or let more layers merge."
        )
    return found


def first_that_fits(
    num_mergeable: int, layers: tuple[int, ...], fits: Callable[[_Schedule], bool]
) -> _Schedule | None:
    """Find the mildest even schedule that fits, then give tokens back; None if none fits."""
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
    """Repeat until stable: a layer that stops merging saves the cost of its score."""
    before = None
    while r != before:
        before = r
        for layer in range(len(r) - 1, -1, -1):
            while r[layer] and fits(one_less := (*r[:layer], r[layer] - 1, *r[layer + 1 :])):
                r = one_less
    return r


def merging(layers: tuple[int, ...]) -> str:
    """Format which layers merge, for an error message."""
    listed = ", ".join(map(str, layers))
    return f"layer {listed} merges" if len(layers) == 1 else f"layers {listed} merge"
