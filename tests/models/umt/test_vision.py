import dataclasses

import pytest
import torch
from support import umt_reference as reference
from support.tiny_umt import TINY, spread_weights, weights_of
from torch.nn import functional as F
from torch.testing import assert_close

from vidtldr.models.umt import UMTConfig, VideoFeatures, build_vision_encoder


@pytest.mark.parametrize("num_frames", [1, 2, 3, 5])
def test_tokens_and_pooled_equal_the_slow_reference(
    retrieval, assert_close_to_reference, num_frames
):
    clips = torch.randn(3, num_frames, 3, 12, 12)
    video = retrieval.encode_video(clips)
    eager = reference.vision(weights_of(retrieval, torch.float32), TINY, clips)
    exact = reference.vision(weights_of(retrieval, torch.float64), TINY, clips)
    assert video.tokens.shape == (3, 9 * num_frames, 12)
    for fast, slow, right in zip(video[:2], eager, exact, strict=True):
        assert_close_to_reference(fast, slow, right)


@pytest.mark.parametrize(
    "sizes", [(10, 5, 2, 6, 1, 1, 3), (9, 3, 4, 14, 3, 7, 1), (4, 4, 1, 8, 2, 2, 2)]
)
def test_odd_sizes_equal_the_slow_reference(assert_close_to_reference, sizes):
    config = UMTConfig(*sizes, TINY.text)
    model = spread_weights(build_vision_encoder(config), seed=5)
    clips = torch.randn(2, config.num_frames, 3, config.image_size, config.image_size)
    named = {f"vision_encoder.{name}": value for name, value in model.state_dict().items()}
    exact_weights = {name: value.double() for name, value in named.items()}
    exact = reference.vision(exact_weights, config, clips)
    eager = reference.vision(named, config, clips)
    for fast, slow, right in zip(model(clips)[:2], eager, exact, strict=True):
        assert_close_to_reference(fast, slow, right)


def test_a_batch_of_differing_clips_equals_single_clips(retrieval, clips):
    batch = retrieval.encode_video(clips)
    for i in range(3):
        single = retrieval.encode_video(clips[i : i + 1])
        assert_close(single.tokens[0], batch.tokens[i], rtol=1e-5, atol=1e-5)
        assert_close(single.pooled[0], batch.pooled[i], rtol=1e-5, atol=1e-5)


def test_a_block_can_be_walked_from_outside(retrieval, clips):
    encoder = retrieval.vision_encoder
    x = encoder.embed(clips)
    for block in encoder.blocks:
        q, k, v = block.attn.project(block.norm1(x))
        assert q.shape == (3, 3, 27, 4)
        out = F.scaled_dot_product_attention(q, k, v)
        x = x + block.attn.proj(out.transpose(1, 2).flatten(2))
        x = x + block.mlp(block.norm2(x))
    walked = encoder.pool(x)
    assert walked.mass is None
    for ours, theirs in zip(walked[:2], encoder(clips)[:2], strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("num_frames", [1, 3, 4])
def test_half_precision_is_finite_also_with_sharp_attention(dtype, num_frames):
    model = spread_weights(build_vision_encoder(TINY), seed=6, scale=3.0).to(dtype)
    clips = torch.randn(2, num_frames, 3, 12, 12)
    clips[1] = 0
    video = model(clips)
    assert video.tokens.dtype == dtype
    assert video.tokens.isfinite().all()
    assert video.pooled.isfinite().all()


def test_attention_is_fused(retrieval, clips, count_calls):
    with count_calls() as calls:
        retrieval.encode_video(clips)
    assert calls.counts["scaled_dot_product_attention"] == TINY.num_layers
    assert "softmax" not in calls.counts


def test_gradients_reach_every_parameter(clips):
    model = spread_weights(build_vision_encoder(TINY), seed=7)
    with torch.enable_grad():
        (model(clips).pooled ** 2 * torch.arange(12)).sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


@pytest.mark.parametrize(
    "shape", [(3, 12, 12), (1, 3, 3, 12, 16), (1, 3, 4, 12, 12), (1, 0, 3, 12, 12)]
)
def test_clips_of_another_shape_are_refused(retrieval, shape):
    with pytest.raises(ValueError, match=r"pixel_values must be \(clips, frames, 3, 12, 12\)"):
        retrieval.encode_video(torch.zeros(shape))


def test_the_answering_encoder_pools_without_a_norm(answering, clips):
    video = answering.vision_encoder(clips)
    assert torch.equal(video.pooled, video.tokens.mean(1))


def test_a_named_encoder_of_two_layers_runs_at_full_width():
    config = dataclasses.replace(UMTConfig.named("b16"), num_layers=2)
    video = build_vision_encoder(config)(torch.randn(1, 2, 3, 224, 224))
    assert isinstance(video, VideoFeatures)
    assert video.tokens.shape == (1, 392, 768)
    assert video.pooled.shape == (1, 768)


def test_the_encoder_is_by_default_the_base_one_in_evaluation_mode():
    with torch.device("meta"):
        model = build_vision_encoder()
    assert model.config == UMTConfig.named("b16")
    assert not model.training
    assert len(model.blocks) == 12
