"""Captions, labels, questions and answers of the world, all from its true factors."""

import re
from dataclasses import dataclass, replace
from itertools import product

from vidtldr.shapes.factors import (
    COLOURS,
    DIRECTIONS,
    MOTIONS,
    RELATIONS,
    SECOND_MOTIONS,
    SHAPES,
    SIZES,
    FactorRow,
)

__all__ = [
    "ANSWERS",
    "DESCRIPTIONS",
    "FULL_CAPTIONS",
    "KINDS",
    "LABELS",
    "MOTION_PHRASES",
    "PHRASES",
    "PLACES",
    "Question",
    "caption",
    "description",
    "label_of",
    "motion_index",
    "motion_phrase",
    "questions",
    "vocabulary",
]

_BEFORE_A_VOWEL = re.compile(r"\ba (?=[aeiou])")
FASTER = 1.5  # one object must move this many times as fast as the other to be called faster
MOTION_PHRASES = (*(f"moves {name}" for name in DIRECTIONS), *MOTIONS[1:])
PLACES = ("left of", "right of", "above", "below")  # in the order of RELATIONS
NUMBERS = ("one", "two")
LABELS = tuple(f"{shape} that {motion}" for shape in SHAPES for motion in MOTIONS)

# Each names every factor of a clip; the first is used for scoring.
FULL_CAPTIONS = (
    ("a {size} {colour} {shape} {motion}", " and a {colour2} {shape2} {motion2} {place} it"),
    (
        "the {shape} {motion} and it is {size} and {colour}",
        " and {place} it {motion2} a {colour2} {shape2}",
    ),
    (
        "there is a {colour} {shape} that is {size} and {motion}",
        " with a {colour2} {shape2} that {motion2} {place} it",
    ),
    (
        "a {shape} in {colour} {motion} and is {size}",
        " while {place} it a {shape2} in {colour2} {motion2}",
    ),
)

# Texts that name one factor only, a tuple of texts per factor: the label prompts.
PHRASES: dict[str, tuple[str, ...]] = {
    "shape": tuple(f"the {shape}" for shape in SHAPES),
    "colour": tuple(f"the {colour} object" for colour in COLOURS),
    "size": tuple(f"the {size} object" for size in SIZES),
    "motion": tuple(f"an object that {motion}" for motion in MOTION_PHRASES),
    "number": ("one object", "two objects"),
    "second_shape": tuple(f"another object with the shape {shape}" for shape in SHAPES),
    "second_colour": tuple(f"another object that is {colour}" for colour in COLOURS),
    "second_motion": tuple(f"another object that {motion}" for motion in SECOND_MOTIONS),
    "relation": tuple(f"another object {place} it" for place in PLACES),
}  # fmt: skip
#: What questions ask for.
KINDS = ("shape", "colour", "size", "motion", "number", "place", "faster")
ANSWERS = (*SHAPES, *COLOURS, *SIZES, *MOTION_PHRASES, "sways", *NUMBERS, *RELATIONS)


@dataclass(frozen=True)
class Question:
    """A question about one clip.

    Attributes:
        kind: What is asked for, one of `KINDS`.
        question: The question.
        answer: One of `ANSWERS`.
    """

    kind: str
    question: str
    answer: str


def motion_phrase(row: FactorRow) -> str:
    """What the first object does, with its direction if it moves."""
    return MOTION_PHRASES[motion_index(row)]


def motion_index(row: FactorRow) -> int:
    """Index of the first object's motion in `MOTION_PHRASES`."""
    return row.direction if row.motion == 0 else len(DIRECTIONS) - 1 + row.motion


def caption(row: FactorRow, phrasing: int = 0) -> str:
    """Describe a clip so that every factor is named.

    Args:
        row: Its factors.
        phrasing: Which of `FULL_CAPTIONS`; 0 is used for scoring.
    """
    first, second = FULL_CAPTIONS[phrasing]
    text = first + (second if row.num_objects == 2 else "")
    filled = text.format(
        size=SIZES[row.size],
        colour=COLOURS[row.colour],
        shape=SHAPES[row.shape],
        motion=motion_phrase(row),
        colour2=COLOURS[row.second_colour],
        shape2=SHAPES[row.second_shape],
        motion2=SECOND_MOTIONS[row.second_motion],
        place=PLACES[row.relation],
    )
    return _BEFORE_A_VOWEL.sub("an ", filled)


def description(row: FactorRow) -> str:
    """The caption of a clip if it showed its first object alone; one of `DESCRIPTIONS`."""
    return caption(replace(row, num_objects=1))


def _descriptions() -> tuple[str, ...]:
    motions = [(0, direction) for direction in range(len(DIRECTIONS))]
    motions += [(motion, 0) for motion in range(1, len(MOTIONS))]
    counts = (range(len(SHAPES)), range(len(COLOURS)), range(len(SIZES)))
    rows = (
        FactorRow(shape, colour, size, motion, direction, 1, 0, 0, 0, 0)
        for shape, colour, size, (motion, direction) in product(*counts, motions)
    )
    return tuple(caption(row) for row in rows)


#: A caption for every clip of one object: shape, colour, size and motion with its direction.
DESCRIPTIONS = _descriptions()


def label_of(row: FactorRow) -> int:
    """Index of a clip's label: its first object's shape and motion."""
    return row.shape * len(MOTIONS) + row.motion


def questions(row: FactorRow, speeds: tuple[float, float]) -> list[Question]:
    """List every question that has one true answer for a clip.

    Args:
        row: Its factors.
        speeds: Mean speed of each object, pixels per frame.
    """
    colour, shape = COLOURS[row.colour], SHAPES[row.shape]
    asked = [
        Question("shape", f"what shape is the {colour} object", shape),
        Question("colour", f"what color is the {shape}", colour),
        Question("size", f"how big is the {colour} {shape}", SIZES[row.size]),
        Question("motion", f"what does the {colour} {shape} do", motion_phrase(row)),
        Question("number", "how many objects are there", NUMBERS[row.num_objects - 1]),
    ]
    return asked if row.num_objects == 1 else asked + _about_both(row, speeds)


def _about_both(row: FactorRow, speeds: tuple[float, float]) -> list[Question]:
    shape = SHAPES[row.shape]
    shape2, colour2 = SHAPES[row.second_shape], COLOURS[row.second_colour]
    asked = [
        Question("shape", f"what shape is the {colour2} object", shape2),
        Question("colour", f"what color is the {shape2}", colour2),
        Question(
            "motion", f"what does the {colour2} {shape2} do", SECOND_MOTIONS[row.second_motion]
        ),
        Question("place", f"where is the {shape2} seen from the {shape}", RELATIONS[row.relation]),
    ]
    slow, fast = sorted(speeds)
    if fast > FASTER * slow:
        faster = shape if speeds[0] > speeds[1] else shape2
        asked.append(Question("faster", "which object moves faster", faster))
    return asked


def vocabulary() -> tuple[str, ...]:
    """BERT's special tokens, then every word of the world, in alphabetical order."""
    row = FactorRow(*([0] * 10))
    texts = [
        *(first + second for first, second in FULL_CAPTIONS),
        *(text for texts in PHRASES.values() for text in texts),
        *LABELS,
        *ANSWERS,
        *(
            q.question
            for two in (1, 2)
            for q in questions(replace(row, num_objects=two), (0.0, 1.0))
        ),
        *PLACES,
        "an",
    ]
    words = {w for text in texts for w in re.findall(r"[a-z]+", re.sub(r"{\w+}", " ", text))}
    return ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted(words))
