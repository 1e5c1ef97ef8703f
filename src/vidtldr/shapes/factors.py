"""What varies from clip to clip, and which combinations are held out from training.

Letters: `B` clips.
"""

from dataclasses import dataclass, fields
from typing import Literal, get_args

import torch
from torch import Tensor

from vidtldr.shapes.draws import Draws

__all__ = [
    "COLOURS",
    "DIRECTIONS",
    "MOTIONS",
    "RELATIONS",
    "SECOND_MOTIONS",
    "SHAPES",
    "SIZES",
    "Factors",
    "Split",
    "draw_factors",
]

Split = Literal["train", "validation", "test", "unseen"]

SHAPES = ("oval", "square", "triangle", "star", "cross", "heart", "moon", "arrow")
COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "white")
SIZES = ("small", "big")
MOTIONS = ("moves", "circles", "spins", "grows", "shrinks", "bounces", "appears", "stays")
DIRECTIONS = ("left", "right", "up", "down")
SECOND_MOTIONS = ("stays", "sways")
RELATIONS = ("left", "right", "above", "below")

# (colour - shape) mod 8 and (motion - shape) mod 8 of the pairs that training never shows.
HELD_OUT_COLOUR = 3
HELD_OUT_MOTION = 5


@dataclass(frozen=True)
class Factors:
    """The true answers of a batch of clips: indices into the tuples of this file.

    Attributes:
        shape: Of the first object, shape (B,), int64, like all of these.
        colour: Of the first object.
        size: Of the first object, at its largest.
        motion: Of the first object.
        direction: Where it moves; meaningless unless it `"moves"`.
        num_objects: 1 or 2; for 1, the attributes below are meaningless.
        second_shape: Differs from `shape`.
        second_colour: Differs from `colour`.
        second_motion: Of the second object.
        relation: Where the second object is, seen from the first.
    """

    shape: Tensor
    colour: Tensor
    size: Tensor
    motion: Tensor
    direction: Tensor
    num_objects: Tensor
    second_shape: Tensor
    second_colour: Tensor
    second_motion: Tensor
    relation: Tensor

    def rows(self) -> list["FactorRow"]:
        """The factors of each clip, as plain ints."""
        columns = [getattr(self, field.name).tolist() for field in fields(self)]
        return [FactorRow(*values) for values in zip(*columns, strict=True)]


@dataclass(frozen=True)
class FactorRow:
    """The factors of one clip; attributes as in `Factors`."""

    shape: int
    colour: int
    size: int
    motion: int
    direction: int
    num_objects: int
    second_shape: int
    second_colour: int
    second_motion: int
    relation: int


def draw_factors(draws: Draws, split: Split) -> Factors:
    """Draw every factor uniformly, except for the combinations that the split leaves out.

    Training, validation and test never pair a shape with its held-out colour or motion; `"unseen"`
    always pairs it with one of the two.

    Raises:
        ValueError: If the split is not known.
    """
    if split not in get_args(Split):
        raise ValueError(f"split must be one of {get_args(Split)}, got {split!r}. Choose one.")
    shape = draws.integer("shape", 8)
    colour = (shape + _other_than(HELD_OUT_COLOUR, draws.integer("colour", 7))) % 8
    motion = (shape + _other_than(HELD_OUT_MOTION, draws.integer("motion", 7))) % 8
    if split == "unseen":
        by_colour = draws.integer("which", 2) == 0
        colour = torch.where(by_colour, (shape + HELD_OUT_COLOUR) % 8, colour)
        motion = torch.where(by_colour, motion, (shape + HELD_OUT_MOTION) % 8)
    second_shape = (shape + 1 + draws.integer("second shape", 7)) % 8
    return Factors(
        shape=shape,
        colour=colour,
        size=draws.integer("size", 2),
        motion=motion,
        direction=draws.integer("direction", 4),
        num_objects=1 + draws.integer("number", 2),
        second_shape=second_shape,
        second_colour=_second_colour(colour, second_shape, draws),
        second_motion=draws.integer("second motion", 2),
        relation=draws.integer("relation", 4),
    )


def _other_than(held_out: int, one_of_seven: Tensor) -> Tensor:
    return (held_out + 1 + one_of_seven) % 8


def _second_colour(colour: Tensor, second_shape: Tensor, draws: Draws) -> Tensor:
    """A colour that differs from the first object's and is not held out for the second shape."""
    allowed = torch.ones(len(colour), 8, dtype=torch.bool, device=colour.device)
    allowed.scatter_(1, colour[:, None], False)
    allowed.scatter_(1, (second_shape + HELD_OUT_COLOUR)[:, None] % 8, False)
    chances = draws.uniform("second colour", 8)
    return chances.masked_fill(~allowed, -1.0).argmax(dim=1)
