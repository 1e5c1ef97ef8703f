from collections.abc import Callable
from dataclasses import fields
from typing import get_args

import pytest
import torch
from torch import Tensor

from vidtldr.shapes.draws import Draws
from vidtldr.shapes.factors import (
    COLOURS,
    DIRECTIONS,
    HELD_OUT_COLOUR,
    HELD_OUT_MOTION,
    MOTIONS,
    RELATIONS,
    SECOND_MOTIONS,
    SHAPES,
    SIZES,
    Factors,
    Split,
    draw_factors,
)

COUNTS = {
    "shape": len(SHAPES),
    "colour": len(COLOURS),
    "size": len(SIZES),
    "motion": len(MOTIONS),
    "direction": len(DIRECTIONS),
    "second_shape": len(SHAPES),
    "second_colour": len(COLOURS),
    "second_motion": len(SECOND_MOTIONS),
    "relation": len(RELATIONS),
}
SEEN = ("train", "validation", "test")


@pytest.mark.parametrize("split", get_args(Split))
def test_every_value_of_every_factor_is_equally_likely(
    split: Split, drawn: Callable[..., tuple[Draws, Factors]], assert_even: Callable[..., None]
) -> None:
    factors = drawn(20_000, split)[1]
    for name, count in COUNTS.items():
        assert_even(getattr(factors, name), count)
    assert_even(factors.num_objects - 1, 2)


def held_out(shape: Tensor, other: Tensor, shift: int) -> Tensor:
    return (other - shape) % 8 == shift


@pytest.mark.parametrize("split", SEEN)
def test_held_out_pairs_are_never_seen(
    split: Split, drawn: Callable[..., tuple[Draws, Factors]]
) -> None:
    factors = drawn(20_000, split)[1]
    assert not held_out(factors.shape, factors.colour, HELD_OUT_COLOUR).any()
    assert not held_out(factors.shape, factors.motion, HELD_OUT_MOTION).any()
    pairs = set(zip(factors.shape.tolist(), factors.colour.tolist(), strict=True))
    assert len(pairs) == 8 * 7
    pairs = set(zip(factors.shape.tolist(), factors.motion.tolist(), strict=True))
    assert len(pairs) == 8 * 7


def test_unseen_always_shows_one_held_out_pair(
    drawn: Callable[..., tuple[Draws, Factors]],
) -> None:
    factors = drawn(20_000, "unseen")[1]
    by_colour = held_out(factors.shape, factors.colour, HELD_OUT_COLOUR)
    by_motion = held_out(factors.shape, factors.motion, HELD_OUT_MOTION)
    assert (by_colour ^ by_motion).all()
    assert 0.48 < by_colour.double().mean() < 0.52


@pytest.mark.parametrize("split", get_args(Split))
def test_the_second_object_differs_and_has_no_held_out_colour(
    split: Split, drawn: Callable[..., tuple[Draws, Factors]]
) -> None:
    factors = drawn(20_000, split)[1]
    assert (factors.second_shape != factors.shape).all()
    assert (factors.second_colour != factors.colour).all()
    assert not held_out(factors.second_shape, factors.second_colour, HELD_OUT_COLOUR).any()


def test_rows_are_the_columns_a_clip_at_a_time(
    drawn: Callable[..., tuple[Draws, Factors]],
) -> None:
    factors = drawn(7)[1]
    rows = factors.rows()
    assert len(rows) == 7
    for field in fields(Factors):
        values = [getattr(row, field.name) for row in rows]
        assert values == getattr(factors, field.name).tolist()
        assert all(type(value) is int for value in values)


def test_an_unknown_split_lists_the_choices() -> None:
    with pytest.raises(ValueError, match=r"split must be one of \('train', .* got 'dev'\. Choose"):
        draw_factors(Draws(0, "dev", torch.arange(2)), "dev")  # type: ignore[arg-type]
