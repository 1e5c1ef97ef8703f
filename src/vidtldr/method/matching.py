"""Bipartite soft matching: which tokens merge into which.

Letters: `B` clips, `N` tokens now, `M` mergeable ones (neither prefix nor suffix), `S` sources
among them, `T` tokens of a tube, `C` channels.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from vidtldr.exporting import is_exporting
from vidtldr.method.proposals import apply_protection, propose
from vidtldr.schedule import validate_r

__all__ = ["Match", "match_tokens"]


class Match(NamedTuple):
    """Who merges into whom in one layer; indices are on the token axis before the merge.

    Token order after the merge: prefix tokens, `kept`, destinations, suffix tokens. Where tubes of
    T tokens merge, each index of a tube stands for its T tokens, which follow each other.

    Attributes:
        kept: Sources that do not merge, in their original order, shape (B, S - r), int64.
        src: Sources that merge, best match first, shape (B, r), int64.
        dst: The destination that each of `src` merges into, shape (B, r), int64.
        num_tokens: N before the merge, prefix and suffix tokens included.
        num_prefix_tokens: Class and register tokens at the front, which take no part.
        num_suffix_tokens: Tokens at the back, which take no part.
        tube_length: T, tokens of a tube; 1 where each token merges by itself.
    """

    kept: Tensor
    src: Tensor
    dst: Tensor
    num_tokens: int
    num_prefix_tokens: int
    num_suffix_tokens: int = 0
    tube_length: int = 1

    @property
    def end(self) -> int:
        """Where the suffix begins."""
        return self.num_tokens - self.num_suffix_tokens

    @property
    def num_destinations(self) -> int:
        """Number of tokens that others may merge into."""
        num_tubes = (self.end - self.num_prefix_tokens) // self.tube_length
        return num_tubes // 2 * self.tube_length

    def destinations_of(self, x: Tensor) -> Tensor:
        """Take the destinations, in order, of one value per token (B, N, ...)."""
        mergeable = x[:, self.num_prefix_tokens : self.end]
        if self.tube_length == 1:
            return mergeable[:, 1::2]
        tubes = mergeable.reshape(x.shape[0], -1, self.tube_length, *x.shape[2:])
        return tubes[:, 1::2].flatten(1, 2)

    def count_among_destinations(self, index: Tensor) -> Tensor:
        """Turn indices of destinations into their numbers among the destinations."""
        index, length = index - self.num_prefix_tokens, self.tube_length
        if length == 1:
            return index // 2
        return index // (2 * length) * length + index % length


def match_tokens(
    metric: Tensor,
    r: int,
    num_prefix_tokens: int = 0,
    num_suffix_tokens: int = 0,
    tube_length: int = 1,
    *,
    mass: Tensor | None = None,
    protection: Tensor | None = None,
    spared: Tensor | None = None,
) -> Match:
    """Pair the `r` most similar (source, destination) tokens of each clip.

    Between prefix and suffix, even tokens are sources and odd tokens are destinations. Each source
    proposes to its most similar destination by cosine; the `r` best proposals win, ties going to
    the earlier. A token of zero length is similar to nothing (cosine 0). Tubes are matched by the
    mean of their tokens, and token k of a tube merges into token k of the other.

    Without the three keyword options this is the matching of the papers. They change the value of
    a proposal, not how the best proposals are chosen. All tokens of a tube have equal mass,
    protection and sparing.

    Args:
        metric: The features compared, shape (B, N, C). Half types are compared in float32.
        r: Tokens, or tubes of them, to remove: at most half of those between prefix and suffix.
        num_prefix_tokens: Tokens at the front that are never matched.
        num_suffix_tokens: Tokens at the back that are never matched.
        tube_length: T, neighbouring tokens that merge as one.
        mass: Mass of each token, shape (B, N), positive and finite: pairs are valued by Ward's
            linkage, see `propose`. None: by their cosine.
        protection: Protection of each mergeable token, shape (B, M), finite and at least 0; see
            `apply_protection`. It decides which sources merge, not into which destinations.
        spared: True for mergeable tokens that take part only when no others are left, bool, shape
            (B, M); see `propose`.

    Returns:
        The match. Its shapes depend only on B, N, r and T.

    Raises:
        ValueError: If `metric` or an option has the wrong shape, `r` or a number of tokens is out
            of range, or the mergeable tokens do not fill whole tubes.
        TypeError: If `metric`, `mass` or `protection` is not floating point, `spared` not bool, or
            `r` not an int.

    Source: Bolya et al., ICLR 2023 (bipartite soft matching); Choi et al., CVPR 2024 (on the
    residual stream).
    """
    num_tokens = _validate_metric(metric, r, num_prefix_tokens, num_suffix_tokens, tube_length)
    mergeable = slice(num_prefix_tokens, num_tokens - num_suffix_tokens)
    features = _tube_means(metric.detach()[:, mergeable], tube_length)
    _validate_option("mass", mass, metric)
    _validate_option("protection", protection, metric[:, mergeable])
    _validate_option("spared", spared, metric[:, mergeable], is_bool=True)
    value, best_destination = propose(
        features,
        None if mass is None else mass.detach()[:, mergeable][:, ::tube_length],
        None if spared is None else spared[:, ::tube_length],
    )
    if protection is not None:
        value = apply_protection(value, protection.detach()[:, :: 2 * tube_length])
    merged, kept = _choose(value, r)
    chosen = best_destination.gather(-1, merged)
    return Match(
        kept=num_prefix_tokens + _tokens_of(2 * kept, tube_length),
        src=num_prefix_tokens + _tokens_of(2 * merged, tube_length),
        dst=num_prefix_tokens + _tokens_of(2 * chosen + 1, tube_length),
        num_tokens=num_tokens,
        num_prefix_tokens=num_prefix_tokens,
        num_suffix_tokens=num_suffix_tokens,
        tube_length=tube_length,
    )


def _choose(value: Tensor, r: int) -> tuple[Tensor, Tensor]:
    """Choose the sources that merge, (B, r), and those that do not, (B, S - r)."""
    if is_exporting():
        return _choose_in_graph(value, r)
    order = value.argsort(dim=-1, descending=True, stable=True)
    return order[:, :r], order[:, r:].sort(dim=-1).values


def _choose_in_graph(value: Tensor, r: int) -> tuple[Tensor, Tensor]:
    """Choose the same sources as a stable sort does, (B, r) and (B, S - r), both in their order.

    No engine has a stable sort, and they break ties in `topk` as they like. So only the value of
    the last proposal that wins is taken from `topk`; how many equal to it win is counted.
    """
    num_sources = int(value.shape[1])
    places = torch.arange(num_sources, device=value.device).expand(value.shape)
    if r == 0 or r == num_sources:
        return places[:, :r], places[:, r:]
    last = value.topk(r, dim=-1).values[:, -1:]
    is_better, is_equal = value > last, value == last
    num_equal = r - is_better.to(torch.int64).sum(dim=-1, keepdim=True)
    wins = is_better | (is_equal & (is_equal.to(torch.int64).cumsum(dim=-1) <= num_equal))
    # Losers come first, in their order, then winners in theirs.
    num_winners = wins.to(torch.int64).cumsum(dim=-1)
    order = torch.where(wins, num_winners - 1 + num_sources - r, places - num_winners)
    sources = torch.zeros_like(order).scatter(1, order, places)
    return sources[:, num_sources - r :], sources[:, : num_sources - r]


def _tokens_of(tubes: Tensor, length: int) -> Tensor:
    """Indices of the tokens of some tubes (B, K): (B, K * T)."""
    if length == 1:
        return tubes
    steps = torch.arange(length, device=tubes.device)
    return (tubes.unsqueeze(-1) * length + steps).flatten(1)


def _tube_means(metric: Tensor, tube_length: int) -> Tensor:
    """Mean of the tokens of each tube, (B, M / T, C), float32 or better."""
    if metric.dtype != torch.float64:
        metric = metric.float()
    if tube_length == 1:
        return metric
    return metric.reshape(metric.shape[0], -1, tube_length, metric.shape[-1]).mean(dim=2)


def _validate_option(
    name: str, option: Tensor | None, metric: Tensor, *, is_bool: bool = False
) -> None:
    if option is None:
        return
    if (option.dtype != torch.bool) if is_bool else not option.is_floating_point():
        rule = "bool, True for tokens to spare" if is_bool else "floating point"
        remedy = "Compare it with a number" if is_bool else "Convert it with .float()"
        raise TypeError(f"{name} must be {rule}, got {option.dtype}. {remedy}.")
    if option.shape != metric.shape[:2]:
        raise ValueError(
            f"`{name}` must have shape {tuple(metric.shape[:2])}, one value per token, got "
            f"{tuple(option.shape)}. Pass the values of the same tokens as `metric`."
        )


def _validate_metric(
    metric: Tensor, r: int, num_prefix_tokens: int, num_suffix_tokens: int, tube_length: int
) -> int:
    if metric.dim() != 3:
        raise ValueError(
            f"metric must be (B, N, C), got shape {tuple(metric.shape)}. Flatten or average the "
            "heads."
        )
    if not metric.is_floating_point():
        raise TypeError(
            f"metric must be floating point, got {metric.dtype}. Convert it with .float()."
        )
    num_tokens = metric.shape[1]
    if not 0 <= num_prefix_tokens <= num_tokens:
        raise ValueError(
            f"num_prefix_tokens must be in [0, {num_tokens}] (the number of tokens), got "
            f"{num_prefix_tokens}. Count class and register tokens only."
        )
    if not 0 <= num_suffix_tokens <= num_tokens - num_prefix_tokens:
        raise ValueError(
            f"num_suffix_tokens must be in [0, {num_tokens - num_prefix_tokens}] (the tokens "
            f"behind the prefix), got {num_suffix_tokens}. Count tokens that never merge only."
        )
    num_mergeable = num_tokens - num_prefix_tokens - num_suffix_tokens
    if tube_length < 1 or num_mergeable % tube_length:
        raise ValueError(
            f"tube_length must divide the {num_mergeable} mergeable tokens, got {tube_length}. "
            "Pass the number of frames."
        )
    validate_r(r, num_mergeable // tube_length)
    return num_tokens
