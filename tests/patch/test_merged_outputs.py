"""What a merged forward computes: as the oracle says, for every choice, clip and implementation."""

from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch
from support.oracle import merged_logits_of_videomae
from support.tiny_models import clips, logits, videomae, vivit
from torch import Tensor, nn

import vidtldr
from vidtldr.config import Linkage, Metric, Score, Weighting
from vidtldr.hosts.registry import find_host
from vidtldr.ops.attention import attend
from vidtldr.patch.merging_forward import MergingForward

SCORES = [*get_args(Score), None]
METRICS = get_args(Metric)
WEIGHTINGS = get_args(Weighting)
LINKAGES = get_args(Linkage)
R = [0, 9, 5]  # the first layer keeps the host's own forward
HOSTS = [videomae, vivit]


@pytest.mark.parametrize("use_mean_pooling", [True, False])
@pytest.mark.parametrize("impl", ["reference", "blocked"])
def test_merged_videomae_equals_the_float64_oracle(impl: str, use_mean_pooling: bool) -> None:
    model = videomae(use_mean_pooling=use_mean_pooling)
    vidtldr.apply_patch(model, r=[11, 7, 0, 4], score="sharpness", impl=impl)
    found = logits(model.double(), clips(3).double())
    vidtldr.remove_patch(model)
    expected = merged_logits_of_videomae(model, clips(3), [11, 7, 0, 4])
    assert (found - expected).abs().max() < 1e-11


@pytest.mark.parametrize("linkage", LINKAGES)
@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("score", SCORES)
def test_every_score_weighting_and_linkage_equals_the_float64_oracle(
    score: str | None, weighting: str, linkage: str
) -> None:
    model = videomae()
    protect = 0.5 if weighting == "mass" and score is not None else 0.0
    choices = {"score": score, "weighting": weighting, "linkage": linkage, "protect": protect}
    vidtldr.apply_patch(model, r=[11, 7, 0, 4], **choices)
    found = logits(model.double(), clips(3).double())
    vidtldr.remove_patch(model)
    expected = merged_logits_of_videomae(model, clips(3), [11, 7, 0, 4], **choices)
    assert (found - expected).abs().max() < 1e-11


def test_the_default_is_plain_merging_by_wards_linkage() -> None:
    model = videomae()
    default = logits(vidtldr.apply_patch(model, r=R))
    assert torch.equal(
        logits(vidtldr.apply_patch(model, r=R, score=None, metric="x", linkage="ward")), default
    )


@pytest.mark.parametrize("build", HOSTS)
def test_walking_a_block_without_merging_equals_the_hosts_own_forward(
    build: Callable[..., nn.Module],
) -> None:
    """A merge of one token late in the model leaves the walk of every earlier layer to compare."""
    model = build().double()
    pixel_values = clips().double()
    with torch.no_grad():
        own = model(pixel_values=pixel_values, output_hidden_states=True).hidden_states
        vidtldr.apply_patch(model, r=[1])
        first = vars(find_host(model).blocks[0])["forward"]
        vidtldr.apply_patch(model, r=[0, 0, 0, 1])
        last = find_host(model).blocks[-1]
        walked = walk_without_merging(last.forward, own[-2])
    assert isinstance(first, MergingForward)
    assert torch.allclose(walked, own[-1], atol=1e-12)


def walk_without_merging(forward: MergingForward, x: Tensor) -> Tensor:
    attended = forward.walk.attention_half(forward.module, x, attend)
    return forward.walk.mlp_half(forward.module, attended.x)


@pytest.mark.parametrize("build", HOSTS)
@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("metric", METRICS)
def test_implementations_agree_for_every_score_and_metric(
    build: Callable[..., nn.Module], score: str | None, metric: str
) -> None:
    model = build().double()
    outputs = []
    for impl in ("reference", "blocked", "auto"):
        torch.manual_seed(0)  # the same random pairs
        vidtldr.apply_patch(model, r=R, score=score, metric=metric, impl=impl)
        outputs.append(logits(model, clips().double()))
    assert torch.allclose(outputs[0], outputs[1], atol=1e-11)
    assert torch.allclose(outputs[0], outputs[2], atol=1e-11)


