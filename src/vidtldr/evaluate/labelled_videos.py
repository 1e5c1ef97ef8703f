"""Read lists of videos with their labels in their published formats."""

import csv
import io
import os
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from vidtldr.evaluate.json_entries import Entry, Field, read_entries, read_text
from vidtldr.evaluate.video_folder import EXTENSIONS

__all__ = ["LabelledVideo", "read_labelled_videos", "resolve_labels"]

# Each run of separators can be read in only one way, so that a hostile line cannot make the
# expression backtrack for long.
_SPLIT = r"(?:[ \t]*,[ \t]*|[ \t]+)"
_QUOTED = re.compile(rf'"((?:[^"]|"")+)"{_SPLIT}(.+)')
_EXTENSION = re.compile(rf"{EXTENSIONS.pattern}(?={_SPLIT}[^ \t,])", re.IGNORECASE)
_NUMBER_LAST = re.compile(rf"(.*[^ \t,]){_SPLIT}([0-9]+)")
_JSON = re.compile(r"\s*\[\s*\{")
_INDEX = re.compile("[0-9]{1,9}")
_REMEDY = "Write a CSV file with the header video,label, or put the name in double quotes."
_VIDEO_COLUMNS = ("video", "path", "filename")
_KINETICS_COLUMNS = ("youtube_id", "time_start", "time_end")


@dataclass(frozen=True)
class LabelledVideo:
    """One video and its label, as written.

    Attributes:
        entry: Where it is written, for errors.
        video: Name of the video file.
        label: A number in JSON is the index of a class; a text is the name of one, or its index in
            digits.
    """

    entry: Entry
    video: str
    label: str | int


def read_labelled_videos(path: str | os.PathLike[str]) -> tuple[LabelledVideo, ...]:
    """Read videos and labels.

    - A file that ends in `.json`, or begins with a bracket: a JSON list of
      `{"video": "a.mp4", "label": "yoga" or 3}`; Something-Something's own `{"id", "template"}`,
      too.
    - A first line with the columns `label` and `video` (or `path`, `filename`): CSV, with commas or
      tabs. Kinetics' own columns `youtube_id`, `time_start` and `time_end` name a video, too.
    - Otherwise one video and its label per line, separated by a space, a tab or a comma, as in the
      lists of VideoMAE and mmaction2. The name may contain spaces and commas if it has the
      extension of a video or the label is a number; the label may if the name has such an
      extension, or is a single word before a comma.

    Args:
        path: The file, UTF-8. Empty lines are skipped, other keys and columns ignored.

    Returns:
        At least one video; each of them once.

    Raises:
        ValueError: If an entry is invalid or ambiguous, or a video is repeated; names file and
            line.
        OSError: If the file cannot be read.
    """
    name = os.fspath(path)
    text = read_text(name)
    is_json = name.lower().endswith(".json") or _JSON.match(text) is not None
    found = _of_json(name) if is_json else _of_text(name, text)
    first_lines: dict[str, int] = {}
    videos = []
    for each in found:
        key = posixpath.normpath(each.video)
        if key in first_lines:
            rule = f"a video must come once (first on line {first_lines[key]})"
            each.entry.refuse(rule, each.video, "Remove one of the two.")
        first_lines[key] = each.entry.line
        videos.append(each)
    if not videos:
        Entry(name, 1, None).refuse("the file must have a video", text[:20], "Add a line.")
    return tuple(videos)


def resolve_labels(videos: Sequence[LabelledVideo], labels: Sequence[str]) -> list[int]:
    """Find the class of each video.

    Texts are names of classes; only if not all of a file's are, they may all be indices.

    Args:
        videos: As read from one file.
        labels: The names of the classes, in the model's order.

    Returns:
        Index of the class of each video.

    Raises:
        ValueError: If a label is unknown, or names several classes; names file and line.
    """
    places: dict[str, list[int]] = {}
    for index, label in enumerate(labels):
        places.setdefault(label, []).append(index)
    texts = [each.label for each in videos if isinstance(each.label, str)]
    are_indices = all(map(_INDEX.fullmatch, texts)) and not all(each in places for each in texts)
    if not are_indices:
        _refuse_both_ways(videos, places, len(labels))
    return [
        _index_of(each, len(labels))
        if are_indices or isinstance(each.label, int)
        else _place_of(each, places)
        for each in videos
    ]


def _of_json(name: str) -> Iterator[LabelledVideo]:
    for entry in read_entries(name):
        is_ssv2 = isinstance(entry.value, dict) and "video" not in entry.value
        is_ssv2 = is_ssv2 and {"id", "template"} <= entry.value.keys()
        if is_ssv2:
            template = entry.field("template").text()
            label: str | int = template.replace("[", "").replace("]", "")
            yield LabelledVideo(entry, entry.field("id").video(), label)
            continue
        video, field = entry.field("video").video(), entry.field("label")
        label = field.value
        if isinstance(label, bool) or not isinstance(label, int | str):
            entry.refuse("label must be a string or a whole number", label, "Write one label.")
        yield LabelledVideo(entry, video, label if isinstance(label, int) else field.text())


