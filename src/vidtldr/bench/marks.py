"""Marks beside figures that say which differences are beyond noise."""

from vidtldr.bench.quality_result import Row

__all__ = [
    "BEST",
    "CHANGED",
    "COMPARED",
    "MARKS_NOTE",
    "NEAR_BEST",
    "is_best",
    "marked_change",
    "marks_of",
]

#: Figures that have a table of their own, and their names.
COMPARED = {"r1": "R@1", "hard_answers": "hard answers", "hard_labels": "hard labels"}
CHANGED, BEST, NEAR_BEST = "*", "^", "="
MARKS_NOTE = (
    "change against the unmerged model on the same clips, in points, ± its standard error; "
    f"{CHANGED} more than two standard errors from 0. {BEST} best at these FLOPs, {NEAR_BEST} "
    "within two standard errors of the best."
)


def is_best(row: Row, figure: str) -> bool:
    """Whether no method is better in a figure at the row's budget."""
    return row.behind_best is not None and row.behind_best[figure].mean == 0


def marks_of(row: Row, figure: str) -> str:
    """Return the marks of a measured figure, as `MARKS_NOTE` explains: `*`, then `^` or `=`."""
    changed = row.change is not None and row.change[figure].is_beyond_noise
    if row.behind_best is None:
        rank = ""
    elif is_best(row, figure):
        rank = BEST
    else:
        rank = "" if row.behind_best[figure].is_beyond_noise else NEAR_BEST
    return f"{CHANGED * changed}{rank}"


def marked_change(row: Row, figure: str, *, with_error: bool) -> str:
    """Format a figure's change against the unmerged model, as `-1.3 ±0.4*=`.

    Args:
        row: A row that was measured.
        figure: A figure in its `change`.
        with_error: Whether to give the standard error.
    """
    assert row.change is not None  # the row was measured
    change = row.change[figure]
    error = f" ±{change.standard_error:.1f}" if with_error else ""
    return f"{change.mean:+z.1f}{error}{marks_of(row, figure)}"
