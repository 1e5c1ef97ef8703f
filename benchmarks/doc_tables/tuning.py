"""The search of `vidtldr tune` compared with an optimiser's samplers."""

from doc_tables.results import made_by, read, table


def tuning() -> str:
    """Medians over sets of clips and seeds, from 10_tune_search.py."""
    report = read("10_tune_search")
    lines = []
    for name, row in report["median"].items():
        has_frontier = name == "structured" or name.endswith("both")
        lines.append(
            [
                "`vidtldr tune`" if name == "structured" else f"Optuna, {name}",
                f"{row['num_settings']:.0f}",
                f"{row['drift']:.4f}",
                f"{row['drift_unseen']:.4f}",
                f"{row['hypervolume']:.3f}" if has_frontier else "-",
            ]
        )
    head = ["search", "settings tried", f"drift at {report['budget']} of the FLOPs"]
    note = (
        f"Medians over sets of {report['num_clips']} clips and seeds, each search with the same "
        "number of forwards. Frontier: 1 minus the least drift within a budget, mean over budgets "
        "from 0.45 to 0.8; higher is better. The clips are not those on which the search was "
        "developed."
    )
    return "\n\n".join(
        [table([*head, "on unseen clips", "frontier"], lines), note, made_by(report)]
    )
