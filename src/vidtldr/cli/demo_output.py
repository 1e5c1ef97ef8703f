"""How the result of `vidtldr demo` is printed."""

import shlex
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vidtldr.cli.classify_output import token_runs
from vidtldr.cli.text import printable
from vidtldr.shapes.bundled_model import BUNDLED_PRESET
from vidtldr.shapes.demo import Demo, DemoSide
from vidtldr.shapes.exam import AnswerSheet
from vidtldr.shapes.language import LABELS, caption, label_of

__all__ = ["print_demo"]

ASKED, LABELLED = 1, 2  # clips of the examples; that of the search is the first


def print_demo(demo: Demo, directory: Path | None) -> None:
    """Print some answers, then how many are right, then what they cost.

    Args:
        demo: What there is to show.
        directory: Where the clips lie; None if they are gone.
    """
    console = Console(highlight=False)
    for title, table in (
        ("For example", _examples(demo)),
        ("Right answers", _scores(demo)),
        ("What the vision encoder costs for a clip", _costs(demo)),
    ):
        console.print(Text(title, style="bold"))
        console.print(table)
        console.print()
    console.print(Text(_verdict(demo), style="bold green"))
    if directory is not None:
        console.print(Text(_next_command(demo, directory)), soft_wrap=True)


def _examples(demo: Demo) -> Table:
    last = len(demo.videos) - 1
    asked, labelled = min(ASKED, last), min(LABELLED, last)
    rows, questions = demo.clips.rows, demo.clips.questions()[asked]
    which = next(i for i, question in enumerate(questions) if question.kind == "motion")
    table = _table("", "unmerged", "merged", "truth")
    for what, found, truth in (
        (
            f"search: {caption(rows[0])}",
            [demo.videos[sheet.clips[0]] for sheet in _sheets(demo)],
            demo.videos[0],
        ),
        (
            f"ask {demo.videos[asked]}: {questions[which].question}",
            [sheet.answers[asked][which] for sheet in _sheets(demo)],
            questions[which].answer,
        ),
        (
            f"classify {demo.videos[labelled]}",
            [sheet.labels[labelled] for sheet in _sheets(demo)],
            LABELS[label_of(rows[labelled])],
        ),
    ):
        table.add_row(what, *found, truth)
    return table


def _scores(demo: Demo) -> Table:
    table = _table("", "unmerged", "merged", "same answer", justify="right")
    sides = (demo.unmerged, demo.merged)
    for name, shares, answers in (
        (
            "a text finds its clip",
            [side.marks.text_to_video_r1 for side in sides],
            [side.sheet.clips for side in sides],
        ),
        (
            "a clip finds its text",
            [side.marks.video_to_text_r1 for side in sides],
            [side.sheet.captions for side in sides],
        ),
        (
            "a question is answered",
            [side.marks.answering for side in sides],
            [[answer for each in side.sheet.answers for answer in each] for side in sides],
        ),
        (
            f"the best of {len(LABELS)} labels",
            [side.marks.labels for side in sides],
            [side.sheet.labels for side in sides],
        ),
    ):
        count = len(answers[0])
        right = [f"{round(share * count / 100)} of {count}" for share in shares]
        same = sum(one == other for one, other in zip(*answers, strict=True))
        table.add_row(name, *right, f"{same} of {count}")
    return table


def _costs(demo: Demo) -> Table:
    table = _table("", "unmerged", "merged", justify="right")
    sides = (demo.unmerged, demo.merged)
    table.add_row("tokens after each layer", *(token_runs(side.num_tokens) for side in sides))
    table.add_row("GFLOPs (1 MAC = 2 FLOPs)", *(f"{side.flops / 1e9:.2f}" for side in sides))
    table.add_row("median time", *(f"{side.timing.median_ms:.1f} ms" for side in sides))
    table.add_row("fastest to slowest", *(_spread(side) for side in sides))
    return table


def _spread(side: DemoSide) -> str:
    fastest_ms, slowest_ms = side.timing.spread_ms
    return f"{fastest_ms:.1f} to {slowest_ms:.1f} ms"


def _verdict(demo: Demo) -> str:
    share = demo.merged.flops / demo.unmerged.flops
    answers = [_flat(sheet) for sheet in _sheets(demo)]
    same = sum(one == other for one, other in zip(*answers, strict=True)) / len(answers[0])
    return f"speed-up {demo.speedup:.2f}x at {share:.0%} of the FLOPs; {same:.0%} same answers"


def _next_command(demo: Demo, directory: Path) -> str:
    text = shlex.quote(caption(demo.clips.rows[0]))
    videos = f"{printable(shlex.quote(str(directory)))}/*.mp4"
    return f"try: vidtldr search {text} {videos} --preset {BUNDLED_PRESET} --top 3"


def _sheets(demo: Demo) -> tuple[AnswerSheet, AnswerSheet]:
    return demo.unmerged.sheet, demo.merged.sheet


def _flat(sheet: AnswerSheet) -> list[object]:
    answers = [answer for each in sheet.answers for answer in each]
    return [*sheet.clips, *sheet.captions, *sheet.labels, *answers]


def _table(*columns: str, justify: Literal["left", "right"] = "left") -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=True)
    table.add_column(columns[0], overflow="fold")
    for column in columns[1:]:
        table.add_column(column, overflow="fold", justify=justify)
    return table
