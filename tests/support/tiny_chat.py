"""Directories of small video language models with their processors, as published ones have them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support import tiny_qwen, tiny_towers
from torch import nn

WORDS = [f"word{i}" for i in range(90)]
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% else %}<{{ part['type'] }}>{% endif %} "
    "{% endfor %}{% endfor %}{% if add_generation_prompt %} word1{% endif %}"
)


PLACEHOLDERS = {"<image>": tiny_towers.IMAGE, "<video>": tiny_towers.VIDEO}
OF_QWEN = {
    "<|image_pad|>": tiny_qwen.IMAGE,
    "<|video_pad|>": tiny_qwen.VIDEO,
    "<|vision_start|>": tiny_qwen.START,
    "<|vision_end|>": tiny_qwen.END,
}


def tokenizer(placeholders: Mapping[str, int] = PLACEHOLDERS) -> Any:
    """Words by their number, word0 is 5; placeholders have the ids of the models."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3}
    vocabulary |= {word: 5 + i for i, word in enumerate(WORDS)}
    vocabulary |= placeholders
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        additional_special_tokens=list(placeholders),
    )


def write_llava(directory: Path, *, template: str | None = TEMPLATE) -> nn.Module:
    """LLaVA, which sees frames as so many images."""
    from transformers import CLIPImageProcessorPil, LlavaProcessor

    model, _ = tiny_towers.llava()
    images = CLIPImageProcessorPil(
        size={"shortest_edge": 40}, crop_size={"height": 40, "width": 40}
    )
    settings = {"patch_size": 8, "vision_feature_select_strategy": "default"}
    processor = LlavaProcessor(
        images, tokenizer(), **settings, num_additional_image_tokens=1, chat_template=template
    )
    model.save_pretrained(directory)
    processor.save_pretrained(directory)
    return model


def write_llava_onevision(directory: Path) -> nn.Module:
    """LLaVA-OneVision, which sees videos; its processor needs torchvision."""
    from transformers import (
        LlavaOnevisionImageProcessorPil,
        LlavaOnevisionProcessor,
        LlavaOnevisionVideoProcessor,
    )

    model, _ = tiny_towers.llava_onevision()
    size = {"height": 40, "width": 40}
    images = LlavaOnevisionImageProcessorPil(size=size, image_grid_pinpoints=[[40, 40]])
    videos = LlavaOnevisionVideoProcessor(size=size)
    processor = LlavaOnevisionProcessor(
        images,
        tokenizer(),
        videos,
        num_image_tokens=25,
        vision_feature_select_strategy="full",
        chat_template=TEMPLATE,
    )
    model.save_pretrained(directory)
    processor.save_pretrained(directory)
    return model


def write_qwen3_vl(directory: Path) -> nn.Module:
    """Qwen3-VL, which sees videos of any size; its processor needs torchvision."""
    from transformers import Qwen2VLImageProcessorPil, Qwen3VLProcessor, Qwen3VLVideoProcessor

    sizes = {"patch_size": 4, "temporal_patch_size": 2, "merge_size": 2}
    sizes |= {"size": {"shortest_edge": 16 * 16, "longest_edge": 40 * 40 * 8}}
    model = tiny_qwen.language_model("Qwen3VL")
    processor = Qwen3VLProcessor(
        Qwen2VLImageProcessorPil(**sizes),
        tokenizer(OF_QWEN),
        Qwen3VLVideoProcessor(**sizes),
        chat_template=TEMPLATE.replace("<{{ part['type'] }}>", "<|{{ part['type'] }}_pad|>"),
    )
    model.save_pretrained(directory)
    processor.save_pretrained(directory)
    return model
