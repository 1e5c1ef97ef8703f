"""Print and write the results of `vidtldr evaluate`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vidtldr.cli.terminal import counted, one_line, print_failed_videos, printable
from vidtldr.evaluate.answering import AnsweringResult
from vidtldr.evaluate.classification import ClassificationResult
from vidtldr.evaluate.comparison import Compared
from vidtldr.evaluate.metrics import Recall, RetrievalMetrics
from vidtldr.evaluate.multiple_choice import MultipleChoiceResult
from vidtldr.evaluate.retrieval import RetrievalResult
from vidtldr.evaluate.run_record import RunRecord
from vidtldr.files import write_json

__all__ = ["Result", "show"]

Result = RetrievalResult | AnsweringResult | MultipleChoiceResult | ClassificationResult
_Row = tuple[str, str]
_BUDGETS = ("flop_ratio", "num_tokens", "speedup")

#: The metric that the paper reports for each kind of evaluation.
_MAIN_FIGURE: dict[type, str] = {
    RetrievalResult: "mean R@1",
    AnsweringResult: "accuracy",
    MultipleChoiceResult: "accuracy",
    ClassificationResult: "top-1",
}


def _main_figure(result: Result) -> float | None:
    """Return the metric that the paper reports, percent; None if nothing could be classified."""
    if isinstance(result, ClassificationResult):
        return result.top1
    if isinstance(result, RetrievalResult):
        return (result.reranked or result.dual).mean_r1
    return result.accuracy


def _title(result: Result) -> str:
    """Return a line that says what was evaluated, and how it was merged."""
    run = result.run
    parts = [counted(run.num_videos, "video")]
    if isinstance(result, RetrievalResult):
        again = f"best {run.protocol['k_test']} scored again by fusion"
        parts += [counted(result.num_texts, "text"), again if result.reranked else "cosines alone"]
    elif isinstance(result, ClassificationResult):
        parts += [counted(result.num_labels, "label"), _views(run.protocol)]
    else:
        parts.append(counted(result.num_questions, "question"))
    return f"{run.protocol['name']}: {', '.join(parts)}; {_schedule(run)}"


def _result_rows(result: Result) -> list[_Row]:
    """Return rows for the metrics of the set."""
    if isinstance(result, RetrievalResult):
        rows = _retrieval_rows(result.reranked or result.dual)
        if result.reranked is not None:
            rows.append(("mean R@1 by cosines alone", f"{result.dual.mean_r1:.1f}"))
        return rows
    if isinstance(result, ClassificationResult):
        return [
            ("top-1", _percent(result.top1)),
            ("top-5", _percent(result.top5)),
            ("videos classified", str(result.num_classified)),
            ("views per video", str(result.num_views)),
        ]
    rows = [("accuracy", f"{result.accuracy:.1f}")]
    if isinstance(result, AnsweringResult):
        rows += [
            ("answers to choose from", str(result.num_answers)),
            ("questions whose answer is not there", str(result.num_unanswerable)),
        ]
    return rows


def _cost_rows(run: RunRecord) -> list[_Row]:
    """Return rows for the cost of the run."""
    rate = "all cached" if run.clips_per_second is None else f"{run.clips_per_second:.2f}"
    return [
        ("GFLOPs per clip", _three_digits(run.gflops_per_clip)),
        ("clips per second", rate),
        ("videos from the cache", str(run.num_from_cache)),
    ]


def _retrieval_rows(found: RetrievalMetrics) -> list[_Row]:
    means = zip((1, 5, 10), (found.mean_r1, found.mean_r5, found.mean_r10), strict=True)
    return [
        *((f"mean R@{k}", f"{value:.1f}") for k, value in means),
        *_direction_rows("text to video", found.text_to_video),
        *_direction_rows("video to text", found.video_to_text),
    ]


def _direction_rows(name: str, found: Recall) -> list[_Row]:
    recalls = zip((1, 5, 10), (found.r1, found.r5, found.r10), strict=True)
    median = "none" if found.median_rank is None else f"{found.median_rank:g}"
    return [
        *((f"{name} R@{k}", f"{value:.1f}") for k, value in recalls),
        (f"{name} median rank", median),
    ]


def _views(protocol: Mapping[str, Any]) -> str:
    if protocol["num_segments"] * protocol["num_crops"] == 1:
        return "one view"
    segments, crops = protocol["num_segments"], protocol["num_crops"]
    sizes = f"{counted(segments, 'segment')} x {counted(crops, 'crop')}"
    return f"{sizes}, {protocol['average']} averaged"


def _percent(value: float | None) -> str:
    return "none" if value is None else f"{value:.1f}"


def _three_digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _schedule(run: RunRecord) -> str:
    if run.schedule is None:
        return "unmerged"
    name = f" ({run.schedule_name})" if run.schedule_name else ""
    if "ratio" in run.schedule:
        return f"merged by ratio {','.join(map(str, run.schedule['ratio']))}{name}"
    budgets = [f" to {word} {run.schedule[word]}" for word in _BUDGETS if word in run.schedule]
    return f"merged{''.join(budgets)} by r {','.join(map(str, run.r or ()))}{name}"


def show(result: Result | Compared[Any], output: Path | None, *, as_json: bool) -> int:
    """Print a result before writing it, so that a full disk loses only the file.

    Args:
        result: Result of one evaluation, or of both sides.
        output: JSON file to write, if any video could be read; None for none.
        as_json: Print the JSON, on one line, instead of a table.

    Returns:
        The number of videos that failed.
    """
    if as_json:
        print(json.dumps(result.to_dict()), flush=True)
    else:
        _print_tables(result)
    sides = _sides(result)
    num_failed = len(_failed(sides))
    if output is not None:
        name = printable(str(output))
        if all(num_failed == side.run.num_videos for side in sides.values()):
            typer.echo(f"{name} is not written: no video could be read", err=True)
        else:
            write_json(output, result.to_dict())
            typer.echo(f"wrote {name}", err=True)
    return num_failed


def _sides(result: Result | Compared[Any]) -> dict[str, Result]:
    if isinstance(result, Compared):
        return {"unmerged": result.unmerged, "merged": result.merged}
    return {"unmerged" if result.run.schedule is None else "merged": result}


def _failed(sides: Mapping[str, Result]) -> dict[str, str]:
    """Return the videos that failed on any side, with their errors."""
    return {note.path: note.text for side in sides.values() for note in side.run.failed_videos}


def _print_tables(result: Result | Compared[Any]) -> None:
    console = Console(highlight=False)
    sides = _sides(result)
    last = list(sides.values())[-1]
    console.print(Text(one_line(_title(last)), style="bold"))
    console.print(_table(sides))
    console.print(Text(f"GFLOPs of the {last.run.flops_rule.replace(', ', '; ')}.", style="dim"))
    if isinstance(result, Compared):
        console.print(Text(_verdict(result), style="bold"))
    _print_notes(console, last)
    if len({each.run.failed_videos for each in sides.values()}) > 1:
        console.print(Text("note: not the same videos failed on both sides", style="yellow"))
    failed = list(_failed(sides).items())
    is_left_out = isinstance(last, ClassificationResult)
    meaning = "are left out" if is_left_out else "count as misses"
    print_failed_videos(console, failed, last.run.num_videos, f", which {meaning}")


def _table(sides: Mapping[str, Result]) -> Table:
    table = Table(box=None, padding=(0, 2))
    table.add_column("", overflow="fold")
    for name in sides:
        table.add_column(name, justify="right", no_wrap=True)
    columns = [[*_result_rows(side), *_cost_rows(side.run)] for side in sides.values()]
    for cells in zip(*columns, strict=True):
        table.add_row(Text(cells[0][0]), *(Text(value) for _, value in cells))
    return table


def _verdict(result: Compared[Any]) -> str:
    parts = [f"FLOPs {result.flop_reduction:.2f}x fewer"]
    if result.speedup is not None:
        parts.append(
            f"{result.speedup:.2f}x the clips per second, one side after the other (vidtldr bench "
            "latency times them in turn)"
        )
    before, after = _main_figure(result.unmerged), _main_figure(result.merged)
    if before is not None and after is not None:
        parts.append(f"{_MAIN_FIGURE[type(result.merged)]} {after - before:+.1f} points")
    if result.agreement is not None:
        parts.append(f"the same answer for {result.agreement:.1f} % of the videos")
    return "; ".join(parts)


def _print_notes(console: Console, result: Result) -> None:
    for note in result.run.video_notes:
        line = f"note: {printable(note.path)}: {one_line(note.text)}"
        console.print(Text(line, style="yellow"))
