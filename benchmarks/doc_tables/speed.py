"""Speed and memory on one machine, from `bench latency`, `bench memory` and 01_cpu_speed.py."""

from typing import Any

from doc_tables.results import RESULTS, Report, made_by, ratio_with_range, read, table

CPU_SPEED = ("01_cpu_speed", "01_cpu_speed_timm")
LATENCY = "09_latency_umt_b"
MEMORY = "09_memory_umt_b"
BFLOAT16_MEMORY = "09_bfloat16_memory"
SCALING = "09_scaling"
MODELS = {
    "videomae-b": "VideoMAE-B, 16 x 224²",
    "umt-b": "UMT-B, 12 x 224²",
    "vit-b": "ViT-B/16 (timm), 224²",
}
PARTS_OF_PEAKS = {
    "peak_resident_bytes": "peak above the loaded model",
    "peak_tensor_bytes": "tensors",
    "heap_in_use_bytes": "kept in the heap",
    "heap_free_bytes": "free in the heap",
    "mapped_file_bytes": "pages of files",
}


def measured() -> str:
    """Three models, with the cost of merging and the authors' implementation."""
    reports = [read(name) for name in CPU_SPEED]
    head = ["model", "tokens removed", "GFLOPs", "unmerged, SDPA", "merged", "speed-up"]
    head += ["cost of merging", "attention maps stored", "peak memory"]
    rows = [_speed_row(result) for report in reports for result in report["results"]]
    notes = (f"{made_by(report)} float32, batch 1, random weights." for report in reports)
    return "\n\n".join([table(head, rows), *notes])


def _speed_row(result: dict[str, Any]) -> list[str]:
    plain, merged, stored = (result["sides"][side] for side in ("unmerged", "blocked", "reference"))
    return [
        MODELS[result["model"]],
        ", ".join(map(str, result["r"])),
        f"{plain['gflops']:.0f} to {merged['gflops']:.0f}",
        f"{plain['median_ms']:.0f} ms",
        f"{merged['median_ms']:.0f} ms",
        f"**{merged['speedup']['median']:.2f}x** ({merged['speedup']['lowest']:.2f} to "
        f"{merged['speedup']['highest']:.2f})",
        f"{result['added_share_of_blocked']['together']['median']:.1%}",
        f"{stored['speedup']['median']:.2f}x",
        f"{merged['peak_resident_ratio']:.2f} of unmerged",
    ]


def latency() -> str:
    """Every way to run one model in two dtypes."""
    report = read(LATENCY)
    times = {(row["peer"], row["setting"]["dtype"]): row for row in report["rows"]}
    dtypes = list(dict.fromkeys(dtype for _, dtype in times))
    head = [""]
    for dtype in dtypes:
        head += [f"{dtype}, ms", "speed-up"]
    lines = []
    for variant in dict.fromkeys(variant for variant, _ in times):
        rows = [times[variant, dtype] for dtype in dtypes]
        cells = [variant]
        for row in rows:
            cells += [f"{row['median_ms']:.0f}", ratio_with_range(row["speedup"])]
        lines.append([*cells, f"{rows[-1]['drift']:.3f}"])
    note = (
        "Drift: distance of the outputs from the unmerged ones in float32, relative to their "
        "length. With random weights it says nothing about answers."
    )
    return "\n\n".join([table([*head, f"drift, {dtypes[-1]}"], lines), note, made_by(report)])


def compiled() -> str:
    """Eager and compiled, unmerged and merged, for every model measured that way."""
    files = sorted((RESULTS / "compiled").glob("*.json"))
    reports = [read(f"compiled/{file.stem}") for file in files]
    head = ["", "dtype", "unmerged", "unmerged, compiled", "merged", "merged, compiled"]
    lines = []
    for report in reports:
        times = {(row["setting"]["dtype"], row["peer"]): row for row in report["rows"]}
        for dtype in dict.fromkeys(dtype for dtype, _ in times):
            found = [times[dtype, variant] for variant in head[2:]]
            cells = [f"{row['median_ms']:.0f} ms, {row['speedup']['median']:.2f}x" for row in found]
            lines.append([report["model"], dtype, *cells])
    return "\n\n".join([table(head, lines), *map(made_by, reports)])


def encoders() -> str:
    """Encoders of images and clips, on every machine that timed them."""
    return _sides_of("encoders")


def towers() -> str:
    """Vision towers of language models, on every machine that timed them."""
    return _sides_of("towers")


def _sides_of(folder: str) -> str:
    head = ["model", "tokens", "merged to", "GFLOPs", "unmerged, SDPA", "merged", "speed-up"]
    head += ["of the FLOP reduction"]
    blocks = []
    for file in sorted((RESULTS / folder).glob("*.json")):
        report = read(f"{folder}/{file.stem}")
        rows = [
            [
                result["title"],
                str(result["num_tokens"]),
                side["side"],
                f"{result['sides'][0]['gflops']:.0f} to {side['gflops']:.0f}",
                f"{result['sides'][0]['median_ms']:.0f} ms",
                f"{side['median_ms']:.0f} ms",
                f"**{side['speedup']['median']:.2f}x** ({side['speedup']['lowest']:.2f} to "
                f"{side['speedup']['highest']:.2f})",
                f"{side['speedup_over_flop_reduction']:.2f}",
            ]
            for result in report["results"]
            for side in result["sides"][1:]
        ]
        blocks += [table(head, rows), f"{made_by(report)} float32, random weights."]
    return "\n\n".join(blocks)


