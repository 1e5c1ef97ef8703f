"""How well each score finds the true foreground in the world of shapes, by layer.

Letters: `B` clips, `N` tokens, `K` scores, `L` layers.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from vidtldr.bench.quality_result import Spread, spread
from vidtldr.bench.saliency_scores import SCORES, reference_scores
from vidtldr.models.umt.vision import VisionEncoder
from vidtldr.shapes.exam import distinct_clips
from vidtldr.shapes.factors import Split
from vidtldr.shapes.model import normalise
from vidtldr.shapes.world import ShapesClips, ShapesWorld

__all__ = [
    "SaliencyResult",
    "SaliencyRow",
    "auroc",
    "precision_at_mask_size",
    "run_saliency",
]

BATCH_SIZE = 8


@dataclass(frozen=True)
class SaliencyRow:
    """A score in a layer. Each figure is a mean over clips, with its spread over seeds.

    Attributes:
        layer: Counted from 0.
        score: One of `SCORES`.
        auroc: Probability that a foreground token scores higher than a background token; 0.5 is
            chance.
        auroc_negated: The same for the negated score.
        precision: Share of foreground among the highest scores, as many as there are foreground
            tokens.
        precision_negated: The same for the negated score.
    """

    layer: int
    score: str
    auroc: Spread
    auroc_negated: Spread
    precision: Spread
    precision_negated: Spread


@dataclass(frozen=True)
class SaliencyResult:
    """One model's scores against the true masks.

    Attributes:
        rows: Rows by layer, then by score.
        foreground: Share of tokens that are foreground: the precision of random scores.
        num_scored: Clips with both foreground and background, over all seeds.
    """

    rows: tuple[SaliencyRow, ...]
    foreground: Spread
    num_scored: int

    def to_dict(self) -> dict[str, Any]:
        """Return all fields, ready for JSON."""
        return asdict(self)


def auroc(scores: Tensor, is_foreground: Tensor) -> Tensor:
    """Compute one clip's exact area under the ROC curve; ties count half.

    Args:
        scores: Shape (K, N), finite.
        is_foreground: Shape (N,), bool, with both classes.

    Returns:
        Areas, shape (K,), float64, in [0, 1].
    """
    foreground = scores[:, is_foreground].contiguous()
    background = scores[:, ~is_foreground].sort(dim=-1).values.contiguous()
    lower = torch.searchsorted(background, foreground)
    not_higher = torch.searchsorted(background, foreground, right=True)
    return (lower + not_higher).double().mean(dim=-1) / (2 * background.shape[-1])


def precision_at_mask_size(scores: Tensor, is_foreground: Tensor) -> Tensor:
    """Compute one clip's share of foreground among its top scores, as many as foreground tokens.

    Tokens that tie for the last places are equally likely to get one.

    Args:
        scores: Shape (K, N), finite.
        is_foreground: Shape (N,), bool, with foreground.

    Returns:
        Shares, shape (K,), float64, in [0, 1].
    """
    num_places = int(is_foreground.sum())
    lowest = scores.topk(num_places, dim=-1).values[:, -1:]
    above, tied = scores > lowest, scores == lowest
    places_left = num_places - above.sum(dim=-1)
    tied_share = (tied & is_foreground).sum(dim=-1).double() / tied.sum(dim=-1)
    return ((above & is_foreground).sum(dim=-1) + places_left * tied_share) / num_places


@torch.inference_mode()
def run_saliency(
    encoder: VisionEncoder,
    *,
    num_clips: int,
    seeds: Sequence[int],
    split: Split = "test",
    on_step: Callable[[], object] = lambda: None,
) -> SaliencyResult:
    """Score the tokens of the unmerged model against the true masks.

    Args:
        encoder: The vision encoder, unmerged, in evaluation mode.
        num_clips: Clips for each seed.
        seeds: Seeds of the world.
        split: Split of the world.
        on_step: Called after each clip.

    Raises:
        ValueError: If no clip of a seed has foreground and background.
    """
    by_seed = [_one_seed(encoder, num_clips, seed, split, on_step) for seed in seeds]
    means = torch.stack([figures.mean(dim=0) for figures, _ in by_seed])  # (seeds, L, 4, K)
    rows = tuple(
        SaliencyRow(
            layer, score, *(spread(part.tolist()) for part in means[:, layer, :, place].unbind(1))
        )
        for layer in range(means.shape[1])
        for place, score in enumerate(SCORES)
    )
    shares = spread(share for _, share in by_seed)
    return SaliencyResult(rows, shares, sum(len(figures) for figures, _ in by_seed))


def _one_seed(
    encoder: VisionEncoder, num_clips: int, seed: int, split: Split, on_step: Callable[[], object]
) -> tuple[Tensor, float]:
    """Compute figures of the clips with both classes, (B, L, 4, K), and the foreground share."""
    config = encoder.config
    world = ShapesWorld(seed, split, config.num_frames, config.image_size)
    indices = distinct_clips(world, num_clips)
    figures, masks = [], []
    for start in range(0, num_clips, BATCH_SIZE):
        clips = world.clips(indices[start : start + BATCH_SIZE])
        mask = clips.foreground_patches(config.patch_size)
        scored = zip(_scores_of(encoder, clips), mask, strict=True)
        for scores, is_foreground in scored:
            if is_foreground.any() and not is_foreground.all():
                figures.append(torch.stack([_figures(each, is_foreground) for each in scores]))
            on_step()
        masks.append(mask)
    if not figures:
        raise ValueError(
            f"num_clips must give a clip with foreground and background, got {num_clips} of seed "
            f"{seed}. Take more clips."
        )
    return torch.stack(figures), torch.cat(masks).double().mean().item()


def _scores_of(encoder: VisionEncoder, clips: ShapesClips) -> Tensor:
    """Score each clip, (B, L, K, N), on the CPU."""
    pixel_values = normalise(clips.frames.to(next(encoder.parameters()).device))
    return torch.stack(reference_scores(encoder, pixel_values), dim=1).cpu()


def _figures(scores: Tensor, is_foreground: Tensor) -> Tensor:
    """Compute the four figures, (4, K), of a layer's scores (K, N)."""
    area = auroc(scores, is_foreground)
    precision = precision_at_mask_size(scores, is_foreground)
    negated = precision_at_mask_size(-scores, is_foreground)
    return torch.stack((area, 1 - area, precision, negated))
