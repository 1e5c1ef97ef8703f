"""Output of `vidtldr classify`: tables for people, JSON Lines for programs."""

import json
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import Tensor

from vidtldr.cli.classify.run import Answer, Outcome
from vidtldr.cli.terminal import print_gain, printable, token_runs
from vidtldr.measure.gain import Gain
from vidtldr.tasks.classify import top_labels
from vidtldr.tasks.comparison import Comparison, Side
from vidtldr.video.decode import Clip

__all__ = ["JsonOutput", "TableOutput"]


class JsonOutput:
    """One JSON object per video on stdout, and nothing else.

    Args:
        labels: Labels of the model.
        top: How many to print.
        compiled: Result of `compiled_row`.
    """

    def __init__(self, labels: Sequence[str], top: int, compiled: Mapping[str, Any]) -> None:
        self.labels, self.top, self.compiled = labels, top, compiled

    def show(self, outcome: Outcome) -> None:
        """Print an outcome's row."""
        row: dict[str, Any] = {"video": outcome.video, "error": outcome.error, "labels": []}
        row["num_tokens"] = []
        if outcome.clip is not None and outcome.answer is not None:
            row["labels"] = self._labels(outcome.answer.probabilities)
            row["num_tokens"] = outcome.answer.num_tokens
            row |= _clip_row(outcome.clip)
        if outcome.comparison is not None:
            row |= self._comparison_row(outcome.comparison)
        print(json.dumps({**row, **self.compiled}), flush=True)

    def close(self, outcomes: Sequence[Outcome]) -> None:
        """Do nothing: every row is already printed."""

    def _labels(self, probabilities: Tensor) -> list[dict[str, Any]]:
        return [vars(answer) for answer in top_labels(probabilities, self.labels, self.top)]

    def _comparison_row(self, comparison: Comparison) -> dict[str, Any]:
        return {
            "unmerged": self._side_row(comparison.unmerged),
            "merged": self._side_row(comparison.merged),
            **comparison.gain.to_dict(),
            "same_top_label": comparison.agrees,
            "largest_probability_change": comparison.largest_change,
        }

    def _side_row(self, side: Side) -> dict[str, Any]:
        fastest_ms, slowest_ms = side.timing.spread_ms
        return {
            "labels": self._labels(side.probabilities),
            "num_tokens": side.num_tokens,
            "gflops": side.flops / 1e9,  # 1 MAC = 2 FLOPs
            "median_ms": side.timing.median_ms,
            "fastest_ms": fastest_ms,
            "slowest_ms": slowest_ms,
            "peak_memory_bytes": side.peak_bytes,
        }


class TableOutput:
    """One table per video, and a summary line for all."""

    def __init__(self, labels: Sequence[str], top: int) -> None:
        self.labels, self.top = labels, top
        self.console = Console(highlight=False)

    def show(self, outcome: Outcome) -> None:
        """Print an outcome as a table, or its error."""
        self.console.print(Text(printable(outcome.video), style="bold"))
        if outcome.clip is None or outcome.answer is None:
            self.console.print(Text(f"  error: {outcome.error}", style="red"))
            return
        self.console.print(Text(f"  {_frames_line(outcome.clip)}", style="dim"))
        for note in outcome.clip.notes:
            self.console.print(Text(f"  note: {note}", style="yellow"))
        if outcome.comparison is None:
            self.console.print(self._answer_table(outcome.answer))
        else:
            self.console.print(self._comparison_table(outcome.comparison))
            comparison = outcome.comparison
            print_gain(self.console, comparison.gain, _agreement(comparison), indent=2)
        self.console.print()

    def close(self, outcomes: Sequence[Outcome]) -> None:
        """Print a summary of the outcomes if there are several."""
        comparisons = [o.comparison for o in outcomes if o.comparison is not None]
        if comparisons:
            self.console.print(
                Text("1 MAC = 2 FLOPs; memory: tensors allocated during the run.", style="dim")
            )
        if len(outcomes) < 2:
            return
        failed = sum(outcome.error is not None for outcome in outcomes)
        parts = [
            f"{len(outcomes)} videos",
            f"{len(outcomes) - failed} answered",
            f"{failed} failed",
        ]
        if comparisons:
            same = sum(comparison.agrees for comparison in comparisons)
            parts += [f"same top label in {same} of {len(comparisons)}"]
            parts += [_speed_of_all([comparison.gain for comparison in comparisons])]
        self.console.print(Text("; ".join(parts)))

    def _answer_table(self, answer: Answer) -> Table:
        table = _empty_table("")
        for label, probability in self._ranked(answer.probabilities):
            table.add_row(Text(label), probability)
        table.add_row("tokens after each layer", token_runs(answer.num_tokens))
        return table

    def _comparison_table(self, comparison: Comparison) -> Table:
        unmerged, merged = comparison.unmerged, comparison.merged
        table = _empty_table("unmerged", "merged")
        ranked = [self._ranked(side.probabilities) for side in (unmerged, merged)]
        for place, (one, other) in enumerate(zip(*ranked, strict=True), start=1):
            table.add_row(f"label {place}", *(Text(f"{label} {p}") for label, p in (one, other)))
        for name, cells in _cost_rows(unmerged, merged):
            table.add_row(name, *cells)
        return table

    def _ranked(self, probabilities: Tensor) -> list[tuple[str, str]]:
        answers = top_labels(probabilities, self.labels, self.top)
        return [(printable(answer.label), f"{answer.probability:.1%}") for answer in answers]


def _empty_table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2), show_header=any(columns))
    table.add_column("", overflow="fold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _cost_rows(unmerged: Side, merged: Side) -> list[tuple[str, list[str]]]:
    sides = (unmerged, merged)
    return [
        ("tokens after each layer", [token_runs(side.num_tokens) for side in sides]),
        ("GFLOPs", [f"{side.flops / 1e9:.1f}" for side in sides]),
        ("median time", [f"{side.timing.median_ms:.0f} ms" for side in sides]),
        (
            "fastest to slowest",
            ["{:.0f} to {:.0f} ms".format(*side.timing.spread_ms) for side in sides],
        ),
        ("peak memory", [f"{side.peak_bytes / 1e6:.1f} MB" for side in sides]),
    ]


def _speed_of_all(gains: Sequence[Gain]) -> str:
    """Summarise several clips: the median speed-up if all are certain, else how many are."""
    num_sure = sum(gain.is_sure for gain in gains)
    if num_sure < len(gains):
        return f"faster beyond doubt in {num_sure} of {len(gains)}"
    return f"median speed-up {statistics.median(gain.median for gain in gains):.2f}x"


def _agreement(comparison: Comparison) -> str:
    same = "same top label" if comparison.agrees else "another top label"
    change = f"largest change of a probability {100 * comparison.largest_change:.1f} points"
    return f"{same}; {change}"


def _clip_row(clip: Clip) -> dict[str, Any]:
    return {
        "frame_indices": list(clip.indices),
        "num_frames_in_file": clip.num_frames_in_file,
        "duration_seconds": clip.duration_seconds,
        "notes": list(clip.notes),
    }


def _frames_line(clip: Clip) -> str:
    height, width = clip.size
    seconds = "" if clip.duration_seconds is None else f", {clip.duration_seconds:.1f} s"
    used = len(set(clip.indices))
    return f"{used} of {clip.num_frames_in_file} frames, {width}x{height}{seconds}"
