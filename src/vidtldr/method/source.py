"""Where each original token went, and the way back.

Letters: `B` clips, `N0` tokens at first, `N` tokens now, `C` channels.
"""

import torch
from torch import Tensor

from vidtldr.method.matching import Match

__all__ = ["moved_to", "places_after", "unmerge_tokens", "update_source"]


def moved_to(match: Match) -> Tensor:
    """Map every token before a merge to its position after it.

    Returns:
        Positions, shape (B, N before the merge), int64, in [0, N after). Merged sources get their
        destination's.
    """
    batch, num_kept = match.kept.shape
    device, first_destination = match.kept.device, match.num_prefix_tokens + num_kept
    first_behind = first_destination + match.num_destinations
    before = torch.arange(match.num_tokens, device=device).expand(batch, -1)
    places = before  # where prefix tokens stay; the suffix moves up behind the destinations
    if match.num_suffix_tokens:
        places = torch.where(before < match.end, before, before - match.end + first_behind)
    destinations = match.destinations_of(before)
    for moved, start in ((match.kept, match.num_prefix_tokens), (destinations, first_destination)):
        new = start + torch.arange(moved.shape[1], device=device)
        places = places.scatter(1, moved, new.expand(batch, -1))
    return places.scatter(1, match.src, places.gather(1, match.dst))


def update_source(source: Tensor, match: Match) -> Tensor:
    """Update a source map for one more merge.

    Args:
        source: Index of the token that each original token is in now, shape (B, N0), int64, in [0,
            N).
        match: The merge of these N tokens.

    Returns:
        The map after the merge, shape (B, N0), int64. A dropped token (weight 0) points to its
        destination.

    Raises:
        ValueError: If the two differ in the number of clips.
    """
    if source.dim() != 2 or source.shape[0] != match.kept.shape[0]:
        raise ValueError(
            f"source must be ({match.kept.shape[0]}, N0), one row per clip, got shape "
            f"{tuple(source.shape)}. Pass the map of the same batch."
        )
    return moved_to(match).gather(1, source)


def places_after(places: Tensor, match: Match) -> Tensor:
    """Update the places where tokens stand: a merged token stands where its destination stood.

    Args:
        places: Index of each token's place in the original sequence, shape (B, N), int64.
        match: The merge of these N tokens.

    Returns:
        The places after the merge, shape (B, N after), int64.
    """
    before, behind = places[:, : match.num_prefix_tokens], places[:, match.end :]
    kept = places.gather(1, match.kept)
    return torch.cat([before, kept, match.destinations_of(places), behind], dim=1)


def unmerge_tokens(x: Tensor, source: Tensor) -> Tensor:
    """Give every original token the result of the token it went to.

    For dense heads, per-frame pooling and pictures, which need a value at each of the N0 positions.

    Args:
        x: One result per token, shape (B, N, C) or (B, N).
        source: Index of the token that each original token is in now, shape (B, N0), int64, in [0,
            N).

    Returns:
        One result per original token, shape (B, N0, C) or (B, N0).

    Raises:
        ValueError: If the shapes do not fit.
        TypeError: If `source` is not int64, or either is not a tensor.
    """
    if not isinstance(x, Tensor) or not isinstance(source, Tensor):
        found = f"{type(x).__name__} and {type(source).__name__}"
        raise TypeError(f"x and source must be tensors, got {found}. Convert them first.")
    if x.dim() not in (2, 3):
        raise ValueError(
            f"x must be (B, N, C) or (B, N), got shape {tuple(x.shape)}. Flatten its channels."
        )
    if source.dim() != 2 or source.shape[0] != x.shape[0]:
        raise ValueError(
            f"source must be ({x.shape[0]}, N0), one row per clip, got shape "
            f"{tuple(source.shape)}. Pass trace.source."
        )
    if source.dtype != torch.int64:
        raise TypeError(f"source must be int64, got {source.dtype}. Pass trace.source as it is.")
    if x.dim() == 2:
        return x.gather(1, source)
    return x.gather(1, source.unsqueeze(-1).expand(-1, -1, x.shape[-1]))