_ENGINES = {"torch": "torch", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
_TITLES = {"videomae-b": "VideoMAE-B", "umt-b16": "UMT-B"}


def exporters() -> str:
    """Merged and unmerged models in torch and in two engines, on every machine that timed them."""
    head = ["model", "engine", "precision", "unmerged", "merged", "speed-up"]
    head += ["of the FLOP reduction", "over unmerged torch"]
    blocks = []
    for file in sorted((RESULTS / "exporters").glob("*.json")):
        report = read(f"exporters/{file.stem}")
        rows = [
            [
                _TITLES[result["model"]],
                _ENGINES[row["engine"]],
                {"f32": "float32", "bf16": "bfloat16"}[row["precision"]],
                f"{row['median_ms']['unmerged']:.0f} ms",
                f"{row['median_ms']['merged']:.0f} ms",
                f"**{row['speedup']['median']:.2f}x** ({row['speedup']['lowest']:.2f} to "
                f"{row['speedup']['highest']:.2f})",
                f"{row['speedup_over_flop_reduction']:.2f}",
                f"{row['over_torch_unmerged']:.2f}x",
            ]
            for result in report["results"]
            for row in result["engines"]
        ]
        blocks += [table(head, rows), f"{made_by(report)} Random weights."]
    return "\n\n".join(blocks)


def exported() -> str:
    """README's line: what merging gains in the engines, from the lowest to the highest machine."""
    gains: dict[str, dict[str, list[float]]] = {}
    for file in sorted((RESULTS / "exporters").glob("*.json")):
        for result in read(f"exporters/{file.stem}")["results"]:
            of_model = gains.setdefault(_TITLES[result["model"]], {})
            for row in result["engines"]:
                if row["engine"] != "torch" and row["precision"] == "f32":
                    of_model.setdefault(_ENGINES[row["engine"]], []).append(
                        row["speedup"]["median"]
                    )
    said = (
        f"{model} " + " and ".join(f"{_span(each)} in {engine}" for engine, each in by.items())
        for model, by in gains.items()
    )
    return (
        f"[Exported](docs/export.md), they stay faster: {', '.join(said)} (float32, each "
        "against itself unmerged)."
    )


def _span(ratios: list[float]) -> str:
    lowest, highest = f"{min(ratios):.2f}x", f"{max(ratios):.2f}x"
    return lowest if lowest == highest else f"{lowest} to {highest}"


def peak_memory() -> str:
    """Peak resident memory, and a breakdown of it in bfloat16."""
    report = read(MEMORY)
    lines = []
    for row in report["rows"]:
        setting, (lowest, highest) = row["setting"], row["spread_bytes"]
        lines.append(
            [
                f"{row['peer']}, {setting['dtype']}, batch {setting['batch']}",
                f"{row['median_bytes'] / 1e6:.0f} ({lowest / 1e6:.0f} to {highest / 1e6:.0f})",
                f"{row['ratio']:.2f}x",
            ]
        )
    peaks = table(["peak above the loaded model", "MB", "relative to unmerged"], lines)
    return "\n\n".join([peaks, made_by(report), _parts_of_peaks(read(BFLOAT16_MEMORY))])


def _parts_of_peaks(report: Report) -> str:
    lines = []
    for row in report["rows"]:
        heap = "" if row["heap"] == "default" else f", heap with {row['heap']}"
        sides = (row["sides"]["unmerged"], row["sides"]["merged"])
        cells = [
            " to ".join(f"{side[part] / 1e6:.0f}" for side in sides) for part in PARTS_OF_PEAKS
        ]
        lines.append([f"batch {row['batch']}{heap}", *cells, ratio_with_range(row["ratio"])])
    head = ["bfloat16, MB, unmerged to merged", *PARTS_OF_PEAKS.values(), "relative to unmerged"]
    return f"{table(head, lines)}\n\n{made_by(report)}"


def attention_of_a_layer() -> str:
    """Time and memory of one layer's attention by the number of tokens."""
    report = read(SCALING)
    ((dtype, rows),) = report["scaling"].items()
    counts = list(dict.fromkeys(row["num_tokens"] for row in rows))
    lines = []
    for side in dict.fromkeys(row["side"] for row in rows):
        found = {row["num_tokens"]: row for row in rows if row["side"] == side}
        lines.append([side, *(_attention_cell(found[count]) for count in counts)])
    head = [f"attention of one layer, {dtype}", *(f"{count} tokens" for count in counts)]
    note = "Time, time relative to SDPA (higher is slower), and peak memory of tensors."
    return "\n\n".join([table(head, lines), note, made_by(report)])


def _attention_cell(row: dict[str, Any]) -> str:
    if row["median_ms"] is None:
        return "not run: maps over 8 GiB"
    time, times = row["median_ms"], row["slowdown"]["median"]
    return f"{time:.0f} ms, {times:.2f}x, {row['peak_bytes'] / 1e6:.0f} MB"


def stored_maps() -> str:
    """One sentence on what storing attention maps costs."""
    report = read(LATENCY)
    speedups = {
        row["peer"]: row["speedup"]["median"]
        for row in report["rows"]
        if row["setting"]["dtype"] == "float32"
    }
    return (
        "On CPU, UMT-B in float32 with the paper's MSRVTT schedule runs at "
        f"{speedups['materialised']:.2f}x the speed of the unmerged model on fused attention if "
        f"the maps are stored, and at {speedups['merged']:.2f}x with this library."
    )
