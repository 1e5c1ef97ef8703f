"""The tables of `vidtldr bench`."""

from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vidtldr.baselines.schedules import PAPER
from vidtldr.bench.merging_methods import DEFAULT
from vidtldr.bench.quality_result import Spread
from vidtldr.bench.resident import MemoryRow
from vidtldr.bench.roofline import Ceilings
from vidtldr.bench.saliency_quality import SaliencyResult, SaliencyRow
from vidtldr.bench.scaling import ScalingRow
from vidtldr.bench.speed import SpeedRow
from vidtldr.bench.speed_variants import MERGED, UNMERGED
from vidtldr.cli.terminal import SPEED_MARK_NOTE, plain_table, speed_mark
from vidtldr.measure.busyness import busiest
from vidtldr.measure.timing import Timing

__all__ = [
    "FIGURES",
    "LATENCY_NOTE",
    "ceiling_note",
    "latency_doubts",
    "latency_table",
    "memory_table",
    "print_latency",
    "print_memory",
    "print_saliency",
    "print_scaling",
    "row_style",
    "saliency_headline",
    "saliency_note",
    "saliency_table",
    "scaling_headline",
    "scaling_table",
]

WIDTH_WITH_SPREAD = 110  # columns needed for a standard deviation beside each figure
FIGURES = {"auroc": "AUROC", "precision": "precision", "precision_negated": "precision of minus it"}


def print_saliency(console: Console, weights: str, result: SaliencyResult) -> None:
    """Print each figure of each score, one column per layer."""
    console.print(Text(f"{weights}: {saliency_headline(result)}", style="bold"))
    for field in FIGURES:
        console.print(saliency_table(result, field, console.width))
    console.print(Text(saliency_note(result), style="dim"))


def saliency_headline(result: SaliencyResult) -> str:
    """Return a line that says what was scored."""
    share = 100 * result.foreground.mean
    return f"{result.num_scored} clips, {share:.1f} % of the tokens are foreground"


def saliency_table(result: SaliencyResult, field: str, width: int) -> Table:
    """Build the table of one of `FIGURES`, one row per score and one column per layer.

    Args:
        result: Result of `run_saliency`.
        field: The figure's name in a row.
        width: Columns of the terminal; a wide one gets standard deviations.
    """
    layers = sorted({row.layer for row in result.rows})
    table = plain_table(FIGURES[field], [f"layer {layer}" for layer in layers])
    for score, rows in _by_score(result.rows).items():
        figures = (getattr(row, field) for row in rows)
        with_spread = width >= WIDTH_WITH_SPREAD
        table.add_row(score, *(_figure(each, 2, with_spread) for each in figures))
    return table


def saliency_note(result: SaliencyResult) -> str:
    """Return a note on what chance would give."""
    chance = f"{result.foreground.mean:.2f}"
    note = f"By chance AUROC is 0.50, precision {chance}; AUROC of minus a score is 1 minus it."
    return f"{note} Layers count from 0."


def _figure(figure: Spread, decimals: int, with_spread: bool) -> str:
    mean = f"{figure.mean:.{decimals}f}"
    return f"{mean} ±{figure.std:.{decimals}f}" if with_spread else mean


def row_style(name: str) -> str:
    """Return the style of a method's row: bold for the ones that readers look for first."""
    return "bold" if name in (DEFAULT, PAPER, MERGED, UNMERGED) else ""


def _by_score(rows: Iterable[SaliencyRow]) -> dict[str, list[SaliencyRow]]:
    found: dict[str, list[SaliencyRow]] = {}
    for row in sorted(rows, key=lambda row: row.layer):
        found.setdefault(row.score, []).append(row)
    return found


WIDE = 134  # columns needed for spread, rates, memory and drift
MEDIUM = 76
LATENCY_NOTE = (
    "speed-up: median of the ratios of the same rounds to the unmerged model on fused attention; "
    f"{SPEED_MARK_NOTE}. drift: distance of the outputs from the unmerged ones in float32. "
    "rounding: the same from its own in float32."
)


def print_latency(
    console: Console, rows: Sequence[SpeedRow], ceilings: Mapping[str, Ceilings]
) -> None:
    """Print a table for each setting; wider terminals get more columns."""
    for setting in dict.fromkeys(row.setting for row in rows):
        console.print(Text(setting.headline, style="bold"))
        here = [row for row in rows if row.setting == setting]
        console.print(latency_table(console.width, here))
        for doubt in latency_doubts(here):
            console.print(Text(doubt, style="yellow"))
        if setting.dtype in ceilings:
            console.print(Text(ceiling_note(ceilings[setting.dtype]), style="dim"))
    console.print(Text(LATENCY_NOTE, style="dim"))


