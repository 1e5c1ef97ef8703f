"""Saliency-weighted merging of matched tokens (vid-TLDR Eq. 10, 11).

Letters: `B` clips, `N` tokens now, `r` tokens removed, `C` channels.
"""

import torch
from torch import Tensor

from vidtldr.exporting import is_exporting, merges_by_product
from vidtldr.method.matching import Match

__all__ = ["merge_tokens"]


def merge_tokens(
    x: Tensor, mass: Tensor, match: Match, weights: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Merge the matched sources into their destinations and remove them.

    A merged source counts with its mass times its weight (Eq. 10); destinations and kept sources
    keep their mass. A group becomes the mass-weighted mean of its tokens (Eq. 11). A source of
    weight 0 vanishes, and a destination that receives nothing stays bit-identical.
    Gradients flow to `x`, `mass` and `weights`; the choice of pairs has no gradient.

    Args:
        x: Tokens, shape (B, N, C).
        mass: Mass of each token, shape (B, N), at least 1 for every destination.
        match: The result of `match_tokens` on these N tokens.
        weights: Masked saliency of the mergeable tokens, those between prefix and suffix, shape
            (B, M), in [0, 1]; None for plain merging, all weights 1.

    Returns:
        Tokens, shape (B, N - r, C), dtype of `x`, and their mass, shape (B, N - r), dtype of
        `mass`. Order: prefix tokens, kept sources in their order, destinations, suffix tokens. Sums
        are taken in float32 or better.

    Raises:
        ValueError: If a shape does not fit the match.

    Source: Choi et al., CVPR 2024, Eq. 10, 11. Differs from the authors' code: products are not
    rounded to half.
    """
    _validate_shapes(x, mass, match, weights)
    prefix = match.num_prefix_tokens
    src_mass = mass.gather(1, match.src)  # (B, r)
    if weights is not None:
        src_mass = src_mass * weights.to(mass.dtype).gather(1, match.src - prefix)
    dst_place = match.count_among_destinations(match.dst)  # (B, r)
    old_mass = match.destinations_of(mass)
    dst_mass = _add_mass_at(old_mass, dst_place, src_mass)
    # Shares of the group's mass: (B, N - S) and (B, r). Exactly 1 and 0 where nothing arrives.
    dst_share, src_share = old_mass / dst_mass, src_mass / dst_mass.gather(1, dst_place)

    work = torch.promote_types(x.dtype, torch.float32)
    num_kept = match.kept.shape[1]
    # Kept and merged sources in one gather: small models are limited by the number of operators.
    sources = _take(x, torch.cat([match.kept, match.src], dim=1))
    kept = sources[:, :num_kept]  # (B, S - r, C)
    arriving = sources[:, num_kept:].to(work) * src_share.to(work).unsqueeze(-1)  # (B, r, C)
    merged = match.destinations_of(x).to(work) * dst_share.to(work).unsqueeze(-1)  # (B, N - S, C)
    merged = _add_at(merged, dst_place, arriving).to(x.dtype)
    behind = slice(match.end, None)
    x = torch.cat([x[:, :prefix], kept, merged, x[:, behind]], dim=1)
    kept_mass = mass.gather(1, match.kept)
    mass = torch.cat([mass[:, :prefix], kept_mass, dst_mass, mass[:, behind]], dim=1)
    return x, mass


def _take(x: Tensor, index: Tensor) -> Tensor:
    """Take the rows `index` (B, K) of each clip of `x` (B, N, C): (B, K, C)."""
    rows = x.flatten(0, 1).index_select(0, _flat(index, x.shape[1]))
    return rows.view(*index.shape, x.shape[-1])


def _add_at(x: Tensor, index: Tensor, rows: Tensor) -> Tensor:
    """Add `rows` (B, K, C) to the rows `index` (B, K) of each clip of `x` (B, N, C)."""
    if is_exporting():  # OpenVINO knows no `index_add`
        if merges_by_product():
            return x + _places(index, x) @ rows
        return x.scatter_add(1, index.unsqueeze(-1).expand(-1, -1, x.shape[-1]), rows)
    added = x.flatten(0, 1).index_add(0, _flat(index, x.shape[1]), rows.flatten(0, 1))
    return added.view(x.shape)


def _add_mass_at(mass: Tensor, index: Tensor, added: Tensor) -> Tensor:
    """Add `added` (B, K) to the entries `index` (B, K) of `mass` (B, N)."""
    if is_exporting() and merges_by_product():
        return mass + (_places(index, mass) @ added.unsqueeze(-1)).squeeze(-1)
    return mass.scatter_add(1, index, added)


def _places(index: Tensor, x: Tensor) -> Tensor:
    """1 where row `index` (B, K) of `x` (B, N, ...) is meant, else 0: (B, N, K), dtype of `x`."""
    rows = torch.arange(x.shape[1], device=x.device)
    return (index.unsqueeze(1) == rows.unsqueeze(-1)).to(x.dtype)


def _flat(index: Tensor, num_rows: int) -> Tensor:
    """Convert row indices per clip to indices into the concatenated rows of all clips."""
    ends = index.shape[0] * num_rows
    first = torch.arange(0, ends, max(num_rows, 1), device=index.device)
    return (index + first.unsqueeze(1)).flatten()


def _validate_shapes(x: Tensor, mass: Tensor, match: Match, weights: Tensor | None) -> None:
    if x.dim() != 3 or x.shape[1] != match.num_tokens:
        raise ValueError(
            f"x must be (B, {match.num_tokens}, C) as when it was matched, got shape "
            f"{tuple(x.shape)}. Match and merge the same tokens."
        )
    if mass.shape != x.shape[:2]:
        raise ValueError(
            f"mass must be {tuple(x.shape[:2])}, one per token, got shape {tuple(mass.shape)}. "
            "Pass its mass."
        )
    expected = (x.shape[0], match.end - match.num_prefix_tokens)
    if weights is not None and weights.shape != expected:
        raise ValueError(
            f"weights must be {expected}, one per mergeable token, got shape "
            f"{tuple(weights.shape)}. Leave prefix and suffix tokens out."
        )
