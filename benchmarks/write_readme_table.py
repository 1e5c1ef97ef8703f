"""Write the generated parts of README.md: what was measured, and how to reproduce the paper.

The figure of the quality benchmark is drawn anew from its JSON as well.

python benchmarks/write_readme_table.py          # write
python benchmarks/write_readme_table.py --check  # fail if README.md differs
"""

import json
import sys
from pathlib import Path
from typing import Any

from vidtldr.bench.pareto import quality_plot
from vidtldr.bench.quality import QualityResult
from vidtldr.hosts.presets import preset

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = ROOT / "benchmarks"
RESULTS = ("01_cpu_speed.json", "01_cpu_speed_timm.json")
TRAINING = BENCHMARKS / "results" / "03_training.json"
QUALITY = BENCHMARKS / "results" / "03_quality.json"
SALIENCY = BENCHMARKS / "results" / "03_saliency.json"
LATENCY = BENCHMARKS / "results" / "09_latency_umt_b.json"
TUNING = BENCHMARKS / "results" / "10_tune_search.json"
SCALING = BENCHMARKS / "results" / "09_scaling.json"
MEMORY = BENCHMARKS / "results" / "09_memory_umt_b.json"
BFLOAT16_MEMORY = BENCHMARKS / "results" / "09_bfloat16_memory.json"
NEAR_BUDGET = 0.6
NAMES = {
    "videomae-b": "VideoMAE-B, 16 x 224²",
    "umt-b": "UMT-B, 12 x 224²",
    "vit-b": "ViT-B/16 (timm), 224²",
}


