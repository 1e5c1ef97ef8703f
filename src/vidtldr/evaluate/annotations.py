"""Read annotation files in their published formats."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from vidtldr.evaluate.json_entries import Entry, read_entries
from vidtldr.evaluate.protocols import RetrievalProtocol

__all__ = [
    "Choice",
    "Question",
    "RetrievalSet",
    "group_by_video",
    "read_answers",
    "read_choices",
    "read_questions",
    "read_retrieval",
]


@dataclass(frozen=True)
class RetrievalSet:
    """Videos and texts, and which belong together.

    Attributes:
        videos: Names of the video files.
        texts: Captions, not cleaned.
        videos_of_text: For each text, the indices of its videos.
        texts_of_video: For each video, the indices of its texts.
    """

    videos: tuple[str, ...]
    texts: tuple[str, ...]
    videos_of_text: tuple[tuple[int, ...], ...]
    texts_of_video: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Question:
    """One question about one video.

    Attributes:
        id: As in the file; the index of the entry if the file has none.
        video: Name of the video file.
        question: The text, not cleaned.
        answer: The right answer.
    """

    id: int | str
    video: str
    question: str
    answer: str


@dataclass(frozen=True)
class Choice:
    """One video and the captions to pick from.

    Attributes:
        video: Name of the video file.
        captions: Texts, not cleaned.
        answer: Index of the right one.
    """

    video: str
    captions: tuple[str, ...]
    answer: int


def read_retrieval(path: str | os.PathLike[str], protocol: RetrievalProtocol) -> RetrievalSet:
    """Read captions and videos.

    Entries are `{"video": "a.mp4", "caption": "..." or [...]}`, a list being several captions or
    the parts of one paragraph, depending on the protocol; or, if captions have many videos,
    `{"caption": "...", "video": "1.webm" or [...]}`. Other keys are ignored.

    Args:
        path: JSON file.
        protocol: Protocol of the set.

    Raises:
        ValueError: If an entry is invalid or a video is repeated; names file and line.
        OSError: If the file cannot be read.
    """
    videos: list[str] = []
    texts: list[str] = []
    pairs: list[tuple[int, int]] = []
    first_lines: dict[str, int] = {}
    for entry in read_entries(path):
        new_videos = _videos(entry, many=protocol.has_many_videos)
        new_texts = _captions(entry, protocol)
        _validate_new(entry, new_videos, first_lines)
        pairs += [
            (len(videos) + i, len(texts) + j)
            for i in range(len(new_videos))
            for j in range(len(new_texts))
        ]
        videos += new_videos
        texts += new_texts
    return RetrievalSet(
        tuple(videos),
        tuple(texts),
        _grouped([(text, video) for video, text in pairs], len(texts)),
        _grouped(pairs, len(videos)),
    )


def read_questions(path: str | os.PathLike[str]) -> tuple[Question, ...]:
    """Read `{"video", "question", "answer", "question_id"}`; the id is optional.

    Args:
        path: JSON file.

    Raises:
        ValueError: If an entry is invalid or an id is repeated; names file and line.
        OSError: If the file cannot be read.
    """
    questions: list[Question] = []
    first_lines: dict[int | str, int] = {}
    for index, entry in enumerate(read_entries(path)):
        [video] = _videos(entry, many=False)
        question = entry.field("question").text()
        answer = entry.field("answer").text()
        identity = entry.value.get("question_id", index)
        if isinstance(identity, bool) or not isinstance(identity, int | str):
            entry.refuse("question_id must be a number or a string", identity, "Correct it.")
        if identity in first_lines:
            rule = f"question_id must come once (first on line {first_lines[identity]})"
            entry.refuse(rule, identity, "Give each question an id of its own.")
        first_lines[identity] = entry.line
        questions.append(Question(identity, video, question, answer))
    return tuple(questions)


def read_answers(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Read a list of candidate answers: `["dog", ...]`.

    Args:
        path: JSON file.

    Raises:
        ValueError: If an entry is not a text or is repeated; names file and line.
        OSError: If the file cannot be read.
    """
    first_lines: dict[str, int] = {}
    for entry in read_entries(path):
        rule = "an answer must be a string that is not empty"
        if not isinstance(entry.value, str) or not entry.value.strip():
            entry.refuse(rule, entry.value, 'Write ["dog", "cat", ...].')
        if entry.value in first_lines:
            rule = f"an answer must come once (first on line {first_lines[entry.value]})"
            entry.refuse(rule, entry.value, "Remove it.")
        first_lines[entry.value] = entry.line
    return tuple(first_lines)


def read_choices(path: str | os.PathLike[str], num_captions: int = 5) -> tuple[Choice, ...]:
    """Read `{"video", "caption": [five texts], "answer": index of the right one}`.

    Args:
        path: JSON file.
        num_captions: Captions that every entry must have.

    Raises:
        ValueError: If an entry is invalid; names file and line.
        OSError: If the file cannot be read.
    """
    choices = []
    for entry in read_entries(path):
        [video] = _videos(entry, many=False)
        captions = entry.field("caption").texts()
        if len(captions) != num_captions:
            entry.refuse(f"caption must be {num_captions} texts", captions, "Correct the entry.")
        answer = entry.field("answer").value
        if isinstance(answer, bool) or not isinstance(answer, int):
            entry.refuse("answer must be the index of a caption", answer, "Write a whole number.")
        if not 0 <= answer < num_captions:
            entry.refuse(f"answer must be in [0, {num_captions})", answer, "Count from 0.")
        choices.append(Choice(video, tuple(captions), answer))
    return tuple(choices)


def group_by_video(entries: Sequence[Question | Choice]) -> dict[str, list[int]]:
    """Return the indices of each video's entries; videos are in order of first appearance."""
    groups: dict[str, list[int]] = {}
    for index, entry in enumerate(entries):
        groups.setdefault(entry.video, []).append(index)
    return groups


def _captions(entry: Entry, protocol: RetrievalProtocol) -> list[str]:
    field = entry.field("caption")
    if protocol.has_many_videos:
        return [field.text()]
    if not protocol.is_paragraph:
        return field.texts()
    paragraph = " ".join(field.texts(may_be_empty=True))
    return [field._replace(value=paragraph).text()]


def _videos(entry: Entry, *, many: bool) -> list[str]:
    field = entry.field("video")
    names = field.texts() if many else [field.text()]
    return [field._replace(value=name).video() for name in names]


def _validate_new(entry: Entry, videos: Sequence[str], first_lines: dict[str, int]) -> None:
    for video in videos:
        if video in first_lines:
            rule = f"a video must come once (first on line {first_lines[video]})"
            entry.refuse(rule, video, "Put its captions into one list, or remove the entry.")
        first_lines[video] = entry.line


def _grouped(pairs: Sequence[tuple[int, int]], count: int) -> tuple[tuple[int, ...], ...]:
    groups: list[list[int]] = [[] for _ in range(count)]
    for key, value in pairs:
        groups[key].append(value)
    return tuple(tuple(group) for group in groups)
