"""A made-up result of `bench dense`: all figures are equal, one budget is unreachable."""

from vidtldr.bench.dense_result import DenseResult, DenseRow, DenseScoreRow, mean_figure
from vidtldr.bench.saliency_scores import SCORES


def made_up_dense(*, has_masks: bool) -> DenseResult:
    figure = mean_figure([0.0123, -0.0456, 0.0789])
    assert figure is not None
    names = ["feature_distance", "map_change", "agreement"]
    names += ["max_f", "auroc", "max_f_change", "auroc_change"] if has_masks else []
    figures = dict.fromkeys(names, figure)
    rows = [
        DenseRow(method, (first, first + 1, first + 2), budget, {}, None, budget, figures)
        for method in ("vid-TLDR", "representation shift")
        for first in (0, 1, 2, 3)
        for budget in (0.8, 0.6, 0.5)
    ]
    rows.append(DenseRow("vid-TLDR", (3, 4, 5), 0.4, unreachable="too few"))
    return DenseResult(
        unmerged=DenseRow("unmerged", None, 1.0, {}, None, 1.0, figures),
        rows=tuple(rows),
        scores=tuple(DenseScoreRow(layer, name, figure) for layer in range(12) for name in SCORES),
        scores_against="masks" if has_masks else "own map",
        pictures=("a", "b", "c"),
        num_masks=3 if has_masks else 0,
        failed=(),
        side=392,
        num_frames=4,
        gflops=45.0,
    )
