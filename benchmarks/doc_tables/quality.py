"""The bundled model's accuracy, and how much of it each way of merging keeps."""

from pathlib import Path
from typing import Any

from doc_tables.results import made_by, read, table
from vidtldr.bench.marks import BEST, CHANGED, COMPARED, NEAR_BEST, is_best, marks_of
from vidtldr.bench.quality_result import QualityResult, Row, Spread

TRAINING, QUALITY, SALIENCY = "03_training", "03_quality", "03_saliency"
NEAR_BUDGET = 0.6
PLOT = "quality.svg"  # next to the page that shows it
FIGURES = {
    "text_to_video_r1": "text to video",
    "video_to_text_r1": "video to text",
    "hard_answers": "hard answers",
    "answering": "all answers",
    "labels": "labels",
    "hard_labels": "hard labels",
}
MARKS = (
    "Changes are against the unmerged model on the same clips, ± their standard error; \\*: more "
    "than two standard errors from 0. **Bold**: best at these FLOPs; =: within two standard errors "
    "of the best."
)


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
    """What every method loses at every budget, and all figures at one, from `bench quality`."""
    report = read(QUALITY)
    result = QualityResult.from_dict(report)
    parts = [f"![Recall against FLOPs]({PLOT})"]
    for figure, name in COMPARED.items():
        parts += [_said_of(figure, name, result), _changes(result, figure)]
    clips = f"{result.options.num_clips} {result.options.split} clips"
    note = (
        f"{clips} of each of {len(result.options.seeds)} seeds, in {report['dtype']}. {MARKS} "
        "Layers count from 0; a dash means that these layers cannot reach the budget. Cosine: with "
        "the unmerged model's embedding."
    )
    took = f"Measuring took {result.seconds / 3600:.1f} hours of processor time."
    near = f"Every figure at {NEAR_BUDGET:g}, in per cent, with the same marks:"
    return "\n\n".join([*parts, near, _levels(result), note, took, made_by(report)])


def _said_of(figure: str, name: str, result: QualityResult) -> str:
    level = f"unmerged {_measures(result.unmerged)[figure].mean:.1f} %"
    what = {
        "r1": "R@1, the mean of both directions",
        "hard_answers": "Hard answers, to questions about motion and speed",
        "hard_labels": "Hard labels, the whole description of a clip of one object, out of 1,408",
    }
    return f"{what.get(figure, name)}: change in points at each share of the FLOPs; {level}:"


def _changes(result: QualityResult, figure: str) -> str:
    budgets = sorted({row.budget for row in result.rows}, reverse=True)
    lines: dict[tuple[str, str], dict[float, str]] = {}
    for row in result.rows:
        lines.setdefault((row.method, _layers_of(row)), {})[row.budget] = _change(row, figure)
    cells = [
        [*line, *(found.get(budget, "-") for budget in budgets)] for line, found in lines.items()
    ]
    return table(["method", "layers", *(f"{budget:g}" for budget in budgets)], cells)


def _levels(result: QualityResult) -> str:
    names = {name: title for name, title in FIGURES.items() if name in _measures(result.unmerged)}
    is_timed = result.unmerged.timing is not None
    near = [row for row in result.rows if row.budget == NEAR_BUDGET and row.measures is not None]
    lines = [
        [
            row.method,
            _layers_of(row),
            f"{row.flop_ratio:.2f}",
            *(_level(row, name) for name in names),
            f"{_measures(row)['cosine'].mean:.3f}",
            *["-" if row.timing is None else f"{row.timing['speedup']:.2f}x"] * is_timed,
        ]
        for row in (result.unmerged, *near)
    ]
    head = ["method", "layers", "FLOPs", *names.values(), "cosine", *["clips/s"] * is_timed]
    return table(head, lines)


def _change(row: Row, figure: str) -> str:
    if row.change is None:
        return "-"
    change = row.change[figure]
    return _marked(row, figure, f"{change.mean:+z.1f} ± {change.standard_error:.1f}")


def _level(row: Row, figure: str) -> str:
    return _marked(row, figure, f"{_measures(row)[figure].mean:.1f}")


def _marked(row: Row, figure: str, text: str) -> str:
    """A figure with its marks; the best is bold instead of `^`."""
    marks = marks_of(row, figure).replace(CHANGED, "\\*")
    if is_best(row, figure):
        text, marks = f"**{text}**", marks.replace(BEST, "")
    return f"{text} {' '.join(marks.replace(NEAR_BEST, ' =').split())}".strip()


def _measures(row: Row) -> dict[str, Spread]:
    assert row.measures is not None  # it was measured
    return row.measures


def _layers_of(row: Row) -> str:
    return ", ".join(map(str, row.layers or ()))


def saliency() -> str:
    """AUROC of each score in each layer, from `bench saliency`."""
    report = read(SALIENCY)
    num_layers = 1 + max(row["layer"] for row in report["models"][0]["rows"])
    lines = []
    for model in report["models"]:
        scores: dict[str, list[dict[str, Any]]] = {}
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


def _precision_of(row: dict[str, Any]) -> float:
    return max(row["precision"]["mean"], row["precision_negated"]["mean"])
