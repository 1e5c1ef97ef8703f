import copy
import itertools
import math
from dataclasses import replace

import pytest
import torch
from support.tiny_umt import spread_weights
from support.tiny_world_model import TINY_WORLD, tiny_world_model
from torch import Tensor

from vidtldr.bench.saliency_quality import auroc, precision_at_mask_size, run_saliency
from vidtldr.bench.saliency_scores import SCORES, reference_scores
from vidtldr.config import MergeConfig
from vidtldr.method.saliency import saliency
from vidtldr.models.umt.vision import VisionEncoder
from vidtldr.patch.patching import patched, trace


def auroc_reference(scores: list[float], is_foreground: list[bool]) -> float:
    """Every pair of a foreground and a background token, one by one."""
    pairs = [
        1.0 if high > low else 0.5 if high == low else 0.0
        for high, is_high in zip(scores, is_foreground, strict=True)
        if is_high
        for low, is_low in zip(scores, is_foreground, strict=True)
        if not is_low
    ]
    return sum(pairs) / len(pairs)


def precision_reference(scores: list[float], is_foreground: list[bool]) -> float:
    """The mean over every order in which ties may be broken."""
    size, found = sum(is_foreground), []
    for order in itertools.permutations(range(len(scores))):
        best = sorted(order, key=lambda token: -scores[token])[:size]  # stable: ties as in `order`
        found.append(sum(is_foreground[token] for token in best) / size)
    return sum(found) / len(found)


@pytest.mark.parametrize("seed", range(6))
def test_both_figures_equal_slow_counting_with_ties(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(0, 4, (3, 7), generator=generator).float() / 3 - 0.5
    is_foreground = torch.zeros(7, dtype=torch.bool)
    is_foreground[torch.randperm(7, generator=generator)[: 1 + seed]] = True
    mask = is_foreground.tolist()
    area, precision = auroc(scores, is_foreground), precision_at_mask_size(scores, is_foreground)
    for row, one_score in enumerate(scores.tolist()):
        assert area[row].item() == pytest.approx(auroc_reference(one_score, mask), abs=1e-12)
        expected = precision_reference(one_score, mask)
        assert precision[row].item() == pytest.approx(expected, abs=1e-12)
    torch.testing.assert_close(auroc(-scores, is_foreground), 1 - area)


def test_figures_by_hand() -> None:
    is_foreground = torch.tensor([True, False, True, False])
    scores = torch.tensor([[4.0, 1, 3, 2], [1, 4, 2, 3], [4, 3, 2, 1], [5, 5, 5, 5]])
    assert auroc(scores, is_foreground).tolist() == [1.0, 0.0, 0.75, 0.5]
    assert precision_at_mask_size(scores, is_foreground).tolist() == [1.0, 0.0, 0.5, 0.5]


def scores_by_loops(encoder: VisionEncoder, clip: Tensor) -> list[list[list[float]]]:
    """The definitions in float64, token by token: layers, scores, tokens."""
    encoder = copy.deepcopy(encoder).double()
    x = encoder.embed(clip[None].double())
    num_tokens, layers = x.shape[1], []
    rollout = torch.eye(num_tokens, dtype=torch.float64)
    for block in encoder.blocks:
        q, k, v = (part[0] for part in block.attn.project(block.norm1(x)))
        heads = [(q[h] @ k[h].T / math.sqrt(q.shape[-1])).exp() for h in range(len(q))]
        heads = [attn / attn.sum(dim=1, keepdim=True) for attn in heads]
        mixed = torch.cat([attn @ v[h] for h, attn in enumerate(heads)], dim=-1)
        half = x + block.attn.proj(mixed)[None]
        mlp = block.mlp(block.norm2(half))
        x = half + mlp
        mean = torch.stack(heads).mean(dim=0)
        rollout = 0.5 * (mean + torch.eye(num_tokens)) @ rollout
        tokens = range(num_tokens)
        rows = {
            "sharpness": [plogp(mean[i]) for i in tokens],
            "sharpness-per-head": [sum(map(plogp, (a[i] for a in heads))) / 3 for i in tokens],
            "received": [mean[:, j].mean().item() for j in tokens],
            "rollout": [rollout[:, j].mean().item() for j in tokens],
            "representation-shift": [(mlp - half)[0, i].norm().item() for i in tokens],
        }
        layers.append([rows[name] for name in SCORES])
    return layers


def plogp(row: Tensor) -> float:
    return sum(p * math.log(p) for p in row.tolist() if p > 0)


@torch.no_grad()
def test_scores_equal_float64_loops() -> None:
    clips = torch.randn(2, 4, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    found = reference_scores(tiny_world_model().vision_encoder, clips)
    for clip in range(2):
        expected = torch.tensor(scores_by_loops(tiny_world_model().vision_encoder, clips[clip]))
        for layer, scores in enumerate(found):
            torch.testing.assert_close(scores[clip], expected[layer].float(), rtol=1e-3, atol=1e-4)
    spreads = torch.stack(found, dim=1).std(dim=-1)  # nothing here is flat, so nothing is hidden
    assert (spreads > 1e-4).all()


@torch.no_grad()
@pytest.mark.parametrize("layer", [0, 2])
@pytest.mark.parametrize(
    "score", ["sharpness", "sharpness-per-head", "received", "representation-shift"]
)
def test_scores_are_those_that_merging_uses(layer: int, score: str) -> None:
    encoder = tiny_world_model().vision_encoder
    clips = torch.randn(2, 4, 3, 96, 96, generator=torch.Generator().manual_seed(2))
    reference = reference_scores(encoder, clips)[layer][:, SCORES.index(score)]
    config = MergeConfig(r=[*([0] * layer), 5], score=score)  # type: ignore[arg-type]
    with patched(encoder, config), trace(encoder) as recorded:
        encoder(clips)
    torch.testing.assert_close(recorded.saliency[layer], saliency(reference), rtol=0, atol=1e-3)


def test_a_run_averages_clips_then_seeds() -> None:
    encoder = tiny_world_model().vision_encoder
    steps: list[None] = []
    both = run_saliency(encoder, num_clips=5, seeds=(1, 2), on_step=lambda: steps.append(None))
    assert len(both.rows) == 5 * len(SCORES)
    assert len(steps) == 10
    assert both.num_scored <= 10
    alone = run_saliency(encoder, num_clips=5, seeds=(2,))
    for row, own in zip(both.rows, alone.rows, strict=True):
        assert (row.layer, row.score) == (own.layer, own.score)
        assert row.auroc.values[1] == pytest.approx(own.auroc.mean)
        assert row.auroc_negated.mean == pytest.approx(1 - row.auroc.mean)
        assert 0 <= own.precision_negated.mean <= 1
    assert 0 < both.foreground.mean < 0.5


def test_clips_without_foreground_are_refused() -> None:
    config = replace(TINY_WORLD, patch_size=96)  # an object fills no quarter of a frame
    encoder = spread_weights(VisionEncoder(config), 0)
    with pytest.raises(ValueError, match="num_clips must give a clip with foreground and back"):
        run_saliency(encoder, num_clips=1, seeds=(0,))
