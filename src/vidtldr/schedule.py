"""How many tokens each layer removes. Does not import torch, for the command line's checks."""

from collections.abc import Sequence
from itertools import pairwise
from numbers import Integral, Real
from sys import float_info
from typing import TypeVar

__all__ = [
    "r_from_ratio",
    "validate_flop_ratio",
    "validate_layers",
    "validate_num_tokens",
    "validate_protect",
    "validate_r",
    "validate_r_schedule",
    "validate_ratio_schedule",
    "validate_spare_norms",
    "validate_speedup",
]

_T = TypeVar("_T")
#: What a float can hold: an int may be larger.
_LARGEST = float_info.max


def r_from_ratio(ratio: float, num_mergeable: int) -> int:
    """Convert a share of `num_mergeable` to tokens, rounded down as in the authors' code."""
    return int(num_mergeable * ratio)


def validate_r(r: int, num_mergeable: int, name: str = "r") -> None:
    """Check one layer's count against its number of tokens.

    Args:
        r: Tokens to remove.
        num_mergeable: Tokens of the layer without its prefix tokens.
        name: The argument as the caller spells it.

    Raises:
        TypeError: If `r` is not an int.
        ValueError: If `r` is not in [0, num_mergeable // 2].
    """
    if isinstance(r, bool) or not isinstance(r, Integral):
        raise TypeError(
            f"`{name}` must be an int, got {r!r}. For a share of the tokens use `ratio`."
        )
    if not 0 <= r <= num_mergeable // 2:
        raise ValueError(
            f"`{name}` must be in [0, {num_mergeable // 2}] (half of {num_mergeable} mergeable "
            f"tokens), got {r}. Lower `r` or use `ratio`."
        )


def validate_r_schedule(r_schedule: Sequence[int]) -> tuple[int, ...]:
    """Check that a schedule is a sequence of counts, before any model is known.

    Returns:
        The schedule as a tuple.

    Raises:
        TypeError: If it is not a sequence of int.
        ValueError: If a count is negative.
    """
    entries = _entries("r", r_schedule, "`r=[600, 200, 100]`")
    for layer, r in enumerate(entries):
        if isinstance(r, bool) or not isinstance(r, Integral):
            raise TypeError(
                f"`r[{layer}]` must be an int, got {r!r}. For a share of the tokens use `ratio`."
            )
        if r < 0:
            raise ValueError(
                f"`r[{layer}]` must be at least 0, got {r}. Use 0 to leave a layer alone."
            )
    return tuple(int(r) for r in entries)


def validate_ratio_schedule(ratio_schedule: Sequence[float]) -> tuple[float, ...]:
    """Check that a schedule is a sequence of shares in [0, 0.5].

    Returns:
        The schedule as a tuple.

    Raises:
        TypeError: If it is not a sequence of numbers.
        ValueError: If a share is outside [0, 0.5].
    """
    entries = _entries("ratio", ratio_schedule, "`ratio=[0.25, 0.1]`")
    for layer, ratio in enumerate(entries):
        if isinstance(ratio, bool) or not isinstance(ratio, Real):
            raise TypeError(
                f"`ratio[{layer}]` must be a number, got {ratio!r}. Write a share such as 0.25."
            )
        if not 0 <= ratio <= 0.5:
            raise ValueError(
                f"`ratio[{layer}]` must be in [0, 0.5] (a layer merges at most half its tokens), "
                f"got {ratio!r}. For a count of tokens use `r`."
            )
    return tuple(float(ratio) for ratio in entries)


def validate_flop_ratio(flop_ratio: float) -> float:
    """Check a FLOPs budget before any model is known.

    Raises:
        TypeError: If it is not a number.
        ValueError: If it is not in (0, 1].
    """
    if isinstance(flop_ratio, bool) or not isinstance(flop_ratio, Real):
        raise TypeError(
            f"`flop_ratio` must be a number, got {flop_ratio!r}. Write a share such as 0.6."
        )
    if not 0 < flop_ratio <= 1:
        raise ValueError(
            f"`flop_ratio` must be in (0, 1] (a share of the unmerged forward's), got "
            f"{flop_ratio!r}. Write a share such as 0.6."
        )
    return float(flop_ratio)


