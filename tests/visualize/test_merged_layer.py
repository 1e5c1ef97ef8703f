from dataclasses import replace

import numpy as np
import pytest
import torch
from support import tiny_encoders
from support.scenes import R, Scene
from support.tiny_models import clips, videomae, vivit

from vidtldr.method.matching import Match
from vidtldr.method.saliency import foreground_mask, masked_saliency
from vidtldr.patch.patching import apply_patch, patched, trace
from vidtldr.patch.trace import Trace
from vidtldr.visualize.merged_layer import MergedLayer, merged_layers
from vidtldr.visualize.patch_grid import PatchGrid, find_patch_grid


def layer_by_hand() -> MergedLayer:
    """Six patches: 2 joins 1 with weight 0.5, 4 is dropped into 3; 0 and 5 stay alone."""
    score = torch.tensor([[0.0, 4.0, 6.0, 1.0, 0.5, 2.0]])
    match = Match(
        kept=torch.tensor([[0]]),
        src=torch.tensor([[2, 4]]),
        dst=torch.tensor([[1, 3]]),
        num_tokens=6,
        num_prefix_tokens=0,
    )
    trace = Trace([torch.nn.Identity()])
    trace.start(torch.zeros(1, 6, 2))
    weights = torch.tensor([[0.0, 0.0, 0.5, 0.0, 0.0, 0.0]])
    trace.record_merge(0, match, torch.tensor([[1.0, 1.5, 1.0, 1.0]]), score, weights)
    trace.record_tokens(0, 4)
    [layer] = merged_layers(trace, PatchGrid(1, 2, 3))
    return layer


def test_a_merge_worked_by_hand_is_put_on_its_patches() -> None:
    layer = layer_by_hand()
    assert (layer.num_tokens_before, layer.num_tokens) == (6, 4)
    assert layer.group.tolist() == [[[0, 1, 1], [2, 2, 3]]]
    assert layer.is_dropped.tolist() == [[[False, False, False], [False, True, False]]]
    assert layer.is_shared.tolist() == [[[False, True, True], [False, False, False]]]
    assert layer.num_members.tolist() == [1, 2, 1, 1]
    assert layer.first_patch.tolist() == [0, 1, 3, 5]
    assert layer.saliency is not None
    np.testing.assert_allclose(
        layer.saliency.ravel(), [0, 4 / 6, 1, 1 / 6, 0.5 / 6, 2 / 6], rtol=1e-6
    )
    assert layer.is_foreground is not None  # the mean is 2.25
    assert layer.is_foreground.ravel().tolist() == [False, True, True, False, False, False]
    assert layer.mass.tolist() == [1.0, 1.5, 1.0, 1.0]


@pytest.mark.parametrize("build", [videomae, vivit])
def test_layers_agree_with_the_trace_clip_by_clip(build) -> None:
    model, pixel_values = build(), clips()
    with patched(model, r=R, score="sharpness"), trace(model) as recorded, torch.no_grad():
        model(pixel_values)
    prefix = 1 if build is vivit else 0
    grid = PatchGrid(3, 4, 4, 2, prefix)
    before = torch.arange(48).expand(2, -1)
    for number, r in enumerate(R):
        for clip in range(2):
            layer = merged_layers(recorded, grid, clip)[number]
            record = recorded.layers[number]
            assert layer.num_tokens == 48 - sum(R[: number + 1]) == layer.num_tokens_before - r
            assert torch.equal(
                torch.from_numpy(layer.group).flatten(), record.source[clip, prefix:] - prefix
            )
            assert record.saliency is not None
            expected = record.saliency[clip][before[clip]]
            assert torch.equal(torch.from_numpy(layer.saliency).flatten(), expected)
            mask = foreground_mask(record.saliency)[clip][before[clip]] > 0
            assert torch.equal(torch.from_numpy(layer.is_foreground).flatten(), mask)
        before = recorded.layers[number].source[:, prefix:] - prefix


def test_every_token_keeps_a_patch_and_is_named_by_its_first(scene: Scene) -> None:
    for name in ("vid-TLDR", "ToMe"):
        for layer in scene.seen[name].layers:
            assert layer.num_members.min() >= 1
            assert len(set(layer.first_patch.tolist())) == layer.num_tokens
            assert (layer.group.ravel()[layer.first_patch] == np.arange(layer.num_tokens)).all()
            assert not layer.is_dropped.ravel()[layer.first_patch].any()


def test_what_was_dropped_was_background(scene: Scene) -> None:
    first = scene.seen["vid-TLDR"].layers[0]
    assert first.is_dropped.any()
    assert not (first.is_dropped & first.is_foreground).any()
    score = torch.from_numpy(first.saliency).flatten()[None]
    expected = masked_saliency(score)[0].numpy()
    merged = (first.weight.ravel() > 0) & (first.weight.ravel() < 1)
    np.testing.assert_allclose(first.weight.ravel()[merged], expected[merged], rtol=1e-5)


def test_without_a_score_there_is_no_saliency_and_nothing_is_dropped(scene: Scene) -> None:
    for layer in scene.seen["ToMe"].layers:
        assert layer.saliency is None
        assert layer.is_foreground is None
        assert not layer.is_dropped.any()
        np.testing.assert_allclose(layer.mass, layer.num_members)


def test_a_grid_of_another_clip_is_refused() -> None:
    model = videomae()
    with trace(model) as recorded, torch.no_grad():
        model(clips())
    with pytest.raises(ValueError, match="grid must have 48 patches as the traced forward, got 12"):
        merged_layers(recorded, PatchGrid(3, 2, 2))


def test_frames_of_a_model_of_images_lie_side_by_side() -> None:
    model = apply_patch(tiny_encoders.clip(), r=[5, 0, 3], score="sharpness", output="tokens")
    frames = tiny_encoders.images(batch=3)
    with trace(model) as recorded, torch.inference_mode():
        model(pixel_values=frames)
    grid = find_patch_grid(model, frames[None])
    assert (grid.shape, grid.is_per_frame, grid.num_sequences) == ((3, 5, 5), True, 3)
    layers = merged_layers(recorded, grid)
    assert [layer.layer for layer in layers] == [0, 2]
    for layer, removed in zip(layers, (5, 8), strict=True):
        assert layer.num_tokens == 3 * (25 - removed)
        for frame in range(3):
            own = merged_layers(recorded, replace(grid, num_frames=1, is_per_frame=False), frame)
            [same] = [each for each in own if each.layer == layer.layer]
            np.testing.assert_array_equal(
                layer.group[frame], same.group[0] + frame * same.num_tokens
            )
            np.testing.assert_array_equal(layer.weight[frame], same.weight[0])
            assert layer.saliency is not None
            assert same.saliency is not None
            np.testing.assert_array_equal(layer.saliency[frame], same.saliency[0])
        assert len(np.unique(layer.group)) == layer.num_tokens
        assert layer.mass.sum() == pytest.approx(layer.weight.sum(), abs=1e-3)
