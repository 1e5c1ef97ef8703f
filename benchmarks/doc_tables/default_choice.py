"""How the default was chosen, from the results of `19_default.py`."""

from doc_tables import results
from doc_tables.results import Report, made_by, read, table

NAME, ON_PHOTOS = "19_default", "20_layers"
BUDGETS = (0.8, 0.6, 0.4)
NUM_ERRORS = 2  # standard errors beyond which a difference is marked


def default_choice() -> str:
    """Tabulate the distance from the unmerged embedding, by layers and method, at each budget."""
    if not (results.RESULTS / f"{NAME}.json").is_file():
        return "Not measured yet."
    report = read(NAME)
    parts = [f"At {budget:g} of the FLOPs:\n\n{_by_layers(report, budget)}" for budget in BUDGETS]
    note = (
        f"Distance (1 - cosine) of the embeddings from the unmerged model's, in thousandths: mean "
        f"over {report['num_clips']} validation clips of the bundled model, {report['dtype']}, "
        "pooled by mass. * means further than the default on the same clips by more than two "
        "standard errors, ^ nearer. A dash means that these layers cannot reach the budget."
    )
    return "\n\n".join([*parts, note, made_by(report)])


def layers_on_photos() -> str:
    """Tabulate the distance of patch features from the unmerged ones, by layers and budget."""
    if not (results.RESULTS / f"{ON_PHOTOS}.json").is_file():
        return "Not measured yet."
    report = read(ON_PHOTOS)
    budgets, layers = (
        list(dict.fromkeys(row[of] for row in report["rows"])) for of in ("budget", "layers")
    )
    found = {(row["layers"], row["budget"]): row for row in report["rows"]}
    rows = [[name, *(_figure(found.get((name, budget))) for budget in budgets)] for name in layers]
    note = (
        "Distance (1 - cosine) of the patch features from the unmerged model's, in thousandths: "
        f"mean over {report['num_pictures']} photos, ViT-S/14, float32. Marks as above, compared "
        "with the first three quarters."
    )
    shown = table(["layers", *(f"{budget:g}" for budget in budgets)], rows)
    return "\n\n".join([shown, note, made_by(report)])


def _by_layers(report: Report, budget: float) -> str:
    rows = [row for row in report["rows"] if row["budget"] == budget]
    methods = list(dict.fromkeys(row["method"] for row in report["rows"]))
    layers = list(dict.fromkeys(row["layers"] for row in report["rows"]))
    found = {(row["layers"], row["method"]): row for row in rows}
    return table(
        ["layers", *methods],
        [[name, *(_figure(found.get((name, method))) for method in methods)] for name in layers],
    )


def _figure(row: Report | None) -> str:
    if row is None:
        return "-"
    over = row["over_default"]
    is_beyond_noise = abs(over["mean"]) > NUM_ERRORS * over["standard_error"]
    mark = "" if not is_beyond_noise else "*" if over["mean"] > 0 else "^"
    return f"{1000 * row['distance']:.1f}{mark}"
