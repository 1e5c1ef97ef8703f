import random
import re
from dataclasses import replace

import pytest

from vidtldr.shapes.factors import (
    COLOURS,
    MOTIONS,
    RELATIONS,
    SECOND_MOTIONS,
    SHAPES,
    SIZES,
    FactorRow,
)
from vidtldr.shapes.language import (
    ANSWERS,
    FULL_CAPTIONS,
    LABELS,
    MOTION_PHRASES,
    PHRASES,
    caption,
    label_of,
    motion_phrase,
    questions,
    vocabulary,
)
from vidtldr.shapes.world import ShapesWorld
from vidtldr.tasks.text_cleaning import clean_text

MAX_TOKENS = 24  # of a text in training, [CLS] and [SEP] included


@pytest.fixture(scope="module")
def rows() -> list[FactorRow]:
    """What the first clips of two splits show."""
    splits = (ShapesWorld(0, "train"), ShapesWorld(0, "unseen"))
    return [row for world in splits for row in world.factors(range(3000)).rows()]


def speeds_of(row: FactorRow) -> tuple[float, float]:
    """Some speeds, now this one faster and now that one, now neither."""
    rng = random.Random(repr(row))
    return rng.uniform(0, 4), rng.uniform(0, 4)


def meaning(row: FactorRow) -> tuple[object, ...]:
    """What there is to say: factors without meaning are left out."""
    first = (row.shape, row.colour, row.size, row.motion, row.direction * (row.motion == 0))
    second = (row.second_shape, row.second_colour, row.second_motion, row.relation)
    return (*first, *(second if row.num_objects == 2 else ()))


def all_texts(row: FactorRow) -> list[str]:
    asked = questions(row, speeds_of(row))
    return [
        *(caption(row, phrasing) for phrasing in range(len(FULL_CAPTIONS))),
        *(q.question for q in asked),
        *(q.answer for q in asked),
    ]


