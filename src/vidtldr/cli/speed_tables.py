"""Tables of `vidtldr bench latency` and `bench memory`."""

from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from vidtldr.bench.resident import MemoryRow
from vidtldr.bench.roofline import Ceilings
from vidtldr.bench.scaling import ScalingRow
from vidtldr.bench.speed import SpeedRow
from vidtldr.bench.speed_peers import MERGED, UNMERGED
from vidtldr.cli.plain_table import plain_table
from vidtldr.hosts.timing import Timing

__all__ = [
    "LATENCY_NOTE",
    "ceiling_note",
    "latency_table",
    "memory_table",
    "print_latency",
    "print_memory",
    "print_scaling",
    "scaling_headline",
    "scaling_table",
]

WIDE = 134  # columns from which rates and work fit beside the times
MEDIUM = 76
LATENCY_NOTE = (
    "speed-up: median of the ratios of the same rounds to the unmerged model on fused attention. "
    "drift: distance of the outputs from the unmerged ones in float32. "
    "rounding: the same from its own in float32."
)


def print_latency(
    console: Console, rows: Sequence[SpeedRow], ceilings: Mapping[str, Ceilings]
) -> None:
    """Print a table for each setting; wider terminals get more columns."""
    for setting in dict.fromkeys(row.setting for row in rows):
        console.print(Text(setting.headline, style="bold"))
        console.print(latency_table(console.width, [r for r in rows if r.setting == setting]))
        if setting.dtype in ceilings:
            console.print(Text(ceiling_note(ceilings[setting.dtype]), style="dim"))
    console.print(Text(LATENCY_NOTE, style="dim"))


def print_scaling(console: Console, dtype: str, rows: Sequence[ScalingRow]) -> None:
    """Print time and memory of a layer's attention."""
    console.print(Text(scaling_headline(dtype), style="bold"))
    console.print(scaling_table(console.width, rows))


def print_memory(console: Console, rows: Sequence[MemoryRow]) -> None:
    """Print the peaks above the loaded model's, a table for each setting."""
    for setting in dict.fromkeys(row.setting for row in rows):
        console.print(Text(setting.headline, style="bold"))
        here = [row for row in rows if row.setting == setting]
        console.print(memory_table(console.width, here))


def scaling_headline(dtype: str) -> str:
    """What `scaling_table` holds."""
    return f"attention of one merging layer, {dtype}: ms (peak MiB)"


def scaling_table(width: int, rows: Sequence[ScalingRow]) -> Table:
    """Time and memory of a layer's attention.

    Wide terminals get a line for each number of tokens, others one for each way of attention, too.
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
    """The peaks of one setting; wider terminals get their spread."""
    spreads = ["lowest", "highest"] if width >= MEDIUM else []
    table = plain_table("peak above load", ["MiB", *spreads, "of unmerged"])
    for row in rows:
        sizes = [row.median_bytes, *row.spread_bytes][: 1 + len(spreads)]
        ratio = "-" if row.ratio is None else f"{row.ratio:.2f}"
        cells = (f"{size / 2**20:.0f}" for size in sizes)
        table.add_row(row.peer, *cells, ratio, style=_style(row.peer))
    return table


def latency_table(width: int, rows: Sequence[SpeedRow]) -> Table:
    """The times of one setting; wider terminals get rates and work."""
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
        cells = [f"{found['median_ms']:.1f}", f"{row.speedup['median']:.2f}x"]
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
        table.add_row(row.peer, *cells, style=_style(row.peer))
    return table


def _scaling_cell(row: ScalingRow) -> str:
    if row.peak_bytes is None:
        return "too large"
    median = Timing(row.times_ms).median_ms
    ms = f"{median:.3g}" if median < 100 else f"{median:.0f}"
    return f"{ms} ({row.peak_bytes / 2**20:.0f})"


def ceiling_note(ceilings: Ceilings) -> str:
    """What the device can do at most."""
    return (
        f"the device at most: {ceilings.flops_per_second / 1e12:.3g} TFLOP/s in a product, "
        f"{ceilings.bytes_per_second / 1e9:.3g} GB/s in a copy"
    )


def _style(peer: str) -> str:
    return "bold" if peer in (MERGED, UNMERGED) else ""
