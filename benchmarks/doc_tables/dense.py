"""Dense outputs of published weights on photos, from `bench dense`."""

from statistics import median
from typing import Any

from doc_tables import results
from doc_tables.results import Report, made_by, read, table

DENSE, MASKED = "19_dense", "19_dense_masks"
NEAR_BUDGET = 0.6
#: Heading, factor and format of each figure.
FIGURES = {
    "max_f_change": ("max F, points", 100, "+z.1f"),
    "auroc_change": ("AUROC, points", 100, "+z.1f"),
    "feature_distance": ("cosine distance", 1, "z.3f"),
    "map_change": ("map change", 1, "z.3f"),
    "agreement": ("agreement", 1, "z.3f"),
}
Row = dict[str, Any]


def dense() -> str:
    """Tabulate one figure at every budget, every figure at one budget, and the token scores."""
    if not (results.RESULTS / f"{DENSE}.json").is_file():
        return "Not measured yet."
    report = read(DENSE)
    has_masks = "max_f" in report["unmerged"]["figures"]
    main = "max_f_change" if has_masks else "map_change"
    parts = [
        _pictures(report),
        f"{_title(main)} at each share of the backbone's FLOPs:",
        _by_budget(report["rows"], main),
        f"Every figure at {NEAR_BUDGET:g}, merging from layer {_first_layer(report['rows'])} on:",
        _at_one_budget(report["rows"]),
        _scores(report),
        made_by(report),
    ]
    return "\n\n".join(part for part in parts if part)


def dense_masks() -> str:
    """Tabulate the loss of max F on photos with masks: mean, median and worst photo."""
    if not (results.RESULTS / f"{MASKED}.json").is_file():
        return "Not measured yet."
    report = read(MASKED)
    rows = [row for row in report["rows"] if "max_f_change" in row["figures"]]
    head = ["method", "layers", "max F, points", "median", "worst photo", "cosine distance"]
    lines = [
        [
            row["method"],
            _layers_of(row),
            _figure(row, "max_f_change"),
            f"{100 * median(row['figures']['max_f_change']['values']):+z.1f}",
            f"{100 * min(row['figures']['max_f_change']['values']):+z.1f}",
            _figure(row, "feature_distance"),
        ]
        for row in rows
    ]
    return "\n\n".join([_pictures(report), table(head, lines), _scores(report), made_by(report)])


def _pictures(report: Report) -> str:
    figures = report["unmerged"]["figures"]
    own = [
        f"{word} {figures[name]['mean']:.3f}"
        for name, word in (("max_f", "max F"), ("auroc", "AUROC"))
        if name in figures
    ]
    unmerged = f" Unmerged: {', '.join(own)}." if own else ""
    return (
        f"{len(report['pictures'])} pictures of {report['side']}x{report['side']}, "
        f"{report['num_masks']} with a mask; {report['gflops']:.1f} GFLOPs of the backbone for "
        f"each.{unmerged} Means and standard errors are over pictures; a dash means that these "
        "layers cannot reach the budget."
    )


def _title(name: str) -> str:
    return {"max_f_change": "Change of max F, points,", "map_change": "Change of the map"}[name]


def _first_layer(rows: list[Row]) -> int:
    return int(min(row["layers"][0] for row in rows))


def _by_budget(rows: list[Row], name: str) -> str:
    budgets = sorted({row["budget"] for row in rows}, reverse=True)
    lines: dict[tuple[str, ...], dict[float, Row]] = {}
    for row in rows:
        lines.setdefault((row["method"], _layers_of(row)), {})[row["budget"]] = row
    return table(
        ["method", "layers", *(f"{budget:g}" for budget in budgets)],
        [
            [*line, *(_figure(found.get(budget), name) for budget in budgets)]
            for line, found in lines.items()
        ],
    )


def _at_one_budget(rows: list[Row]) -> str:
    first = _first_layer(rows)
    near = [row for row in rows if row["budget"] == NEAR_BUDGET and row["layers"][0] == first]
    shown = [name for name in FIGURES if any(name in row["figures"] for row in near)]
    return table(
        ["method", "FLOPs", *(FIGURES[name][0] for name in shown)],
        [[row["method"], _flops(row), *(_figure(row, name) for name in shown)] for row in near],
    )


def _flops(row: Row) -> str:
    return "-" if row["flop_ratio"] is None else f"{row['flop_ratio']:.2f}"


def _scores(report: Report) -> str:
    """AUROC of each score, one line per score and one column per layer."""
    rows = report["scores"]
    if not rows:
        return ""
    truth = {"masks": "the masks", "own map": "the unmerged map thresholded at 0.5"}
    scores: dict[str, list[Row]] = {}
    for row in rows:
        scores.setdefault(row["score"], []).append(row)
    layers = sorted({row["layer"] for row in rows})
    found = table(
        ["AUROC", *(f"layer {layer}" for layer in layers)],
        [
            [score, *(f"{row['auroc']['mean']:.2f}" for row in sorted(own, key=_layer))]
            for score, own in scores.items()
        ],
    )
    return (
        f"Token scores of the unmerged model against {truth[report['scores_against']]}:\n\n{found}"
    )


def _layer(row: Row) -> int:
    return int(row["layer"])


def _layers_of(row: Row) -> str:
    layers = row["layers"]
    if len(layers) > 3:  # in a row
        return f"{layers[0]} to {layers[-1]}"
    return ", ".join(map(str, layers))


def _figure(row: Row | None, name: str) -> str:
    figure = None if row is None else row["figures"].get(name)
    if figure is None:
        return "-"
    _, factor, form = FIGURES[name]
    mean, error = (figure[key] for key in ("mean", "standard_error"))
    spread = "" if error is None else f" ± {factor * error:{form.removeprefix('+')}}"
    return f"{factor * mean:{form}}{spread}"