def test_every_word_is_in_the_vocabulary(rows: list[FactorRow]) -> None:
    known = set(vocabulary())
    texts = [text for row in rows for text in all_texts(row)]
    texts += [text for texts in PHRASES.values() for text in texts] + [*LABELS, *ANSWERS]
    words = {word for text in texts for word in text.split()}
    assert words <= known
    unused = known - words - {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
    assert not unused
    assert len(vocabulary()) == len(known)


def test_every_text_is_as_cleaning_leaves_it_and_short_enough(rows: list[FactorRow]) -> None:
    texts = {text for row in rows for text in all_texts(row)}
    assert all(clean_text(text) == text for text in (*texts, *LABELS, *ANSWERS))
    assert max(len(text.split()) for text in texts) + 2 <= MAX_TOKENS
    assert max(len(answer.split()) for answer in ANSWERS) + 3 <= 5  # and "[SEP]", see the protocol


@pytest.mark.parametrize("phrasing", range(len(FULL_CAPTIONS)))
def test_captions_differ_exactly_where_the_meaning_does(
    rows: list[FactorRow], phrasing: int
) -> None:
    said: dict[str, set[tuple[object, ...]]] = {}
    for row in rows:
        said.setdefault(caption(row, phrasing), set()).add(meaning(row))
    assert all(len(meanings) == 1 for meanings in said.values())
    assert len(said) == len({meaning(row) for row in rows})


def test_a_caption_by_hand() -> None:
    row = FactorRow(
        shape=SHAPES.index("arrow"),
        colour=COLOURS.index("orange"),
        size=SIZES.index("big"),
        motion=0,
        direction=3,
        num_objects=2,
        second_shape=SHAPES.index("oval"),
        second_colour=COLOURS.index("cyan"),
        second_motion=1,
        relation=2,
    )
    assert caption(row) == "a big orange arrow moves down and a cyan oval sways above it"
    assert (
        caption(row, 3)
        == "an arrow in orange moves down and is big while above it an oval in cyan sways"
    )
    assert caption(replace(row, num_objects=1), 2) == (
        "there is an orange arrow that is big and moves down"
    )
    assert LABELS[label_of(row)] == "arrow that moves"
    spinning = replace(row, motion=MOTIONS.index("spins"))
    assert motion_phrase(spinning) == "spins"
    assert LABELS[label_of(spinning)] == "arrow that spins"


def test_there_are_64_labels_and_no_answer_comes_twice() -> None:
    assert len(set(LABELS)) == len(LABELS) == 64
    assert len(set(ANSWERS)) == len(ANSWERS)


def test_an_stands_before_vowels_and_nowhere_else(rows: list[FactorRow]) -> None:
    for row in rows[:500]:
        for phrasing in range(len(FULL_CAPTIONS)):
            text = caption(row, phrasing)
            assert not re.search(r"\ba [aeiou]", text)
            assert not re.search(r"\ban [^aeiou]", text)


def true_answer(question: str, row: FactorRow, speeds: tuple[float, float]) -> str:
    """The answer by looking at the objects, one by one; exactly one must be meant."""
    one = (SHAPES[row.shape], COLOURS[row.colour], motion_phrase(row), SIZES[row.size])
    two = (
        SHAPES[row.second_shape],
        COLOURS[row.second_colour],
        SECOND_MOTIONS[row.second_motion],
        None,
    )
    objects = [one, two][: row.num_objects]

    def the_one(shape: str | None = None, colour: str | None = None) -> tuple[str | None, ...]:
        [meant] = [o for o in objects if shape in (None, o[0]) and colour in (None, o[1])]
        return meant

    patterns = {
        r"what shape is the (\w+) object": lambda m: the_one(colour=m[1])[0],
        r"what color is the (\w+)": lambda m: the_one(shape=m[1])[1],
        r"how big is the (\w+) (\w+)": lambda m: the_one(m[2], m[1])[3],
        r"what does the (\w+) (\w+) do": lambda m: the_one(m[2], m[1])[2],
        r"how many objects are there": lambda m: ["one", "two"][len(objects) - 1],
        r"where is the (\w+) seen from the (\w+)": lambda m: (
            RELATIONS[row.relation] if (m[1], m[2]) == (two[0], one[0]) else None
        ),
        r"which object moves faster": lambda m: (one if speeds[0] > speeds[1] else two)[0],
    }
    [(answer, match)] = [
        (answer, match)
        for pattern, answer in patterns.items()
        if (match := re.fullmatch(pattern, question))
    ]
    found = answer(match)
    assert found is not None
    return found


def test_every_answer_is_true_and_in_the_list_and_no_question_is_ambiguous(
    rows: list[FactorRow],
) -> None:
    kinds = set()
    for row in rows:
        asked = questions(row, speeds_of(row))
        assert len({q.question for q in asked}) == len(asked)
        for q in asked:
            kinds.add(q.kind)
            assert q.answer in ANSWERS
            assert q.answer == true_answer(q.question, row, speeds_of(row))
    assert kinds == {"shape", "colour", "size", "motion", "number", "place", "faster"}


@pytest.mark.parametrize(
    ("speeds", "is_asked"),
    [((0.0, 0.0), False), ((0.0, 1.0), True), ((3.0, 2.0), False), ((3.01, 2.0), True)],
)
def test_who_is_faster_is_asked_only_where_it_can_be_seen(
    rows: list[FactorRow], speeds: tuple[float, float], is_asked: bool
) -> None:
    row = replace(rows[0], num_objects=2)
    assert any(q.kind == "faster" for q in questions(row, speeds)) == is_asked
    assert not any(q.kind == "faster" for q in questions(replace(row, num_objects=1), speeds))


def test_every_motion_has_a_phrase(rows: list[FactorRow]) -> None:
    assert {motion_phrase(row) for row in rows} == set(MOTION_PHRASES)
