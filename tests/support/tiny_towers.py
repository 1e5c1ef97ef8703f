"""Small video language models of transformers with seeded weights and spread-out attention.

Each function returns a model and what its forward takes: a few places of a text hold an image or a
clip. Towers see 25 patches of 8 x 8, or 36 where blocks of 2 x 2 are made of them.
"""

import torch
from support.tiny_encoders import SIZES, images, spread_out_weights
from torch import Tensor, nn

TEXT = {"vocab_size": 128, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
TEXT |= {"num_attention_heads": 2, "num_key_value_heads": 2}
EVEN_SIZES = SIZES | {"image_size": 48}
IMAGE, VIDEO = 100, 101  # ids of placeholders


def llava(layer: int | list[int] = -2) -> tuple[nn.Module, dict[str, Tensor]]:
    """Reads the places of CLIP's last layer but one, or of the layers named."""
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
        vision_feature_layer=layer,
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


def video_llava() -> tuple[nn.Module, dict[str, Tensor]]:
    """Has a tower for images and one for videos; reads all places of the last layer but one."""
    from transformers import (
        CLIPVisionConfig,
        Qwen2Config,
        VideoLlavaConfig,
        VideoLlavaForConditionalGeneration,
    )

    config = VideoLlavaConfig(
        vision_config=CLIPVisionConfig(**SIZES),
        text_config=Qwen2Config(**TEXT),
        image_token_index=IMAGE,
        video_token_index=VIDEO,
        image_seq_length=25,
        video_seq_length=2 * 26,
    )
    ids = torch.tensor([[1, 2, *[VIDEO] * (2 * 26), 3]])
    model = spread_out_weights(VideoLlavaForConditionalGeneration(config))
    return model, {"input_ids": ids, "pixel_values_videos": images(2)[None]}


def internvl() -> tuple[nn.Module, dict[str, Tensor]]:
    """Drops the class token and makes one token of 2 x 2, by the root of their number."""
    from transformers import (
        InternVLConfig,
        InternVLForConditionalGeneration,
        InternVLVisionConfig,
        Qwen2Config,
    )

    sizes = EVEN_SIZES | {"image_size": (48, 48), "patch_size": (8, 8)}
    config = InternVLConfig(
        vision_config=InternVLVisionConfig(
            **sizes, layer_scale_init_value=0.5, norm_type="rms_norm", use_qk_norm=True
        ),
        text_config=Qwen2Config(**TEXT),
        image_token_id=IMAGE,
        image_seq_length=9,
    )
    ids = torch.tensor([[1, 2, *[IMAGE] * (2 * 9), 3]])
    model = spread_out_weights(InternVLForConditionalGeneration(config))
    return model, {"input_ids": ids, "pixel_values": images(2, side=48)}


def smolvlm() -> tuple[nn.Module, dict[str, Tensor]]:
    """Makes one token of 2 x 2, by the root of their number."""
    from transformers import LlamaConfig, SmolVLMConfig, SmolVLMForConditionalGeneration

    config = SmolVLMConfig(
        vision_config=EVEN_SIZES,
        text_config=LlamaConfig(**TEXT, pad_token_id=0),
        image_token_id=IMAGE,
        scale_factor=2,
    )
    ids = torch.tensor([[1, 2, *[IMAGE] * (2 * 9), 3]])
    model = spread_out_weights(SmolVLMForConditionalGeneration(config))
    return model, {"input_ids": ids, "pixel_values": images(2, side=48)[None]}


def idefics3() -> tuple[nn.Module, dict[str, Tensor]]:
    """As SmolVLM."""
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration, LlamaConfig

    config = Idefics3Config(
        vision_config=EVEN_SIZES,
        text_config=LlamaConfig(**TEXT, pad_token_id=0),
        image_token_id=IMAGE,
        scale_factor=2,
    )
    ids = torch.tensor([[1, 2, *[IMAGE] * (2 * 9), 3]])
    model = spread_out_weights(Idefics3ForConditionalGeneration(config))
    return model, {"input_ids": ids, "pixel_values": images(2, side=48)[None]}


def idefics2() -> tuple[nn.Module, dict[str, Tensor]]:
    """Three learnt queries attend to every place."""
    from transformers import Idefics2Config, Idefics2ForConditionalGeneration, MistralConfig

    perceiver = {"hidden_size": 32, "resampler_n_latents": 3, "resampler_depth": 1}
    perceiver |= {"resampler_n_heads": 2, "resampler_head_dim": 16, "num_key_value_heads": 2}
    config = Idefics2Config(
        vision_config=EVEN_SIZES,
        perceiver_config=perceiver,
        text_config=MistralConfig(**TEXT, pad_token_id=0),
        image_token_id=IMAGE,
    )
    ids = torch.tensor([[1, 2, *[IMAGE] * (2 * 3), 3]])
    model = spread_out_weights(Idefics2ForConditionalGeneration(config))
    return model, {"input_ids": ids, "pixel_values": images(2, side=48)[None]}


def gemma3() -> tuple[nn.Module, dict[str, Tensor]]:
    """Averages 2 x 2 places of SigLIP's last layer."""
    from transformers import (
        Gemma3Config,
        Gemma3ForConditionalGeneration,
        Gemma3TextConfig,
        SiglipVisionConfig,
    )

    config = Gemma3Config(
        vision_config=SiglipVisionConfig(**EVEN_SIZES, vision_use_head=False),
        text_config=Gemma3TextConfig(**TEXT, head_dim=16, pad_token_id=0),
        image_token_index=IMAGE,
        mm_tokens_per_image=9,
    )
    ids = torch.tensor([[1, 2, *[IMAGE] * 9, 3]])
    model = spread_out_weights(Gemma3ForConditionalGeneration(config))
    types = (ids == IMAGE).long()
    return model, {"input_ids": ids, "pixel_values": images(1, side=48), "token_type_ids": types}


def perception_lm() -> tuple[nn.Module, dict[str, Tensor]]:
    """Perception Encoder of timm, class token dropped, 2 x 2 places pooled."""
    from transformers import LlamaConfig, PerceptionLMConfig, PerceptionLMForConditionalGeneration

    arguments = {"img_size": 48, "patch_size": 8, "embed_dim": 48, "depth": 4, "num_heads": 3}
    arguments |= {"ref_feat_shape": [6, 6], "global_pool": ""}
    config = PerceptionLMConfig(
        vision_config={
            "model_type": "timm_wrapper",
            "architecture": "vit_pe_core_tiny_patch16_384",
            "model_args": arguments,
            "hidden_size": 48,
            "initializer_range": 0.02,
        },
        text_config=LlamaConfig(**TEXT, pad_token_id=0),
        vision_use_cls_token=True,
        projector_pooling_ratio=2,
        image_token_id=IMAGE,
        video_token_id=VIDEO,
    )
    ids = torch.tensor([[1, 2, *[VIDEO] * (2 * 9), 3]])
    model = spread_out_weights(PerceptionLMForConditionalGeneration(config))
    return model, {"input_ids": ids, "pixel_values_videos": images(2, side=48)[None]}
