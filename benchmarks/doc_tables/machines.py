"""Gains over all machines that measured them, from results/never_slower."""

import re
from pathlib import Path
from typing import Any, get_args

from doc_tables.results import RESULTS, Report, listed, read, table
from vidtldr.bench.row import middle
from vidtldr.ops.processor import CpuCapability

MARKS_OF_MAKERS = re.compile(r"\(R\)| Processor$")
NEVER_SLOWER = RESULTS / "never_slower"
BUSY = RESULTS / "busy"
MODELS = {"UMT-B": "umt-b", "VideoMAE-B": "videomae-b"}
DTYPES = ("float32", "bfloat16")
#: What merges, and what its rows are called between model and dtype.
COLUMNS = {
    "default, `flop_ratio=0.6`": "-default",
    "vid-TLDR, `r=[600, 200, 100]`": "",
}
SMALL = {
    "ViT, width 384, 197 tokens": ("vit-384-side-224-batch-1", "vit-384-side-224-batch-8"),
    "bundled model, 512 tokens": ("bundled-batch-1", "bundled-batch-8"),
}


def reports_of(folder: Path) -> list[Report]:
    """Read the report of each machine, by file name."""
    return [read(f"{folder.name}/{path.stem}") for path in sorted(folder.glob("*.json"))]


def rows_named(name: str) -> list[dict[str, Any]]:
    """Return one workload's rows from every machine that measured it."""
    reports = reports_of(NEVER_SLOWER)
    return [row for report in reports for row in report["rows"] if row["name"] == name]


def gains() -> str:
    """Tabulate the headline gains: two published models, by default and as in the paper."""
    reports = reports_of(NEVER_SLOWER)
    lines = []
    for model, name in MODELS.items():
        for dtype in DTYPES:
            found = [rows_named(f"{name}{column}-{dtype}") for column in COLUMNS.values()]
            if known := next(filter(None, reversed(found)), None):
                _, frames, _, side, _ = known[0]["details"]["input_shape"]
                cells = [cell for rows in found for cell in _of_machines(rows, len(reports))]
                lines.append([f"{model}, {frames} frames of {side}²", dtype, *cells])
    head = ["model", "dtype", *(cell for column in COLUMNS for cell in (column, "fewer FLOPs"))]
    note = (
        "Against the unmerged model on fused attention (PyTorch's SDPA), batch 1, random weights. "
        f"Lowest to highest median of {listed(map(processor_of, reports))}; \\*: measured on one "
        f"of them, with the range of its rounds.{_emulating(reports)}"
    )
    return f"{table(head, lines)}\n\n{note}"


def _of_machines(rows: list[dict[str, Any]], num_machines: int) -> tuple[str, str]:
    """Format the gain and the FLOP reduction."""
    if not rows:
        return "-", "-"
    few = {1: " \\*", num_machines: ""}.get(len(rows), f" on {len(rows)} CPUs")
    return f"**{gain_of(rows)}**{few}", f"{rows[0]['figures']['flop_reduction']:.2f}x"


def _emulating(reports: list[Report]) -> str:
    """Name the machines without bfloat16 rows because they emulate bfloat16."""
    names = [
        processor_of(report)
        for report in reports
        if not any(row["name"].endswith("bfloat16") for row in report["rows"])
        and not report["environment"]["has_native_bfloat16"]
    ]
    return f" bfloat16 is not timed where it is emulated ({listed(names)})." if names else ""


def processor_of(report: Report) -> str:
    """Format `amd-epyc-7003-avx2` as `AMD EPYC 7003`."""
    device = MARKS_OF_MAKERS.sub("", report["environment"]["device"])
    rest = report["processor"].removeprefix(slug(device))
    unit = next(each for each in get_args(CpuCapability) if rest.endswith(each))
    family = rest.removesuffix(unit).strip("-").replace("-", " ").title()
    return f"{device} {family}".strip()


def slug(name: str) -> str:
    """Turn a name into its form in file names."""
    return name.lower().replace(" ", "-")


def gain_of(rows: list[dict[str, Any]]) -> str:
    """Format the range of medians over machines, or one median with the range of its rounds."""
    values = [row["figures"]["gain"] for row in rows]
    if len(values) == 1:
        (gain,) = values
        return f"{gain['median']:.2f}x ({gain['lowest']:.2f} to {gain['highest']:.2f})"
    low, high = (end(map(middle, values)) for end in (min, max))
    return f"{low:.2f}x to {high:.2f}x"


def small_models() -> str:
    """Where fixed costs show: small models, one clip and several at a time."""
    lines = []
    for model, (one, several) in SMALL.items():
        alone, batched = rows_named(one), rows_named(several)
        flop_reduction = alone[0]["figures"]["flop_reduction"]
        size = batched[0]["details"]["batch"]
        lines.append([model, f"{flop_reduction:.2f}x", gain_of(alone), gain_of(batched)])
    head = ["model, float32", "FLOP reduction", "speed-up, batch 1", f"speed-up, batch {size}"]
    return table(head, lines)