def latency_doubts(rows: Sequence[SpeedRow]) -> list[str]:
    """Return caveats about one setting: why merging gains nothing, and a busy machine."""
    found = {row.variant: row for row in rows}
    doubts = []
    if UNMERGED in found and MERGED in found:
        gain = found[MERGED].gain_over(found[UNMERGED])
        doubts += [f"{MERGED}: {gain.words}; {gain.why_none}"] if gain.why_none else []
    busy = busiest(row.busy for row in rows)
    return doubts + [f"note: {busy.warning}"] * busy.is_busy


def print_scaling(console: Console, dtype: str, rows: Sequence[ScalingRow]) -> None:
    """Print time and memory of one layer's attention."""
    console.print(Text(scaling_headline(dtype), style="bold"))
    console.print(scaling_table(console.width, rows))


def print_memory(console: Console, rows: Sequence[MemoryRow]) -> None:
    """Print peak memory above the loaded model's, one table per setting."""
    for setting in dict.fromkeys(row.setting for row in rows):
        console.print(Text(setting.headline, style="bold"))
        here = [row for row in rows if row.setting == setting]
        console.print(memory_table(console.width, here))


def scaling_headline(dtype: str) -> str:
    """Return a line that says what `scaling_table` holds."""
    return f"attention of one merging layer, {dtype}: ms (peak MiB)"


def scaling_table(width: int, rows: Sequence[ScalingRow]) -> Table:
    """Build the table of time and memory of one layer's attention.

    Wide terminals get one row per token count, others one per token count and implementation.
    """
    if width < WIDE:
        table = plain_table("tokens, attention", ["ms (MiB)"])
        for row in rows:
            table.add_row(f"{row.num_tokens}, {row.side}", _scaling_cell(row))
        return table
    sides = list(dict.fromkeys(row.side for row in rows))
    table = plain_table("tokens", sides)
    for count in dict.fromkeys(row.num_tokens for row in rows):
        found = {row.side: row for row in rows if row.num_tokens == count}
        table.add_row(str(count), *(_scaling_cell(found[side]) for side in sides))
    return table


def memory_table(width: int, rows: Iterable[MemoryRow]) -> Table:
    """Build the table of peaks at one setting; wider terminals get their spread."""
    spreads = ["lowest", "highest"] if width >= MEDIUM else []
    table = plain_table("peak above load", ["MiB", *spreads, "of unmerged"])
    for row in rows:
        sizes = [row.median_bytes, *row.spread_bytes][: 1 + len(spreads)]
        ratio = "-" if row.ratio is None else f"{row.ratio:.2f}"
        cells = (f"{size / 2**20:.0f}" for size in sizes)
        table.add_row(row.variant, *cells, ratio, style=row_style(row.variant))
    return table


def latency_table(width: int, rows: Sequence[SpeedRow]) -> Table:
    """Build the table of times at one setting; wider terminals get more columns."""
    has_rounding = any(row.rounding is not None for row in rows)
    columns = ["ms", "speed-up"]
    columns += ["lowest", "highest"] * (width >= WIDE)
    columns += ["clips/s", "GFLOPs"] * (width >= MEDIUM)
    columns += ["TFLOP/s", "GB/s", "peak MiB", "drift"] * (width >= WIDE)
    columns += ["rounding"] * has_rounding
    table = plain_table("", columns)
    for row in rows:
        found = row.to_dict()
        seconds, moved, peak = found["median_ms"] / 1e3, row.moved_bytes, row.peak_bytes
        cells = [f"{found['median_ms']:.1f}", _speedup(row)]
        if width >= WIDE:
            cells += [f"{row.speedup['lowest']:.2f}x", f"{row.speedup['highest']:.2f}x"]
        if width >= MEDIUM:
            cells += [f"{found['clips_per_second']:.2f}", f"{row.flops / 1e9:.1f}"]
        if width >= WIDE:
            cells += [
                f"{row.flops / seconds / 1e12:.3g}",
                "-" if moved is None else f"{moved / seconds / 1e9:.3g}",
                "-" if peak is None else f"{peak / 2**20:.0f}",
                f"{row.drift:.1e}",
            ]
        if has_rounding:
            cells += ["-" if row.rounding is None else f"{row.rounding:.1e}"]
        table.add_row(row.variant, *cells, style=row_style(row.variant))
    return table


def _scaling_cell(row: ScalingRow) -> str:
    if row.peak_bytes is None:
        return "too large"
    median = Timing(row.times_ms).median_ms
    ms = f"{median:.3g}" if median < 100 else f"{median:.0f}"
    return f"{ms} ({row.peak_bytes / 2**20:.0f})"


def ceiling_note(ceilings: Ceilings) -> str:
    """Return a note on the device's measured ceilings."""
    return (
        f"the device at most: {ceilings.flops_per_second / 1e12:.3g} TFLOP/s in a product, "
        f"{ceilings.bytes_per_second / 1e9:.3g} GB/s in a copy"
    )


def _speedup(row: SpeedRow) -> str:
    mark = "" if row.variant == UNMERGED else speed_mark(row.change)
    return f"{mark}{row.speedup['median']:.2f}x"
