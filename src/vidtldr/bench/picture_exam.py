"""Measure one picture: the unmerged model on it, and how far a merged one is from that.

Letters: `T` frames, of a photo 1; `N` places, `S` side of a picture, `K` scores, `L` layers.
"""

import statistics
from collections.abc import Iterable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidtldr.bench.dense_figures import agreement, feature_distance, map_auroc, map_change, max_f
from vidtldr.bench.dense_model import DenseModel, DenseOutput
from vidtldr.bench.pictures import Picture
from vidtldr.bench.saliency_quality import auroc
from vidtldr.bench.saliency_scores import scores_of_layers
from vidtldr.hosts.registry import find_host
from vidtldr.measure.fork_rng import fork_rng

__all__ = ["Figures", "PictureExam"]

#: Of one picture; None where a figure means nothing, such as accuracy without a mask.
Figures = dict[str, float | None]
_FRAMES_AT_ONCE = 4


class PictureExam:
    """Measurements of one picture; of a video, each is the mean over its frames.

    Args:
        model: In evaluation mode, unmerged, on its device.
        picture: The picture.
    """

    def __init__(self, model: DenseModel, picture: Picture) -> None:
        self.model, self.picture = model, picture

    def measure(self, backbone: nn.Module | None) -> Figures:
        """Measure a twin of the backbone, or with None the unmerged model.

        Random draws depend on the picture's content alone.
        """
        found = self.unmerged if backbone is None else self._run(backbone)
        features, maps = found
        own_features, own_maps = self.unmerged
        frames = list(zip(maps, own_maps, strict=True))
        mask = self.picture.mask
        return {
            "feature_distance": feature_distance(features, own_features),
            "map_change": map_change(maps, own_maps),
            "agreement": _mean(agreement(*pair) for pair in frames),
            "max_f": None if mask is None else _mean(max_f(each, mask) for each in maps),
            "auroc": None if mask is None else _mean(map_auroc(each, mask) for each in maps),
        }

    def measure_scores(self, *, by_mask: bool) -> list[list[float]] | None:
        """AUROC of every token score in every layer of the unmerged model, (L, K).

        A place belongs to the foreground if at least half of its pixels do.

        Args:
            by_mask: Against the true mask; otherwise against the unmerged map above 0.5.

        Returns:
            By layer, then by score, as in `SCORES`; None if no frame has places of both classes.
        """
        truths = self._truths() if by_mask else [own > 0.5 for own in self.unmerged.maps]
        areas = []
        for frame, truth in zip(self.picture.pixel_values, truths, strict=False):
            where = self._places(truth)
            if where.any() and not where.all():
                areas.append(torch.stack([auroc(each, where) for each in self._scores(frame)]))
        found: list[list[float]] | None = torch.stack(areas).mean(0).tolist() if areas else None
        return found

    @cached_property
    def unmerged(self) -> DenseOutput:
        """The unmerged model's output for all frames, on the CPU."""
        return self._run(None)

    @torch.inference_mode()
    def _run(self, backbone: nn.Module | None) -> DenseOutput:
        device = next(self.model.parameters()).device
        with fork_rng(device):
            torch.manual_seed(int(self.picture.sha256[0][:8], 16))
            parts = [
                self.model(frames.to(device), backbone)
                for frames in torch.split(self.picture.pixel_values, _FRAMES_AT_ONCE)
            ]
        return DenseOutput(*(torch.cat(each).cpu() for each in zip(*parts, strict=True)))

    def _truths(self) -> list[Tensor]:
        mask = self.picture.mask
        return [] if mask is None else [mask] * len(self.picture.pixel_values)

    def _places(self, truth: Tensor) -> Tensor:
        """Mask of the places, (N,), of a mask of the pixels (S, S)."""
        shares = F.avg_pool2d(truth[None].float(), self.model.patch_size)
        return shares.flatten() >= 0.5

    @torch.inference_mode()
    def _scores(self, frame: Tensor) -> list[Tensor]:
        """Scores of the places of one frame in each layer, (K, N), on the CPU."""
        backbone: Any = self.model.backbone
        host = find_host(backbone)
        x = backbone.embeddings(frame[None].to(next(backbone.parameters()).device))
        every = scores_of_layers(host, x)
        return [layer[0, :, host.num_prefix_tokens :].cpu() for layer in every]


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None
