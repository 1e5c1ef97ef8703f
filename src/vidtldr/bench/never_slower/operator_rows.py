"""Rows of operator counts for a layer that is unmerged, merges, or comes after merging."""

from collections.abc import Callable, Iterator
from dataclasses import asdict

from vidtldr.bench.never_slower.gain import MERGED, UNMERGED
from vidtldr.bench.never_slower.operators import PARTS, Operators, count_operators
from vidtldr.bench.never_slower.workloads import Workload, bundled, umt_b, videomae_384
from vidtldr.bench.row import Row, Settings
from vidtldr.bench.speed import forward_of
from vidtldr.budget.counts import resolved_r
from vidtldr.hosts.registry import find_host
from vidtldr.patch.twin import merged_twin

__all__ = ["operator_rows"]

WORKLOADS: dict[str, Callable[[bool], Workload]] = {
    "umt-b": umt_b,
    "videomae-384": videomae_384,
    "bundled": bundled,
}


def operator_rows(settings: Settings) -> Iterator[Row]:
    """Yield a row for each of three models; not timed, without a target."""
    for name, build in WORKLOADS.items():
        yield _row(name, build(settings.tiny))


def _row(name: str, workload: Workload) -> Row:
    x = workload.pixel_values(1, next(workload.model.parameters()).dtype)
    models = {UNMERGED: workload.model, MERGED: merged_twin(workload.model, workload.config)}
    layers = {s: count_operators(model, forward_of(model, x)) for s, model in models.items()}
    r = resolved_r(workload.config, find_host(workload.model)) or ()
    merging = [layer for layer, removed in enumerate(r) if removed]
    later = merging[1] if len(merging) > 1 else merging[0]
    parts = _by_part(layers[MERGED][later])
    figures = {
        "unmerged_layer": layers[UNMERGED][0].total,
        "merging_layer": layers[MERGED][later].total,
        **{f"of_that_{part}": count for part, count in parts.items()},
        "layer_behind": layers[MERGED][-1].total,
    }
    counts = {side: [asdict(layer) for layer in found] for side, found in layers.items()}
    details = {"r": r, "merging_layer": later, "layers": counts}
    return Row(f"operators-{name}", f"operators, {workload.title}", figures, None, details)


def _by_part(layer: Operators) -> dict[str, int]:
    return {part: layer.computing[part] + layer.views[part] for part in PARTS}
