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
    prefix = match.num_prefix_tokens
    places = torch.empty(batch, match.num_tokens, dtype=torch.long, device=match.kept.device)
    places[:, :prefix] = torch.arange(prefix, device=places.device)
    num_destinations = (match.num_tokens - prefix) // 2
    first_destination = prefix + num_kept
    places[:, prefix + 1 :: 2] = first_destination + torch.arange(
        num_destinations, device=places.device
    )
    kept_places = prefix + torch.arange(num_kept, device=places.device)
    places = places.scatter(1, match.kept, kept_places.expand(batch, -1))
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
            f"source must be ({match.kept.shape[0]}, N0), a row a clip, got shape "
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
    prefix = match.num_prefix_tokens
    kept = places.gather(1, match.kept)
    return torch.cat([places[:, :prefix], kept, places[:, prefix + 1 :: 2]], dim=1)


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
            f"source must be ({x.shape[0]}, N0), a row a clip, got shape {tuple(source.shape)}. "
            "Pass trace.source."
        )
    if source.dtype != torch.int64:
        raise TypeError(f"source must be int64, got {source.dtype}. Pass trace.source as it is.")
    if x.dim() == 2:
        return x.gather(1, source)
    return x.gather(1, source.unsqueeze(-1).expand(-1, -1, x.shape[-1]))
