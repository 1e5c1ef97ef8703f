"""What merging costs dense outputs: patch features and saliency maps of photos.

Letters: `K` scores, `L` layers.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from torch import nn

from vidtldr.baselines.baseline import Merging
from vidtldr.bench.dense_model import DenseModel
from vidtldr.bench.dense_result import (
    DenseResult,
    DenseRow,
    DenseScoreRow,
    FailedPicture,
    NotedPicture,
    mean_figure,
)
from vidtldr.bench.picture_exam import Figures, PictureExam
from vidtldr.bench.picture_files import PictureFile
from vidtldr.bench.pictures import Picture, read_picture
from vidtldr.bench.quality_methods import Cell
from vidtldr.bench.saliency_scores import SCORES
from vidtldr.budget.counts import forward_costs
from vidtldr.config import MergeConfig
from vidtldr.hosts.registry import find_host
from vidtldr.measure.environment import device_name
from vidtldr.measure.result_store import ResultStore
from vidtldr.steps import OnStep, ignore_steps, steps_of
from vidtldr.tasks.fingerprint import module_sha256
from vidtldr.video.decode import VideoError

__all__ = ["run_dense"]

#: Figures that are also given as differences from the unmerged model on the same pictures.
_ACCURACY = ("max_f", "auroc")
_UNMERGED = Merging(MergeConfig(r=(), score=None, output="grid"))


@dataclass(frozen=True)
class _Measured:
    """The measurements of one picture: figures by setting, and the AUROC of each score (L, K)."""

    picture: str
    has_mask: bool
    figures: dict[str, Figures]
    scores: list[list[float]] | None


def run_dense(
    model: DenseModel,
    files: Sequence[PictureFile],
    cells: Sequence[Cell],
    store: ResultStore,
    *,
    num_frames: int,
    on_step: OnStep = ignore_steps,
) -> DenseResult:
    """Measure every setting on every picture once, however many cells share the setting.

    Args:
        model: In evaluation mode, unmerged, on its device.
        files: Photos and videos; those that cannot be read are reported and skipped.
        cells: Cells from `plan_dense`.
        store: Holds earlier measurements and stores new ones.
        num_frames: Frames to take from each video.
        on_step: Called after each measurement with its name, the number done and the total.

    Raises:
        ValueError: If no picture can be read.
    """
    run = _Run(model, cells, store, has_masks=any(file.mask for file in files))
    step = steps_of(on_step, "pictures", len(files) * run.num_steps)
    failed: list[FailedPicture] = []
    noted: list[NotedPicture] = []
    measured: list[_Measured] = []
    for file in files:
        try:
            picture = read_picture(file, model.side, num_frames)
        except VideoError as error:
            failed.append(FailedPicture(file.name, str(error)))
            for _ in range(run.num_steps):
                step()
        else:
            measured.append(run.measure(picture, step))
            if picture.notes:
                noted.append(NotedPicture(file.name, picture.notes))
    if not measured:
        raise ValueError(f"no picture could be measured; the first: {failed[0].error}")
    return DenseResult(
        unmerged=run.row(Cell("unmerged", None, 1.0, _UNMERGED), measured),
        rows=tuple(run.row(cell, measured) for cell in cells),
        scores=tuple(_score_rows(measured)),
        scores_against="masks" if run.has_masks else "own map",
        pictures=tuple(each.picture for each in measured),
        num_masks=sum(each.has_mask for each in measured),
        failed=tuple(failed),
        side=model.side,
        num_frames=num_frames,
        gflops=run.flops(_UNMERGED) / 1e9,
        noted=tuple(noted),
    )


class _Run:
    """One run of the benchmark: the model, and a twin of its backbone for each setting."""

    def __init__(
        self, model: DenseModel, cells: Sequence[Cell], store: ResultStore, *, has_masks: bool
    ) -> None:
        self.model, self.store, self.has_masks = model, store, has_masks
        self.twins: dict[str, tuple[Merging, nn.Module | None]] = {}
        self.twins[_key(_UNMERGED)] = _UNMERGED, None
        for variant in [cell.variant for cell in cells]:
            if isinstance(variant, Merging) and _key(variant) not in self.twins:
                self.twins[_key(variant)] = variant, variant.twin_of(model.backbone)
        self.num_steps = len(self.twins) + 1  # and the scores
        weights = next(model.parameters())
        self.identity = {
            "weights": module_sha256(model),
            "side": model.side,
            "dtype": str(weights.dtype).removeprefix("torch."),
            "device": device_name(weights.device),
        }

    def measure(self, picture: Picture, step: Callable[[], None]) -> _Measured:
        """Measure all settings and the scores on one picture."""
        exam = PictureExam(self.model, picture)
        key = {**self.identity, "picture": picture.sha256, "frames": len(picture.pixel_values)}
        figures = {}
        for name, (variant, twin) in self.twins.items():
            own = {**key, "setting": variant.to_dict()}
            figures[name] = self.store.get(own, partial(exam.measure, twin))
            step()
        scores = None
        if picture.mask is not None or not self.has_masks:
            own = {**key, "scores_by_mask": self.has_masks}
            scores = self.store.get(own, partial(exam.measure_scores, by_mask=self.has_masks))
        step()
        return _Measured(picture.name, picture.mask is not None, figures, scores)

    def flops(self, variant: Merging) -> int:
        """Return the backbone's FLOPs for one picture; 1 MAC = 2 FLOPs."""
        costs = forward_costs(find_host(self.model.backbone), variant.config)
        return costs.flops(variant.config.r or ())

    def row(self, cell: Cell, measured: Sequence[_Measured]) -> DenseRow:
        """Build the row of a cell from the measurements of all pictures."""
        empty = DenseRow(cell.method, cell.layers, cell.budget, unreachable=cell.unreachable)
        if not isinstance(cell.variant, Merging):
            return empty
        name, full = _key(cell.variant), _key(_UNMERGED)
        own = [_with_changes(each.figures[name], each.figures[full]) for each in measured]
        figures = {what: mean_figure([each[what] for each in own]) for what in own[0]}
        return replace(
            empty,
            setting=cell.variant.to_dict(),
            flop_ratio=self.flops(cell.variant) / self.flops(_UNMERGED),
            figures={what: figure for what, figure in figures.items() if figure is not None},
        )


def _key(variant: Merging) -> str:
    return str(variant.to_dict())


def _with_changes(figures: Figures, unmerged: Figures) -> Figures:
    changes: Figures = {}
    for name in _ACCURACY:
        before, after = unmerged[name], figures[name]
        changes[f"{name}_change"] = None if before is None or after is None else after - before
    return {**figures, **changes}


def _score_rows(measured: Sequence[_Measured]) -> Iterator[DenseScoreRow]:
    known = [each.scores for each in measured if each.scores is not None]
    if not known:
        return
    for layer in range(len(known[0])):
        for index, score in enumerate(SCORES):
            areas = [
                None if each.scores is None else each.scores[layer][index] for each in measured
            ]
            figure = mean_figure(areas)
            assert figure is not None  # `known` is not empty
            yield DenseScoreRow(layer, score, figure)
