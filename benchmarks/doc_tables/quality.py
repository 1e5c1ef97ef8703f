"""The bundled model's accuracy, and how much of it each way of merging keeps."""

from pathlib import Path
from typing import Any

from doc_tables.results import made_by, mean_with_std, read, table

TRAINING, QUALITY, SALIENCY = "03_training", "03_quality", "03_saliency"
LATER_LAYERS = "03_quality_later_layers"
NEAR_BUDGET = 0.6
PLOT = "quality.svg"  # next to the page that shows it
PAPER, TOME = "paper's setting", "ToMe (keys)"
PLAIN, BY_MASS = "plain merging on x", "plain by mass"
CUTS = ("random dropping", "fewer frames")
Row = dict[str, Any]


def training() -> str:
    """The bundled model's accuracy, from 03_training.py."""
    report = read(TRAINING)
    kinds = list(report["test"]["answering_by_kind"])
    lines = []
    for name in ("test", "unseen"):
        found = report[name]
        shares = [found[key] for key in ("text_to_video_r1", "video_to_text_r1", "labels")]
        shares += [found["answering"], *(found["answering_by_kind"][kind] for kind in kinds)]
        lines.append([f"{name}, {found['num_clips']}", *(f"{share:.1f}" for share in shares)])
    head = ["clips", "text to video", "video to text", "labels", "answers", *kinds]
    note = (
        "Unmerged, in per cent. Each caption names every factor of its clip, and no two captions "
        "are equal."
    )
    return "\n\n".join([table(head, lines), note, made_by(report)])


def quality() -> str:
    """Recall of every method at every budget, and all figures at one, from `bench quality`."""
    report = read(QUALITY)
    unmerged, options = report["unmerged"]["measures"], report["options"]
    budgets = sorted({row["budget"] for row in report["rows"]}, reverse=True)
    recall = table(
        ["method", "layers", *(f"{budget:g}" for budget in budgets)],
        [_recall_row(rows, budgets) for rows in _by_line(report["rows"]).values()],
    )
    head = ["method", "layers", "FLOPs", "text to video", "video to text", "answers", "labels"]
    near = [row for row in report["rows"] if row["budget"] == NEAR_BUDGET]
    note = (
        f"{options['num_clips']} {options['split']} clips of each of {len(options['seeds'])} "
        "seeds; mean and standard deviation over seeds. Layers count from 0; a dash means that "
        "these layers cannot reach the budget. Cosine: with the unmerged model's embedding. "
        "Clips/s: of the vision encoder, relative to the unmerged one in the same rounds."
    )
    return "\n\n".join(
        [
            f"![Recall against FLOPs and speed]({PLOT})",
            "R@1 (mean of both directions, %) at each share of the vision encoder's FLOPs; "
            f"unmerged {mean_with_std(unmerged['r1'])}:",
            recall,
            f"At {NEAR_BUDGET:g} (unmerged: text to video "
            f"{mean_with_std(unmerged['text_to_video_r1'])}, video to text "
            f"{mean_with_std(unmerged['video_to_text_r1'])}, answers "
            f"{mean_with_std(unmerged['answering'])}, labels {mean_with_std(unmerged['labels'])}):",
            table([*head, "cosine", "clips/s"], [_full_row(row) for row in near]),
            note,
            made_by(report),
        ]
    )


def _by_line(rows: list[Row]) -> dict[str, list[Row]]:
    lines: dict[str, list[Row]] = {}
    for row in rows:
        own_layers = "" if row["method"] == "bundled preset" else str(row["layers"])
        lines.setdefault(row["method"] + own_layers, []).append(row)
    return lines


def _recall_row(rows: list[Row], budgets: list[float]) -> list[str]:
    found = {row["budget"]: row["measures"] for row in rows if row["measures"] is not None}
    cells = [mean_with_std(found[budget]["r1"]) if budget in found else "-" for budget in budgets]
    different = {_layers_of(row) for row in rows}
    layers = different.pop() if len(different) == 1 else "chosen"
    return [rows[0]["method"], layers, *cells]


def _full_row(row: Row) -> list[str]:
    if row["measures"] is None:
        return [row["method"], _layers_of(row), *["-"] * 7]
    names = ("text_to_video_r1", "video_to_text_r1", "answering", "labels")
    timing = row["timing"]
    return [
        row["method"],
        _layers_of(row),
        f"{row['flop_ratio']:.2f}",
        *(mean_with_std(row["measures"][name]) for name in names),
        f"{row['measures']['cosine']['mean']:.3f}",
        "-" if timing is None else f"{timing['speedup']:.2f}x",
    ]


def _layers_of(row: Row) -> str:
    return ", ".join(map(str, row["layers"] or ()))


