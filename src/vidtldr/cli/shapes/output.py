"""What `vidtldr demo` prints, and its page."""

import os
import shlex
import tempfile
from pathlib import Path
from typing import Literal

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vidtldr.bench.headline import Headline
from vidtldr.bundled import BUNDLED, BUNDLED_PRESET
from vidtldr.cli.model_options import ModelOptions
from vidtldr.cli.show.command import AskedOptions
from vidtldr.cli.show.output import write_page
from vidtldr.cli.show.run import prepare_show, read_shown, show_clip
from vidtldr.cli.show.subject import load_subject
from vidtldr.cli.terminal import print_gain, printable, token_runs
from vidtldr.measure.device_name import device_name
from vidtldr.shapes.demo import Demo, DemoSide
from vidtldr.shapes.exam import AnswerSheet
from vidtldr.shapes.language import LABELS, caption, label_of
from vidtldr.tasks.model_spec import UMT_PREFIX

__all__ = ["print_demo", "write_demo_report"]

COSTS = "What its vision encoder costs for a clip"
CPU = torch.device("cpu")
ASKED, LABELLED = 1, 2  # clips of the examples; the search example uses clip 0


def print_demo(demo: Demo, headline: Headline, directory: Path | None) -> None:
    """Print what merging gains, then some answers, their accuracy and their cost.

    Args:
        demo: Results of the demo.
        headline: Times of a model of a published size.
        directory: Where the clips are; None if they were deleted.
    """
    console = Console(highlight=False)
    _print_headline(console, headline)
    for title, table in (
        ("The bundled model, a small one, answers for example", _examples(demo)),
        ("Right answers", _scores(demo)),
        (COSTS, _costs(demo)),
    ):
        console.print(Text(title, style="bold"))
        console.print(table)
        if title == COSTS and not demo.gain.is_sure:
            print_gain(console, demo.gain)
        console.print()
    console.print(Text(_verdict(demo), style="bold green"))
    if directory is not None:
        console.print(Text(_next_command(demo, directory)), soft_wrap=True)


def _print_headline(console: Console, headline: Headline) -> None:
    threads = f"{torch.get_num_threads()} thread{'s' * (torch.get_num_threads() != 1)}"
    where = f"one clip on {device_name(CPU)}, {threads}"
    console.print(Text(f"A model of {headline.title}'s size, random weights", style="bold"))
    console.print(Text(where, style="dim"))
    console.print(_headline_table(headline))
    print_gain(console, headline.gain, f"{headline.gain.flop_ratio:.0%} of the FLOPs")
    console.print()


def _headline_table(headline: Headline) -> Table:
    table = _table("", "unmerged", "merged", justify="right")
    timings = (headline.unmerged, headline.merged)
    table.add_row("tokens behind the last layer", *map(str, headline.gain.num_tokens or ()))
    table.add_row("median time", *(f"{timing.median_ms:.0f} ms" for timing in timings))
    spreads = ["{:.0f} to {:.0f} ms".format(*timing.spread_ms) for timing in timings]
    table.add_row(f"fastest to slowest of {len(headline.merged.times_ms)}", *spreads)
    return table


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
    answers = [_flat(sheet) for sheet in _sheets(demo)]
    same = sum(one == other for one, other in zip(*answers, strict=True)) / len(answers[0])
    return f"{same:.0%} same answers at {demo.gain.flop_ratio:.0%} of the FLOPs"


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


NUM_TEXTS, NUM_REPEATS = 3, 5


def write_demo_report(demo: Demo, clips: Path, kept: Path | None) -> Path:
    """Write a page of what was merged in the first clip, with some clips' captions as texts.

    Args:
        demo: Results of the demo.
        clips: Where its clips are now.
        kept: Directory to write to; None for a temporary file, which is not deleted.

    Returns:
        The path of the page.

    Raises:
        ImportError: If the extra is not installed.
        OSError: If it cannot be written.
    """
    texts = [caption(row) for row in demo.clips.rows[:NUM_TEXTS]]
    model = ModelOptions(model=f"{UMT_PREFIX}{BUNDLED}")  # named explicitly, to avoid a second note
    subject = load_subject(model, AskedOptions(text=texts))
    job = prepare_show(subject, demo.merge, None, NUM_REPEATS)
    clip = read_shown(subject, str(clips / demo.videos[0]))
    report = show_clip(job, clip, ModelOptions().name)
    if kept is not None:
        return write_page(kept / "report.html", report)
    handle, name = tempfile.mkstemp(prefix="vidtldr-demo-", suffix=".html")
    os.close(handle)
    return write_page(Path(name), report)
