"""Gains over all machines that measured them, from results/never_slower."""

from pathlib import Path
from typing import Any

from doc_tables.results import RESULTS, Report, read, table
from vidtldr.bench.row import middle

NEVER_SLOWER = RESULTS / "never_slower"
BUSY = RESULTS / "busy"
MODELS = {"UMT-B": "umt-b", "VideoMAE-B": "videomae-b"}
DTYPES = ("float32", "bfloat16")
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
    """The headline: two published sizes in both dtypes."""
    reports = reports_of(NEVER_SLOWER)
    lines = []
    for model, name in MODELS.items():
        for dtype in DTYPES:
            if rows := rows_named(f"{name}-{dtype}"):
                details = rows[0]["details"]
                _, frames, _, side, _ = details["input_shape"]
                lines.append(
                    [
                        f"{model}, {frames} frames of {side}²",
                        dtype,
                        ", ".join(map(str, details["r"])),
                        f"{rows[0]['figures']['flop_reduction']:.2f}x",
                        f"**{gain_of(rows)}**",
                        f"{len(rows)} of {len(reports)}",
                    ]
                )
    head = ["model", "dtype", "tokens removed per layer", "FLOP reduction", "speed-up", "machines"]
    machines = " and ".join(map(processor_of, reports))
    note = (
        'Merged as in the paper, `score="sharpness"`. Against the unmerged model on fused '
        f"attention (PyTorch's SDPA), on {machines}; batch 1, random weights. Medians: from "
        "the lowest to the highest of the machines, or of one machine with the range of its "
        f"rounds.{_emulating(reports)}"
    )
    return f"{table(head, lines)}\n\n{note}"


def _emulating(reports: list[Report]) -> str:
    """Name the machines without bfloat16 rows because they emulate bfloat16."""
    names = [
        processor_of(report)
        for report in reports
        if not any(row["name"].endswith("bfloat16") for row in report["rows"])
        and not report["environment"]["has_native_bfloat16"]
    ]
    if not names:
        return ""
    return f" {' and '.join(names)} emulates bfloat16, so bfloat16 was not timed there."


def processor_of(report: Report) -> str:
    """Format `amd-epyc-7003-avx2` as `AMD EPYC 7003 (avx2, 2 threads)`."""
    made = report["environment"]
    device = made["device"]
    family, _, capability = report["processor"].removeprefix(slug(device)).strip("-").partition("-")
    return f"{device} {family} ({capability}, {made['num_threads']} threads)"


def slug(name: str) -> str:
    """Turn a name into its form in file names."""
    return name.lower().replace(" ", "-")


def gain_of(rows: list[dict[str, Any]]) -> str:
    """Format the range of medians over machines, or one median with the range of its rounds."""
    values = [row["figures"]["gain"] for row in rows]
    if len(values) == 1:
        (gain,) = values
        return f"{gain['median']:.2f}x ({gain['lowest']:.2f}x to {gain['highest']:.2f}x)"
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
