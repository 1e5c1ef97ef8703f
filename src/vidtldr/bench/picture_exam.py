"""Measurements of one picture: the unmerged model's outputs, and how far merging moves them.

Letters: `T` frames (1 for a photo), `N` patches, `S` side of a picture, `K` scores, `L` layers.
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

#: Figures of one picture by name; None where one is undefined, such as accuracy without a mask.
Figures = dict[str, float | None]
_FRAMES_AT_ONCE = 4


class PictureExam:
    """Measures one picture; for a video, every figure is the mean over its frames.

    Args:
        model: In evaluation mode, unmerged, on its device.
        picture: The picture.
    """

    def __init__(self, model: DenseModel, picture: Picture) -> None:
        self.model, self.picture = model, picture

    def measure(self, backbone: nn.Module | None) -> Figures:
        """Measure a twin of the backbone; None measures the unmerged model.

        The random seed is taken from the picture's content.
        """
        features, maps = self.unmerged if backbone is None else self._run(backbone)
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
        """Measure the AUROC of every token score in every layer of the unmerged model.

        A patch belongs to the foreground if at least half of its pixels do.

        Args:
            by_mask: Whether to compare with the true mask, or else with the unmerged map
                thresholded at 0.5.

        Returns:
            AUROC by layer, then by score in the order of `SCORES`, (L, K); None if no frame has
            both foreground and background patches.
        """
        truths = self._truths() if by_mask else [own > 0.5 for own in self.unmerged.maps]
        areas = []
        for frame, truth in zip(self.picture.pixel_values, truths, strict=False):
            foreground = self._patch_mask(truth)
            if foreground.any() and not foreground.all():
                found = [auroc(scores, foreground) for scores in self._scores(frame)]
                areas.append(torch.stack(found))
        means: list[list[float]] | None = torch.stack(areas).mean(0).tolist() if areas else None
        return means

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

    def _patch_mask(self, truth: Tensor) -> Tensor:
        """Turn a mask of the pixels, (S, S), into one of the patches, (N,)."""
        shares = F.avg_pool2d(truth[None].float(), self.model.patch_size)
        return shares.flatten() >= 0.5

    @torch.inference_mode()
    def _scores(self, frame: Tensor) -> list[Tensor]:
        """Return the patch scores of one frame, (K, N) for each layer, on the CPU."""
        backbone: Any = self.model.backbone
        host = find_host(backbone)
        x = backbone.embeddings(frame[None].to(next(backbone.parameters()).device))
        every = scores_of_layers(host, x)
        return [layer[0, :, host.num_prefix_tokens :].cpu() for layer in every]


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None
