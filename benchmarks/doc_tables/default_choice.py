"""How the default was chosen, from the results of `19_default.py`."""

from doc_tables import results
from doc_tables.results import Report, made_by, read, table

NAME = "19_default"
BUDGETS = (0.8, 0.6, 0.4)
NUM_ERRORS = 2  # standard errors beyond which a difference is marked


def default_choice() -> str:
    """Distance from the unmerged embedding, by layers and method, at a few budgets."""
    if not (results.RESULTS / f"{NAME}.json").is_file():
        return "Not measured yet."
    report = read(NAME)
    parts = [f"At {budget:g} of the FLOPs:\n\n{_by_layers(report, budget)}" for budget in BUDGETS]
    note = (
        f"Distance of embeddings from the unmerged model's, 1 - cosine, in thousandths; mean over "
        f"{report['num_clips']} validation clips of the bundled model, {report['dtype']}, pooled "
        "by mass. * further than the default on the same clips by more than two standard errors, "
        "^ nearer. A dash means that these layers cannot reach the budget."
    )
    return "\n\n".join([*parts, note, made_by(report)])


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
    far = abs(over["mean"]) > NUM_ERRORS * over["standard_error"]
    mark = "" if not far else "*" if over["mean"] > 0 else "^"
    return f"{1000 * row['distance']:.1f}{mark}"
