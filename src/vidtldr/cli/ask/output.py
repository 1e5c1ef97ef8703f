"""Output of `vidtldr ask`: tables for people, one JSON object for programs."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vidtldr.cli.terminal import one_line, print_failed_videos, print_gain, printable, token_runs
from vidtldr.tasks.answer_comparison import AnswerComparison, AnswerSide
from vidtldr.tasks.ask import AnsweredVideo
from vidtldr.tasks.video_language import FreeAnswer
from vidtldr.video.decode import Clip

__all__ = ["Said", "print_ranked", "print_said"]


def print_ranked(
    question: str, result: AnsweredVideo, compiled: Mapping[str, Any], *, as_json: bool
) -> None:
    """Print the answers of UMT, likeliest first, or the error.

    Args:
        question: As typed.
        result: The answers.
        compiled: Result of `compiled_row`, for JSON.
        as_json: Whether to print one JSON object.
    """
    if as_json:
        _print_json(question, result, compiled)
    else:
        _print_table(question, result)


def _print_json(question: str, result: AnsweredVideo, compiled: Mapping[str, Any]) -> None:
    row = {
        "video": result.path,
        "question": question,
        "answers": [vars(answer) for answer in result.answers],
        "duration_seconds": result.seconds,
        "notes": list(result.notes),
        "error": None if result.error is None else one_line(result.error),
        **compiled,
    }
    print(json.dumps(row))


def _print_table(question: str, result: AnsweredVideo) -> None:
    """Print the answers, likeliest first, or the error."""
    console = Console(highlight=False)
    if result.error is not None:
        print_failed_videos(console, [(result.path, result.error)], 1)
        return
    console.print(Text(one_line(question), style="bold"))
    for note in result.notes:
        console.print(Text(f"  note: {one_line(note)}", style="yellow"))
    table = Table(box=None, padding=(0, 2), show_header=False)
    table.add_column(overflow="fold")
    table.add_column(justify="right", no_wrap=True)
    for answer in result.answers:
        table.add_row(Text(printable(answer.answer)), f"{answer.probability:.1%}")
    console.print(table)


@dataclass(frozen=True)
class Said:
    """What a language model said of a video: an answer, a comparison, or the error."""

    video: str
    question: str
    clip: Clip | None = None
    answer: FreeAnswer | None = None
    comparison: AnswerComparison | None = None
    error: str | None = None


def print_said(said: Said, *, as_json: bool) -> None:
    """Print what a language model said, or the error."""
    if as_json:
        print(json.dumps(_row_of(said)))
    else:
        _print_answer(said)


def _row_of(said: Said) -> dict[str, Any]:
    row: dict[str, Any] = {"video": said.video, "question": said.question}
    row["answer"] = None if said.answer is None else said.answer.text
    row["num_tokens"] = [] if said.answer is None else said.answer.num_tokens
    if said.clip is not None:
        row["frame_indices"] = list(said.clip.indices)
        row["duration_seconds"] = said.clip.duration_seconds
    row["notes"] = [] if said.clip is None else list(said.clip.notes)
    row["error"] = said.error
    if said.comparison is not None:
        row["unmerged"] = _row_of_side(said.comparison.unmerged)
        row["merged"] = _row_of_side(said.comparison.merged)
        row |= said.comparison.gain.to_dict()
        row["same_answer"] = said.comparison.agrees
    return row


def _row_of_side(side: AnswerSide) -> dict[str, Any]:
    fastest_ms, slowest_ms = side.timing.spread_ms
    return {
        "answer": side.answer.text,
        "num_tokens": side.num_tokens,
        "gflops": side.flops / 1e9,  # 1 MAC = 2 FLOPs
        "first_token_ms": side.timing.median_ms,
        "fastest_ms": fastest_ms,
        "slowest_ms": slowest_ms,
        "tower_ms": side.tower.median_ms,
        "language_ms": side.language.median_ms,
        "peak_memory_bytes": side.peak_bytes,
    }


def _print_answer(said: Said) -> None:
    console = Console(highlight=False)
    if said.error is not None:
        print_failed_videos(console, [(said.video, said.error)], 1)
        return
    assert said.answer is not None
    console.print(Text(one_line(said.question), style="bold"))
    for note in said.clip.notes if said.clip is not None else ():
        console.print(Text(f"  note: {one_line(note)}", style="yellow"))
    if said.comparison is None:
        console.print(_text_of(said.answer), soft_wrap=True)
        return
    sides = {"unmerged": said.comparison.unmerged, "merged": said.comparison.merged}
    for name, side in sides.items():
        console.print(Text(f"{name}: ", style="dim"), _text_of(side.answer), sep="", soft_wrap=True)
    console.print(_cost_table(sides))
    same = "same answer" if said.comparison.agrees else "different answer"
    print_gain(console, said.comparison.gain, same)
    console.print(Text("1 MAC = 2 FLOPs; memory: tensors allocated during the run.", style="dim"))


def _text_of(answer: FreeAnswer) -> Text:
    """An answer with its line breaks, and everything else that is no plain text escaped."""
    return Text("\n".join(map(printable, answer.text.splitlines())))


def _cost_table(sides: Mapping[str, AnswerSide]) -> Table:
    table = Table(box=None, padding=(0, 2))
    table.add_column("", overflow="fold")
    for name in sides:
        table.add_column(name, overflow="fold")
    rows: dict[str, Callable[[AnswerSide], str]] = {
        "tower's tokens after each layer": lambda side: token_runs(side.num_tokens),
        "GFLOPs to the first token": lambda side: f"{side.flops / 1e9:.1f}",
        "time to the first token": lambda side: f"{side.timing.median_ms:.0f} ms",
        "  in the vision tower": lambda side: f"{side.tower.median_ms:.0f} ms",
        "  in the language model": lambda side: f"{side.language.median_ms:.0f} ms",
        "fastest to slowest": lambda side: "{:.0f} to {:.0f} ms".format(*side.timing.spread_ms),
        "peak memory": lambda side: f"{side.peak_bytes / 1e6:.1f} MB",
    }
    for name, cell in rows.items():
        table.add_row(name, *(cell(side) for side in sides.values()))
    return table
