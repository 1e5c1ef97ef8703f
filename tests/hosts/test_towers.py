"""Vision towers inside language models: the grid, so that the model around them is unchanged."""

from typing import Any

import pytest
import torch
from support.tiny_encoders import SIZES, images, spread_out_weights
from torch import Tensor, nn

import vidtldr
from vidtldr.hosts.registry import find_host

TEXT = {"vocab_size": 128, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
TEXT |= {"num_attention_heads": 2, "num_key_value_heads": 2}
IMAGE, VIDEO = 100, 101  # ids of placeholders


def llava() -> tuple[nn.Module, dict[str, Tensor]]:
    """Reads the places of CLIP's last layer but one."""
    from transformers import (
        CLIPVisionConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        Qwen2Config,
    )

    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**SIZES),
        text_config=Qwen2Config(**TEXT),
        image_token_index=IMAGE,
        image_seq_length=25,
    )
    ids = torch.tensor([[1, 2, *[IMAGE] * 25, 3]])
    model = spread_out_weights(LlavaForConditionalGeneration(config))
    return model, {"input_ids": ids, "pixel_values": images(1)}


def llava_onevision() -> tuple[nn.Module, dict[str, Tensor]]:
    """Lays the tokens of every frame out on their grid and pools 2 x 2 of them."""
    from transformers import (
        LlavaOnevisionConfig,
        LlavaOnevisionForConditionalGeneration,
        Qwen2Config,
        SiglipVisionConfig,
    )

    config = LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(**SIZES | {"vision_use_head": False}),
        text_config=Qwen2Config(**TEXT),
        image_token_index=IMAGE,
        video_token_index=VIDEO,
        image_grid_pinpoints=[[40, 40]],
    )
    ids = torch.tensor([[1, 2, *[VIDEO] * (2 * 9 + 1), 3]])
    model = spread_out_weights(LlavaOnevisionForConditionalGeneration(config))
    return model, {"input_ids": ids, "pixel_values_videos": images(2)[None]}


def llava_next_video() -> tuple[nn.Module, dict[str, Tensor]]:
    """Reads the places of CLIP's last layer but one, and averages 2 x 2 of every frame."""
    from transformers import (
        CLIPVisionConfig,
        LlavaNextVideoConfig,
        LlavaNextVideoForConditionalGeneration,
        Qwen2Config,
    )

    config = LlavaNextVideoConfig(
        vision_config=CLIPVisionConfig(**SIZES),
        text_config=Qwen2Config(**TEXT),
        image_token_index=IMAGE,
        video_token_index=VIDEO,
        image_grid_pinpoints=[[40, 40]],
    )
    ids = torch.tensor([[1, 2, *[VIDEO] * (2 * 4), 3]])
    model = spread_out_weights(LlavaNextVideoForConditionalGeneration(config))
    return model, {"input_ids": ids, "pixel_values_videos": images(2)[None]}


TOWERS = [llava, llava_onevision, llava_next_video]


@pytest.mark.parametrize("build", TOWERS)
def test_a_tower_passes_on_the_grid_and_the_language_model_is_unchanged(build: Any) -> None:
    model, inputs = build()
    with torch.no_grad():
        before = model(**inputs).logits
        vidtldr.apply_patch(model, r=[5, 0, 4])
        root = find_host(model).root
        patched = [module for module in model.modules() if "forward" in vars(module)]
        assert {id(module) for module in patched} <= {id(module) for module in root.modules()}
        with vidtldr.trace(model) as trace:
            merged = model(**inputs).logits
        assert trace.num_tokens[-1] == trace.source.shape[1] - 9
        assert merged.shape == before.shape
        assert merged.isfinite().all()
        assert not torch.equal(merged, before)
        vidtldr.remove_patch(model)
        assert torch.equal(model(**inputs).logits, before)


@pytest.mark.parametrize("build", TOWERS)
def test_a_tower_refuses_to_hand_on_fewer_tokens(build: Any) -> None:
    model, _ = build()
    with pytest.raises(NotImplementedError, match="output='grid'"):
        vidtldr.apply_patch(model, r=[5], output="tokens")


@pytest.mark.parametrize("build", TOWERS)
def test_merging_equal_patches_changes_no_answer(build: Any) -> None:
    """Every even patch equals its odd neighbour and positions are zero, so merging is exact."""
    model, inputs = build()
    model = model.double()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "position_embedding" in name:
                parameter.zero_()
        key = next(name for name in inputs if name.startswith("pixel_values"))
        patches = inputs[key].double().unfold(-2, 8, 8).unfold(-2, 8, 8).flatten(-4, -3)
        patches[..., 0:24:2, :, :] = patches[..., 1:24:2, :, :]
        inputs[key] = patches.unflatten(-3, (5, 5)).transpose(-3, -2).flatten(-2).flatten(-3, -2)
        expected = model(**inputs).logits
        vidtldr.apply_patch(model, r=[12], score=None)
        assert torch.allclose(model(**inputs).logits, expected, atol=1e-9)