def measured() -> str:
    """Speed and memory, from the JSON of 01_cpu_speed.py."""
    reports = [json.loads((BENCHMARKS / "results" / name).read_text()) for name in RESULTS]
    lines = [
        "| model | r | GFLOPs | unmerged, SDPA | merged | speed-up | merging adds | maps stored "
        "| peak memory |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [speed_row(result) for report in reports for result in report["results"]]
    return "\n".join([*lines, "", *(footnote(report) for report in reports)])


def speed_row(result: dict[str, Any]) -> str:
    plain, merged, stored = (result["sides"][side] for side in ("unmerged", "blocked", "reference"))
    speed = merged["speedup"]
    cells = [
        NAMES[result["model"]],
        ", ".join(map(str, result["r"])),
        f"{plain['gflops']:.0f} to {merged['gflops']:.0f}",
        f"{plain['median_ms']:.0f} ms",
        f"{merged['median_ms']:.0f} ms",
        f"**{speed['median']:.2f}x** ({speed['lowest']:.2f} to {speed['highest']:.2f})",
        f"{result['added_share_of_blocked']['together']['median']:.1%}",
        f"{stored['speedup']['median']:.2f}x",
        f"{merged['peak_resident_ratio']:.2f} of unmerged",
    ]
    return f"| {' | '.join(cells)} |"


def footnote(report: dict[str, Any]) -> str:
    env = report["environment"]
    return (
        f"Measured on {env.get('cpu') or env['device']}, {env['num_threads']} threads, torch "
        f"{env['versions']['torch']}, "
        f"float32, batch 1, random weights: `{env['command']}`.  "
    )


def faster() -> str:
    """Every way to run one model in two types, peaks, and a layer's attention, from `bench`."""
    files = (LATENCY, MEMORY, BFLOAT16_MEMORY, SCALING)
    latency, memory, parts, scaling = (json.loads(file.read_text()) for file in files)
    times = {(row["peer"], row["setting"]["dtype"]): row for row in latency["rows"]}
    dtypes = list(dict.fromkeys(dtype for _, dtype in times))
    heads = (f"{dtype}, ms | over unmerged" for dtype in dtypes)
    lines = [
        f"| | {' | '.join(heads)} | drift, {dtypes[-1]} |",
        "|---" * (2 + 2 * len(dtypes)) + "|",
    ]
    for peer in dict.fromkeys(peer for peer, _ in times):
        rows = [times[peer, dtype] for dtype in dtypes]
        cells = [f"{row['median_ms']:.0f} | {spread_of(row['speedup'])}" for row in rows]
        lines.append(f"| {peer} | {' | '.join(cells)} | {rows[-1]['drift']:.3f} |")
    note = (
        "Drift: distance of the outputs from the unmerged ones in float32, over their length; of "
        "random weights, so it says nothing of answers.  "
    )
    table = "\n".join([*lines, "", note, made_by(latency)])
    tables = [table, peaks(memory), parts_of_peaks(parts)]
    return "\n\n".join([*tables, attention_of_a_layer(scaling)])


def peaks(report: dict[str, Any]) -> str:
    lines = ["| peak above the loaded model | MB | over unmerged |", "|---|---|---|"]
    for row in report["rows"]:
        setting, (lowest, highest) = row["setting"], row["spread_bytes"]
        lines.append(
            f"| {row['peer']}, {setting['dtype']}, batch {setting['batch']} | "
            f"{row['median_bytes'] / 1e6:.0f} ({lowest / 1e6:.0f} to {highest / 1e6:.0f}) | "
            f"{row['ratio']:.2f}x |"
        )
    return "\n".join([*lines, "", made_by(report)])


def parts_of_peaks(report: dict[str, Any]) -> str:
    """What the peaks in bfloat16 are made of, unmerged and merged."""
    columns = {
        "peak_resident_bytes": "peak above the loaded model",
        "peak_tensor_bytes": "tensors",
        "heap_in_use_bytes": "kept in the heap",
        "heap_free_bytes": "free in it",
        "mapped_file_bytes": "pages of files",
    }
    lines = [
        f"| bfloat16, MB, unmerged to merged | {' | '.join(columns.values())} | over unmerged |",
        "|---" * (2 + len(columns)) + "|",
    ]
    for row in report["rows"]:
        heap = "" if row["heap"] == "default" else f", heap with {row['heap']}"
        sides = (row["sides"]["unmerged"], row["sides"]["merged"])
        cells = [" to ".join(f"{side[part] / 1e6:.0f}" for side in sides) for part in columns]
        lines.append(
            f"| batch {row['batch']}{heap} | {' | '.join(cells)} | {spread_of(row['ratio'])} |"
        )
    return "\n".join([*lines, "", made_by(report)])


def attention_of_a_layer(report: dict[str, Any]) -> str:
    ((dtype, rows),) = report["scaling"].items()
    counts = list(dict.fromkeys(row["num_tokens"] for row in rows))
    lines = [
        f"| attention of a layer, {dtype} | {' | '.join(f'{count} tokens' for count in counts)} |",
        "|---" * (1 + len(counts)) + "|",
    ]
    for side in dict.fromkeys(row["side"] for row in rows):
        found = {row["num_tokens"]: row for row in rows if row["side"] == side}
        cells = (attention_cell(found[count]) for count in counts)
        lines.append(f"| {side} | {' | '.join(cells)} |")
    note = "Time; time over SDPA's, so that more is slower; peak of the memory of tensors.  "
    return "\n".join([*lines, "", note, made_by(report)])


def attention_cell(row: dict[str, Any]) -> str:
    if row["median_ms"] is None:
        return "not run: maps over 8 GiB"
    time, times = row["median_ms"], row["slowdown"]["median"]
    return f"{time:.0f} ms, {times:.2f}x, {row['peak_bytes'] / 1e6:.0f} MB"


def spread_of(ratios: dict[str, float]) -> str:
    return f"{ratios['median']:.2f}x ({ratios['lowest']:.2f} to {ratios['highest']:.2f})"


def reproduce() -> str:
    """The paper's table with the command of each row, from paper_umt.json and the presets."""
    paper = json.loads((BENCHMARKS / "paper_umt.json").read_text())
    lines = [
        "| set | model | schedule | UMT alone | + vid-TLDR | GMACs | here |",
        "|---|---|---|---|---|---|---|",
    ]
    pairs = [(row, size) for size in ("b16", "l16") for row in paper["rows"]]
    lines += [paper_row(row, size, paper["unmerged_gmacs"][size]) for row, size in pairs]
    commands = [command(row, size) for row, size in pairs]
    return "\n".join(
        [*lines, "", "The command of each row, in the same order:", "", "```text", *commands, "```"]
    )


def paper_row(row: dict[str, Any], size: str, unmerged_gmacs: float) -> str:
    alone, merged, gmacs = row[size]
    schedule = preset(f"umt-{size}/{row['preset']}").r or ()
    cells = [
        row["set"],
        f"UMT-{size[0].upper()}/16",
        ", ".join(map(str, schedule)),
        f"{alone:.1f}",
        "-" if merged is None else f"{merged:.1f}",
        f"{unmerged_gmacs:.1f} to {gmacs:.1f}",
        "not run here",
    ]
    return f"| {' | '.join(cells)} |"


def command(row: dict[str, Any], size: str) -> str:
    parts = [f"vidtldr evaluate {row['task']} --annotations {row['annotations']} --videos VIDEOS"]
    if row["task"] == "retrieval":
        parts.append(f"--protocol {row['protocol']}")
    else:
        parts.append(f"--answers {row['answers']}")
    parts.append(f"--model umt:{row['checkpoint'].format(size=size)}")
    parts += ["--arch l16"] * (size == "l16")
    return " ".join([*parts, f"--preset umt-{size}/{row['preset']}", "--compare"])


def training() -> str:
    """What the bundled model knows, from 03_training.py."""
    report = json.loads(TRAINING.read_text())
    kinds = list(report["test"]["answering_by_kind"])
    lines = [
        f"| clips | text to video | video to text | labels | answers | {' | '.join(kinds)} |",
        "|---" * (5 + len(kinds)) + "|",
    ]
    for name in ("test", "unseen"):
        found = report[name]
        shares = [found[key] for key in ("text_to_video_r1", "video_to_text_r1", "labels")]
        shares += [found["answering"], *(found["answering_by_kind"][kind] for kind in kinds)]
        cells = " | ".join(f"{share:.1f}" for share in shares)
        lines.append(f"| {name}, {found['num_clips']} | {cells} |")
    note = "Unmerged, per cent; each caption names every factor of its clip, and all differ.  "
    return "\n".join([*lines, "", note, made_by(report)])


def quality() -> str:
    """Recall of every method at every budget, and everything at one, from `bench quality`."""
    if not QUALITY.exists():
        return "Not measured yet: `vidtldr bench quality`."
    report = json.loads(QUALITY.read_text())
    unmerged, options = report["unmerged"]["measures"], report["options"]
    budgets = sorted({row["budget"] for row in report["rows"]}, reverse=True)
    lines = [
        f"![Recall against FLOPs and speed](benchmarks/results/{QUALITY.stem}.svg)",
        "",
        f"R@1 (mean of both ways, %) at each share of the vision encoder's FLOPs; unmerged "
        f"{figure(unmerged['r1'])}:",
        "",
        f"| method | layers | {' | '.join(f'{budget:g}' for budget in budgets)} |",
        "|---" * (2 + len(budgets)) + "|",
        *(recall_row(rows, budgets) for rows in by_line(report["rows"]).values()),
        "",
        f"At {NEAR_BUDGET:g} (unmerged: text to video {figure(unmerged['text_to_video_r1'])}, "
        f"video to text {figure(unmerged['video_to_text_r1'])}, answers "
        f"{figure(unmerged['answering'])}, labels {figure(unmerged['labels'])}):",
        "",
        "| method | layers | FLOPs | text to video | video to text | answers | labels | cosine | "
        "clips/s |",
        "|---|---|---|---|---|---|---|---|---|",
        *(full_row(row) for row in report["rows"] if row["budget"] == NEAR_BUDGET),
        "",
        f"{options['num_clips']} {options['split']} clips of each of {len(options['seeds'])} "
        "seeds; mean and standard deviation over seeds. Layers count from 0; - cannot be reached "
        "from them. Cosine: with the unmerged model's embedding. Clips/s: of the vision encoder, "
        "over the unmerged one's in the same rounds.  ",
        made_by(report),
    ]
    return "\n".join(lines)


def by_line(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    lines: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        own_layers = "" if row["method"] == "bundled preset" else str(row["layers"])
        lines.setdefault(row["method"] + own_layers, []).append(row)
    return lines


def recall_row(rows: list[dict[str, Any]], budgets: list[float]) -> str:
    found = {row["budget"]: row["measures"] for row in rows if row["measures"] is not None}
    cells = [figure(found[budget]["r1"]) if budget in found else "-" for budget in budgets]
    different = {layers_of(row) for row in rows}
    layers = different.pop() if len(different) == 1 else "chosen"
    return f"| {' | '.join([rows[0]['method'], layers, *cells])} |"


def full_row(row: dict[str, Any]) -> str:
    if row["measures"] is None:
        return f"| {row['method']} | {layers_of(row)} |{' - |' * 7}"
    names = ("text_to_video_r1", "video_to_text_r1", "answering", "labels")
    timing = row["timing"]
    cells = [
        row["method"],
        layers_of(row),
        f"{row['flop_ratio']:.2f}",
        *(figure(row["measures"][name]) for name in names),
        f"{row['measures']['cosine']['mean']:.3f}",
        "-" if timing is None else f"{timing['speedup']:.2f}x",
    ]
    return f"| {' | '.join(cells)} |"


def layers_of(row: dict[str, Any]) -> str:
    return ", ".join(map(str, row["layers"] or ()))


def figure(spread: dict[str, Any], decimals: int = 1) -> str:
    return f"{spread['mean']:.{decimals}f} ± {spread['std']:.{decimals}f}"


def saliency() -> str:
    """AUROC of each score in each layer, from `bench saliency`."""
    if not SALIENCY.exists():
        return "Not measured yet: `vidtldr bench saliency`."
    report = json.loads(SALIENCY.read_text())
    num_layers = 1 + max(row["layer"] for row in report["models"][0]["rows"])
    lines = [
        f"| weights | score | {' | '.join(f'layer {layer}' for layer in range(num_layers))} |",
        "|---" * (2 + num_layers) + "|",
    ]
    for model in report["models"]:
        scores: dict[str, list[dict[str, Any]]] = {}
        for row in model["rows"]:
            scores.setdefault(row["score"], []).append(row)
        name = Path(model["weights"]["file"]).stem
        for score, rows in scores.items():
            cells = [f"{row['auroc']['mean']:.2f} ({precision_of(row):.2f})" for row in rows]
            lines.append(f"| {' | '.join([name, score, *cells])} |")
    share = report["models"][0]["foreground"]["mean"]
    note = (
        "AUROC against the true masks; 0.50 is chance, and minus the score has 1 minus it. In "
        "brackets the precision at the mask's size of the better sign; chance has "
        f"{share:.2f}. Layers count from 0.  "
    )
    return "\n".join([*lines, "", note, made_by(report)])


def tuning() -> str:
    """The search of `tune` beside an optimiser's samplers, from the JSON of 10_tune_search.py."""
    report = json.loads(TUNING.read_text())
    share = report["budget"]
    lines = [
        f"| search | settings | drift at {share} of the FLOPs | on clips not seen | frontier |",
        "|---|---|---|---|---|",
    ]
    for name, row in report["median"].items():
        has_frontier = name == "structured" or name.endswith("both")
        cells = [
            "`vidtldr tune`" if name == "structured" else f"Optuna, {name}",
            f"{row['num_settings']:.0f}",
            f"{row['drift']:.4f}",
            f"{row['drift_unseen']:.4f}",
            f"{row['hypervolume']:.3f}" if has_frontier else "-",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    note = (
        "Medians over sets of clips and seeds, each with as many forwards. Frontier: 1 less the "
        "least drift within a budget, mean over budgets from 0.45 to 0.8; more is better. "
        "The clips are others than those on which the search was made better."
    )
    return "\n".join([*lines, "", note + "  ", made_by(report)])


def precision_of(row: dict[str, Any]) -> float:
    return max(row["precision"]["mean"], row["precision_negated"]["mean"])


def made_by(report: dict[str, Any]) -> str:
    env = report["environment"]
    return (
        f"Measured on {env['device']}, {env['num_threads']} threads, torch "
        f"{env['versions']['torch']}, {env['date']}: `{env['command']}`.  "
    )


GENERATED = {
    "measured": measured,
    "faster": faster,
    "training": training,
    "quality": quality,
    "saliency": saliency,
    "tuning": tuning,
    "reproduce": reproduce,
}


def with_generated(readme: str) -> str:
    for name, text_of in GENERATED.items():
        text = text_of()
        start, end = f"<!-- {name}: start -->", f"<!-- {name}: end -->"
        head, rest = readme.split(start)
        readme = f"{head}{start}\n{text}\n{end}{rest.split(end)[1]}"
    return readme


def main() -> int:
    readme = ROOT / "README.md"
    before = readme.read_text()
    after = with_generated(before)
    if "--check" in sys.argv:
        return int(after != before)
    readme.write_text(after)
    if QUALITY.exists():
        quality_plot(QualityResult.from_dict(json.loads(QUALITY.read_text()))).write(QUALITY)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