def test_scores_metrics_and_weightings_are_different_choices() -> None:
    model = videomae()
    choices: list[dict[str, Any]] = [{"score": score} for score in SCORES]
    choices += [{"metric": metric} for metric in METRICS if metric != "x"]
    choices += [{"score": "sharpness", "weighting": each} for each in ("saliency", "mask")]
    choices += [{"score": "sharpness", "protect": 1.0}, {"linkage": "cosine"}]
    outputs = [logits(vidtldr.apply_patch(model, r=R, **choice)) for choice in choices]
    for i, one in enumerate(outputs):
        assert not any(torch.allclose(one, other, atol=1e-3) for other in outputs[:i])


@pytest.mark.parametrize("build", HOSTS)
@pytest.mark.parametrize("score", SCORES)
def test_one_clip_alone_equals_that_clip_in_a_batch(
    build: Callable[..., nn.Module], score: str | None
) -> None:
    model = vidtldr.apply_patch(build(), r=R, score=score)
    together = logits(model, clips(3))
    for b in range(3):
        assert torch.allclose(logits(model, clips(3)[b : b + 1])[0], together[b], atol=1e-4)


@pytest.mark.parametrize("build", HOSTS)
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_clip_without_content_gives_finite_outputs(
    build: Callable[..., nn.Module], value: float
) -> None:
    model = vidtldr.apply_patch(build(), ratio=[0.5, 0.5, 0.5])
    assert logits(model, torch.full((1, 6, 3, 32, 32), value)).isfinite().all()
    assert logits(model.half(), torch.full((1, 6, 3, 32, 32), value).half()).isfinite().all()


def test_tokens_that_are_all_equal_give_finite_outputs() -> None:
    """Without positions every token of a blank clip is the same: constant sharpness."""
    model = vidtldr.apply_patch(videomae(), ratio=[0.5, 0.25])
    model.videomae.embeddings.position_embeddings.zero_()
    with vidtldr.trace(model) as trace:
        assert logits(model, torch.zeros(2, 6, 3, 32, 32)).isfinite().all()
    assert trace.mass.isfinite().all()


@pytest.mark.parametrize("impl", ["reference", "native", "blocked"])
def test_vmap_over_clips_is_the_batch_or_said_not_to_work(impl: str) -> None:
    model = vidtldr.apply_patch(videomae(), r=R, score="sharpness", impl=impl)
    over_clips = torch.vmap(lambda clip: logits(model, clip[None])[0])
    if impl == "blocked":
        with pytest.raises(NotImplementedError, match=r"must run outside torch\.vmap"):
            over_clips(clips())
    else:
        assert torch.allclose(over_clips(clips()), logits(model), atol=1e-4)


def test_visible_patches_only_can_be_merged_too() -> None:
    """`bool_masked_pos` lowers the number of tokens below what the config says."""
    model = vidtldr.apply_patch(videomae(), ratio=[0.5])
    hidden = torch.zeros(2, 48, dtype=torch.bool)
    hidden[0, :20], hidden[1, 28:] = True, True
    with torch.no_grad():
        assert model.videomae(clips(), bool_masked_pos=hidden).last_hidden_state.shape == (
            2,
            14,
            48,
        )
    vidtldr.apply_patch(model, r=[20])
    with pytest.raises(
        ValueError, match=r"`r\[0\]` must be in \[0, 14\] \(half of 28 mergeable tokens\), got 20"
    ):
        model.videomae(clips(), bool_masked_pos=hidden)


@pytest.mark.slow
def test_a_merged_forward_under_autocast_is_finite_and_compiles() -> None:
    model = vidtldr.apply_patch(videomae(num_hidden_layers=3), r=R)
    with torch.autocast("cpu", torch.bfloat16):
        plain = logits(model)
        assert plain.isfinite().all()
        assert torch.compile(model, fullgraph=True)(pixel_values=clips()).logits.isfinite().all()
    # Scores and pairs are found in float32: merging loses no more than rounding itself does.
    assert (plain.float() - logits(model)).abs().max() < 0.5 * logits(model).abs().max()