def validate_num_tokens(num_tokens: int) -> int:
    """Check the number of remaining tokens before any model is known.

    Raises:
        TypeError: If it is not an int.
        ValueError: If it is not positive.
    """
    if isinstance(num_tokens, bool) or not isinstance(num_tokens, Integral):
        raise TypeError(
            f"`num_tokens` must be an int, got {num_tokens!r}. For a share of the cost use "
            "`flop_ratio`."
        )
    if num_tokens < 1:
        raise ValueError(
            f"`num_tokens` must be at least 1, got {num_tokens}. It counts the tokens that are "
            "left."
        )
    return int(num_tokens)


def validate_speedup(speedup: float) -> float:
    """Check a speed-up target before any model is known.

    Raises:
        TypeError: If it is not a number.
        ValueError: If it is not finite or below 1.
    """
    if isinstance(speedup, bool) or not isinstance(speedup, Real):
        raise TypeError(f"`speedup` must be a number, got {speedup!r}. Write a factor such as 1.5.")
    if not 1 <= speedup <= _LARGEST:
        raise ValueError(
            f"`speedup` must be at least 1 (times as fast as unmerged), got {speedup!r}. Write a "
            "factor such as 1.5."
        )
    return float(speedup)


def validate_protect(protect: float) -> float:
    """Check how much saliency protects.

    Raises:
        TypeError: If it is not a number.
        ValueError: If it is not in [0, 100].
    """
    if isinstance(protect, bool) or not isinstance(protect, Real):
        raise TypeError(f"`protect` must be a number, got {protect!r}. Write 0.3, or 0 for none.")
    if not 0 <= protect <= 100:
        raise ValueError(
            f"`protect` must be in [0, 100] (standard deviations), got {protect!r}. Write 0.3, or "
            "0 for none."
        )
    return float(protect)


def validate_spare_norms(spare_norms: float) -> float:
    """Check from which norm on tokens are outliers.

    Raises:
        TypeError: If it is not a number.
        ValueError: If it is not finite or not above 1.
    """
    if isinstance(spare_norms, bool) or not isinstance(spare_norms, Real):
        raise TypeError(
            f"`spare_norms` must be a number, got {spare_norms!r}. Write a factor such as 4."
        )
    if not 1 < spare_norms <= _LARGEST:
        raise ValueError(
            f"`spare_norms` must be above 1 (times the median norm), got {spare_norms!r}. Write a "
            "factor such as 4."
        )
    return float(spare_norms)


def validate_layers(layers: Sequence[int]) -> tuple[int, ...]:
    """Check which layers may merge before any model is known.

    Returns:
        The layers as a tuple.

    Raises:
        TypeError: If it is not a sequence of int.
        ValueError: If it is empty, negative or not strictly increasing.
    """
    if isinstance(layers, str | bytes) or not isinstance(layers, Sequence):
        raise TypeError(
            f"`layers` must be a sequence of 0-based layers, got {layers!r}. Write "
            "`layers=[0, 1, 2]`."
        )
    for layer in layers:
        if isinstance(layer, bool) or not isinstance(layer, Integral):
            raise TypeError(f"`layers` must hold ints, got {layer!r}. Write `layers=[0, 1, 2]`.")
    increasing = all(a < b for a, b in pairwise([-1, *layers]))
    if not layers or not increasing:
        raise ValueError(
            f"`layers` must name at least one layer and increase from 0, got {list(layers)}. Write "
            "`layers=[0, 1, 2]`."
        )
    return tuple(int(layer) for layer in layers)


def _entries(name: str, schedule: Sequence[_T], example: str) -> list[_T]:
    if isinstance(schedule, str | bytes) or not isinstance(schedule, Sequence):
        raise TypeError(
            f"`{name}` must be a sequence with one entry a layer, got {schedule!r}. Write "
            f"{example}; missing layers are 0."
        )
    return list(schedule)
