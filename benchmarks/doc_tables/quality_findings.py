"""What the quality benchmark found, in words: only differences that are beyond noise."""

from collections.abc import Iterable

from doc_tables.quality import QUALITY
from doc_tables.results import listed, read
from vidtldr.baselines.schedules import PAPER
from vidtldr.bench.merging_methods import DEFAULT, VID_TLDR
from vidtldr.bench.outcomes import Difference
from vidtldr.bench.quality_result import QualityResult, Row

TOME = "ToMe (keys)"
SHORT_BUDGET = 0.6
NAMES = {
    "r1": "R@1",
    "hard_answers": "hard answers",
    "labels": "labels",
    "hard_labels": "hard labels",
}


def findings() -> str:
    """The findings of `quality` in words."""
    result = QualityResult.from_dict(read(QUALITY))
    first = next((row.layers for row in result.rows if row.method == VID_TLDR), None)
    own = (DEFAULT, PAPER, VID_TLDR)
    lines = [_tied(result)]
    lines += [_losses(name, _rows_of(result, name, first)) for name in own]
    lines += _peers(result, first)
    return "\n".join(line for line in lines if line)


def in_short() -> str:
    """README's line: what the default and vid-TLDR lose at one budget."""
    result = QualityResult.from_dict(read(QUALITY))
    found = {
        row.method: row.change
        for row in result.rows
        if row.budget == SHORT_BUDGET and row.change is not None
    }
    recall, answers, *of_vid_tldr = _lost(
        found[method][figure] for method in (DEFAULT, VID_TLDR) for figure in ("r1", "hard_answers")
    )
    clips = f"{len(result.options.seeds)} seeds of {result.options.num_clips:,} clips"
    return (
        f"At {SHORT_BUDGET:g} of the FLOPs, the bundled model {recall} points of recall and "
        f"{answers} of answers to hard questions by default, and "
        f"{' and '.join(of_vid_tldr)} with vid-TLDR ({clips}; [all methods](docs/quality.md))."
    )


def against_tome() -> str:
    """Compare ToMe with vid-TLDR in a sentence or two."""
    result = QualityResult.from_dict(read(QUALITY))
    rows = [row for row in result.rows if row.method == TOME and row.over_vid_tldr]
    found = {row.budget: row.over_vid_tldr["r1"] for row in rows if row.over_vid_tldr}
    each = [f"{_signed(-one)} at {budget:g}" for budget, one in _sorted(found)]
    beyond = [f"{budget:g}" for budget, one in _sorted(found) if one.is_beyond_noise]
    noise = f"beyond noise at {listed(beyond)}" if beyond else "never beyond noise"
    return (
        "On the bundled model, R@1 of vid-TLDR minus that of ToMe in the same layers is "
        f"{listed(each)} of the FLOPs, in points: {noise}."
    )


def _tied(result: QualityResult) -> str:
    """How many methods cannot be told apart from the best."""
    parts = []
    for budget in sorted({row.budget for row in result.rows}, reverse=True):
        here = [row for row in result.rows if row.budget == budget and row.behind_best]
        near = [row for row in here if row.behind_best and not _behind(row).is_beyond_noise]
        parts.append(f"{len(near)} of {len(here)} at {budget:g}")
    return (
        "- **Methods within noise of the best** in R@1, including the best: "
        f"{listed(parts)} of the FLOPs."
    )


def _losses(method: str, rows: Iterable[Row]) -> str:
    """Where a method changes a figure beyond noise, and where not."""
    found = {row.budget: row.change for row in rows if row.change is not None}
    if not found:
        return ""
    parts = []
    for figure, name in NAMES.items():
        changes = {budget: all_[figure] for budget, all_ in found.items() if figure in all_}
        beyond = [f"{_signed(one)} at {b:g}" for b, one in _sorted(changes) if one.is_beyond_noise]
        within = [f"{b:g}" for b, one in _sorted(changes) if not one.is_beyond_noise]
        words = [f"{name} {listed(beyond)}"] if beyond else []
        words += [f"{name} within noise at {listed(within)}"] if within else []
        parts.append(", ".join(words))
    title = f"The {method}" if method in (DEFAULT, PAPER) else method
    return f"- **{title}** against the unmerged model: {'; '.join(filter(None, parts))}."


def _peers(result: QualityResult, layers: tuple[int, ...] | None) -> list[str]:
    """Where methods differ from vid-TLDR in R@1, beyond noise."""
    better, worse, same = [], [], []
    for method in dict.fromkeys(row.method for row in result.rows if row.method != VID_TLDR):
        rows = _rows_of(result, method, layers)
        found = {row.budget: row.over_vid_tldr["r1"] for row in rows if row.over_vid_tldr}
        beyond = [(budget, one) for budget, one in _sorted(found) if one.is_beyond_noise]
        for sign, lines in ((1, better), (-1, worse)):
            here = [f"{_signed(one)} at {b:g}" for b, one in beyond if sign * one.mean > 0]
            lines += [f"{method} {listed(here)}"] if here else []
        same += [method] if found and not beyond else []
    titles = {
        "Better than vid-TLDR beyond noise": better,
        "Worse than vid-TLDR beyond noise": worse,
        "Not told apart from vid-TLDR at any budget": same,
    }
    return [f"- **{title}** (R@1): {'; '.join(lines)}." for title, lines in titles.items() if lines]


def _rows_of(result: QualityResult, method: str, layers: tuple[int, ...] | None) -> list[Row]:
    """Return a method's rows, those with the given layers if it was measured with several."""
    rows = [row for row in result.rows if row.method == method]
    return [row for row in rows if row.layers == layers] or rows


def _behind(row: Row) -> Difference:
    assert row.behind_best is not None
    return row.behind_best["r1"]


def _sorted(found: dict[float, Difference]) -> list[tuple[float, Difference]]:
    return sorted(found.items(), key=lambda pair: -pair[0])


def _signed(difference: Difference) -> str:
    return f"{difference.mean:+z.1f} ± {difference.standard_error:.1f}"


def _lost(differences: Iterable[Difference]) -> list[str]:
    """Format changes as losses or gains; a verb that would be repeated is left out."""
    words: list[str] = []
    last = ""
    for one in differences:
        verb = "gains " if round(one.mean, 1) > 0 else "loses "
        words.append(f"{verb * (verb != last)}{abs(one.mean):.1f} ± {one.standard_error:.1f}")
        last = verb
    return words