def _of_text(name: str, text: str) -> Iterator[LabelledVideo]:
    # not splitlines: a name may hold a form feed or another of its separators
    header = text.lstrip("\n").partition("\n")[0].rstrip("\r")
    delimiter = "\t" if "\t" in header else ","
    columns = [column.strip().strip('"').lower() for column in header.split(delimiter)]
    if "label" in columns and len(columns) > 1 and _video_columns(columns):
        yield from _of_csv(name, text, delimiter)
        return
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.removesuffix("\r").strip(" \t")
        if line:
            yield _of_line(Entry(name, number, line), line)


def _of_csv(name: str, text: str, delimiter: str) -> Iterator[LabelledVideo]:
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    columns: list[str] = []
    while True:
        line = rows.line_num + 1
        try:
            cells = next(rows, None)
        except csv.Error as error:
            Entry(name, line, None).refuse(
                "the file must be valid CSV", str(error), "Correct the line; quotes come in pairs."
            )
        if cells is None:
            return
        if not any(cell.strip() for cell in cells):
            continue
        if not columns:
            columns = [cell.strip().lower() for cell in cells]
            if len(set(columns)) < len(columns):
                rule = "the header must name every column once"
                Entry(name, line, cells).refuse(rule, cells, "Rename one of the two.")
            continue
        if len(cells) != len(columns):
            Entry(name, line, cells).refuse(
                f"the line must have {len(columns)} columns as the header", cells, "Quote commas."
            )
        yield _of_row(Entry(name, line, dict(zip(columns, map(str.strip, cells), strict=True))))


def _of_row(entry: Entry) -> LabelledVideo:
    column = next((each for each in _VIDEO_COLUMNS if each in entry.value), None)
    label = entry.field("label").text()
    if column is not None:
        return LabelledVideo(entry, entry.field(column).video(), label)
    seconds = [entry.value[each] for each in _KINETICS_COLUMNS[1:]]
    if not all(map(_INDEX.fullmatch, seconds)):
        entry.refuse("time_start and time_end must be whole seconds", seconds, "Write digits.")
    clip = "_".join([entry.value["youtube_id"], *(f"{int(each):06}" for each in seconds)])
    return LabelledVideo(entry, Field(entry, "youtube_id", clip).video(), label)


def _video_columns(columns: Sequence[str]) -> bool:
    return bool({*_VIDEO_COLUMNS} & {*columns}) or {*_KINETICS_COLUMNS} <= {*columns}


def _of_line(entry: Entry, line: str) -> LabelledVideo:
    parts = _split(line)
    if parts is None:
        entry.refuse(
            "the line must be a video and a label, with one place to split them", line, _REMEDY
        )
    video, label = (part.strip(" \t") for part in parts)
    if len(label) > 1 and label[0] == label[-1] == '"':
        label = label[1:-1].replace('""', '"')
    return LabelledVideo(
        entry, Field(entry, "video", video).video(), Field(entry, "label", label).text()
    )


def _split(line: str) -> tuple[str, str] | None:
    """Split a line at the only place where it can be split; None if there is none, or several."""
    quoted = _QUOTED.fullmatch(line)
    if quoted:
        return quoted[1].replace('""', '"'), quoted[2]
    ends = [match.end() for match in _EXTENSION.finditer(line)]
    if len(ends) == 1:
        return line[: ends[0]], line[ends[0] :].lstrip(" \t").removeprefix(",")
    numbered = _NUMBER_LAST.fullmatch(line)
    if numbered:
        return numbered[1], numbered[2]
    separator = next((each for each in "\t," if line.count(each) == 1), " ")
    video, _, label = line.partition(separator)
    is_clear = separator == "\t" or not {" ", "\t", ","} & {*video}
    if separator == " ":
        is_clear = is_clear and not {" ", "\t", ","} & {*label.strip()}
    return (video, label) if is_clear and label else None


def _refuse_both_ways(
    videos: Sequence[LabelledVideo], places: Mapping[str, Sequence[int]], num_labels: int
) -> None:
    """Refuse a file whose labels are all names of classes, and all indices of others."""
    texts = [each for each in videos if isinstance(each.label, str)]
    if not all(_INDEX.fullmatch(str(each.label)) for each in texts):
        return
    if any(int(each.label) >= num_labels for each in texts):
        return
    for each in texts:
        if int(each.label) not in places[str(each.label)]:
            each.entry.refuse(
                "label must be the name of a class or an index, not both",
                each.label,
                'Write JSON, where "label": "3" is a name and "label": 3 an index.',
            )


def _index_of(video: LabelledVideo, num_labels: int) -> int:
    index = int(video.label)
    if not 0 <= index < num_labels:
        video.entry.refuse(
            f"label must be an index in [0, {num_labels}) of the model's labels",
            video.label,
            "Count from 0, in the model's order.",
        )
    return index


def _place_of(video: LabelledVideo, places: Mapping[str, Sequence[int]]) -> int:
    label = str(video.label)
    found = places.get(label, ())
    if not found:
        close = get_close_matches(label, places, n=1)
        meant = f"Did you mean {close[0]!r}?" if close else "Correct it, or give `labels`."
        video.entry.refuse(f"label must be one of the model's {len(places)} labels", label, meant)
    if len(found) > 1:
        rule = f"label must name one class (it names {', '.join(map(str, found))})"
        video.entry.refuse(rule, label, "Write the index of the class.")
    return found[0]
