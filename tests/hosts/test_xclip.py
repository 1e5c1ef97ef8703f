"""X-CLIP: messages between frames, and what reads patches behind the tower."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from support import tiny_encoders
from support.tiny_encoders import images
from torch import Tensor, nn

import vidtldr
from vidtldr.budget.counts import latency_model
from vidtldr.hosts.registry import find_host

IDS = torch.tensor([[97, 5, 6, 98], [97, 7, 8, 98]])


def logits(model: nn.Module, clips: Tensor) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(input_ids=IDS, pixel_values=clips).logits_per_video
    return found


def clips(batch: int = 3) -> Tensor:
    return images(2 * batch).unflatten(0, (batch, 2))


def test_prompts_read_every_place_so_the_whole_model_takes_only_the_grid() -> None:
    model = tiny_encoders.xclip_model()
    with pytest.raises(NotImplementedError, match=r"XCLIPModel, which needs .* output='grid'"):
        vidtldr.apply_patch(model, r=[5], output="tokens")
    with pytest.raises(NotImplementedError, match="pooling must be 'tokens' for XCLIPModel"):
        vidtldr.apply_patch(model, r=[5], pooling="mass")
    before = logits(model, clips())
    vidtldr.apply_patch(model, r=[5, 0, 4])
    with torch.no_grad():
        outputs = model(input_ids=IDS, pixel_values=clips())
    assert outputs.vision_model_output.last_hidden_state.shape == (6, 26, 48)
    assert outputs.logits_per_video.shape == (3, 2)
    assert not torch.equal(outputs.logits_per_video, before)
    vidtldr.remove_patch(model)
    assert torch.equal(logits(model, clips()), before)


def test_equal_neighbours_that_merge_change_no_logit() -> None:
    """Prompts, too, see what they saw: each place has its token back."""
    model = tiny_encoders.xclip_model().double()
    with torch.no_grad():
        model.vision_model.embeddings.position_embedding.weight.zero_()
    pixels = torch.ones(1, 2, 3, 40, 40).double()
    pixels[..., 16:24, :16] = 0.0  # patches 10 and 11, a pair
    before = logits(model, pixels)
    vidtldr.apply_patch(model, r=[12], score=None)
    assert torch.allclose(logits(model, pixels), before, atol=1e-9)


def test_other_encoders_of_the_model_are_not_touched() -> None:
    model = vidtldr.apply_patch(tiny_encoders.xclip_model(), r=[5, 4])
    changed = [name for name, module in model.named_modules() if "forward" in vars(module)]
    assert changed == [f"vision_model.encoder.layers.{layer}" for layer in range(4)]


def test_video_features_of_the_tower_alone_may_come_from_tokens() -> None:
    model = tiny_encoders.xclip_model()
    vidtldr.apply_patch(model.vision_model, r=[5, 4])
    with torch.no_grad(), vidtldr.trace(model.vision_model) as trace:
        features = model.get_video_features(clips()).pooler_output
    assert features.shape == (3, 32)
    assert trace.num_tokens == [21, 17, 17, 17]


def test_messages_pass_between_the_frames_of_a_clip_and_no_others() -> None:
    model = vidtldr.apply_patch(tiny_encoders.xclip().double(), r=[5, 0, 4])
    frames = images(4).double()
    with torch.no_grad():
        before = model(frames).pooler_output
        frames[3] += 1.0
        after = model(frames).pooler_output
    changed = (after - before).abs().amax(-1) > 1e-9
    assert changed.tolist() == [False, False, True, True]


def test_the_message_has_mass_one_and_no_place_in_the_source_map() -> None:
    model = vidtldr.apply_patch(tiny_encoders.xclip(), r=[5, 0, 4])
    host = find_host(model)
    mass = torch.rand(2, 17) + 1
    of_keys = host.mass_of_keys(host.blocks[0], mass)
    assert torch.equal(of_keys, torch.cat([mass, torch.ones(2, 1)], dim=1))
    with torch.no_grad(), vidtldr.trace(model) as trace:
        hidden = model(images(2)).last_hidden_state
    assert trace.source.shape == (2, 26)
    assert trace.mass.shape == hidden.shape[:2] == (2, 17)


@pytest.mark.filterwarnings("ignore:the latency of this device is not kept")
@pytest.mark.parametrize("build", [tiny_encoders.xclip, tiny_encoders.timesformer])
def test_times_of_layers_are_measured_for_targets_of_speed(
    build: Callable[[], nn.Module], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDTLDR_CACHE", str(tmp_path))
    model = latency_model(find_host(build()), vidtldr.MergeConfig(r=[5]))
    assert (model.num_tokens, model.num_prefix_tokens) == (26, 1)
    assert model.seconds([5]) > 0