def findings() -> str:
    """The findings of `quality` in words."""
    report, later = read(QUALITY), read(LATER_LAYERS)
    unmerged, rows = report["unmerged"]["measures"], report["rows"]
    preset = {row["budget"]: row for row in rows if row["method"] == "bundled preset"}
    chosen = preset[0.3]["setting"]
    similar = [
        row
        for row in rows
        if row["budget"] == 0.5
        and row["measures"]
        and row["setting"].get("metric") in ("x", "keys")
    ]
    most = max(_loss(row) for row in similar)
    labels = {budget: row["measures"]["labels"]["mean"] for budget, row in preset.items()}
    by_labels = {name: _at(rows, name, 0.6)["measures"]["labels"]["mean"] for name in CUTS}
    return "\n".join(
        [
            f"- **Down to half of the FLOPs the score hardly matters.** At 0.5, every method that "
            f"merges similar tokens loses at most {most:.1f} points of R@1.",
            f"- **The bundled preset** was chosen for 0.6 on validation clips. On these test clips "
            f"it loses {_loss(preset[0.6]):.1f} points there, and the paper's setting "
            f"{_loss(_at(rows, PAPER, 0.6)):.1f}. At 0.4 the preset's layers lose "
            f"{_loss(preset[0.4]):.1f} and encode {preset[0.4]['timing']['speedup']:.1f} times as "
            f"many clips per second. They cannot reach 0.3. The setting chosen for that budget "
            f"(score `{chosen['score']}`, weighting `{chosen['weighting']}`, pooling "
            f"`{chosen['pooling']}`, layers {_layers_of(preset[0.3])}) loses "
            f"{_loss(preset[0.3]):.1f}.",
            f"- **Where to merge matters more than the score.** At 0.4, vid-TLDR loses "
            f"{_loss(_at(rows, 'vid-TLDR', 0.4)):.1f} points in layers 0, 1, 2 and "
            f"{_loss(preset[0.4]):.1f} in layers {_layers_of(preset[0.4])}. In layers 0, 1, 2, "
            f"plain merging loses {_loss(_at(rows, PLAIN, 0.4)):.1f}, ToMe "
            f"{_loss(_at(rows, TOME, 0.4)):.1f} and random dropping "
            f"{_loss(_at(rows, 'random dropping', 0.4)):.1f}.",
            "- **Merging can start later.** At 0.6, R@1 is "
            f"{_later(later['rows'], 'vid-TLDR', 1)} for vid-TLDR from layer 1 and "
            f"{_later(later['rows'], 'vid-TLDR', 2)} from layer 2, and "
            f"{_later(later['rows'], BY_MASS, 1)} and {_later(later['rows'], BY_MASS, 2)} for "
            f"plain merging by mass. {_unreachable(later['rows'])}",
            f"- **No score is clearly better than none.** At 0.3, R@1 is "
            f"{_r1(_at(rows, BY_MASS, 0.3))} for plain merging pooled by mass, "
            f"{_r1(preset[0.3])} for the setting chosen for that budget, "
            f"{_r1(_at(rows, 'no sharpening', 0.3))} for vid-TLDR without sharpening, "
            f"{_r1(_at(rows, 'vid-TLDR', 0.3))} for vid-TLDR and "
            f"{_r1(_at(rows, 'flatness', 0.3))} for flatness, its negative.",
            f"- **Labels, which depend on how an object moves, suffer first.** They are "
            f"{unmerged['labels']['mean']:.0f} % right unmerged, {labels[0.6]:.0f} % at 0.6 and "
            f"{labels[0.4]:.0f} % at 0.4 with the preset. At 0.6, random dropping leaves "
            f"{by_labels['random dropping']:.0f} % and fewer frames "
            f"{by_labels['fewer frames']:.0f} %, though both cost little recall. Choose by what "
            "you ask of the model.",
        ]
    )


PAPER, PLAIN, BY_MASS, TOME = (
    "paper's setting",
    "plain merging on x",
    "plain by mass",
    "ToMe (keys)",
)
CUTS = ("random dropping", "fewer frames")


def _at(rows: list[Row], method: str, budget: float) -> Row:
    (found,) = [row for row in rows if row["method"] == method and row["budget"] == budget]
    return found


def _loss(row: Row) -> float:
    return -float(row["r1_change"]["mean"])


def _r1(row: Row) -> str:
    return f"{row['measures']['r1']['mean']:.1f}"


def _later(rows: list[Row], method: str, first_layer: int) -> str:
    own = [row for row in rows if row["method"] == method and row["layers"][0] == first_layer]
    return _r1(_at(own, method, 0.6))


def _unreachable(rows: list[Row]) -> str:
    missing = [row for row in rows if row["budget"] == 0.4]
    if any(row["unreachable"] is None for row in missing):
        return ""
    return "These layers cannot reach 0.4."


def against_tome() -> str:
    """One sentence comparing ToMe with vid-TLDR."""
    rows = read(QUALITY)["rows"]
    sides = [
        f"{_r1(_at(rows, 'vid-TLDR', budget))} against {_r1(_at(rows, TOME, budget))} at {budget:g}"
        for budget in (0.6, 0.4, 0.3)
    ]
    return (
        "On the bundled model, R@1 of vid-TLDR against ToMe in the same layers is "
        f"{sides[0]} of the FLOPs, {sides[1]} and {sides[2]}."
    )


def saliency() -> str:
    """AUROC of each score in each layer, from `bench saliency`."""
    report = read(SALIENCY)
    num_layers = 1 + max(row["layer"] for row in report["models"][0]["rows"])
    lines = []
    for model in report["models"]:
        scores: dict[str, list[Row]] = {}
        for row in model["rows"]:
            scores.setdefault(row["score"], []).append(row)
        name = Path(model["weights"]["file"]).stem
        for score, rows in scores.items():
            cells = [f"{row['auroc']['mean']:.2f} ({_precision_of(row):.2f})" for row in rows]
            lines.append([name, score, *cells])
    share = report["models"][0]["foreground"]["mean"]
    note = (
        "AUROC against the true masks: 0.50 is chance, and the negated score has 1 minus it. In "
        "brackets, the precision at the size of the mask for the better sign; chance is "
        f"{share:.2f}. Layers count from 0."
    )
    head = ["weights", "score", *(f"layer {layer}" for layer in range(num_layers))]
    return "\n\n".join([table(head, lines), note, made_by(report)])


def _precision_of(row: Row) -> float:
    return max(row["precision"]["mean"], row["precision_negated"]["mean"])
