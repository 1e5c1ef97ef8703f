"""Small CLIP and SigLIP directories with real tokenizers, and other image models, on disk."""

import json
from pathlib import Path
from typing import Any

from support import tiny_encoders
from support.tiny_files import write_model
from support.tiny_models import spread_out_weights
from torch import nn

_TOWER: dict[str, Any] = {
    "hidden_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 3,
    "intermediate_size": 96,
}
_VISION = _TOWER | {"image_size": 40, "patch_size": 8}
SIDE = {"size": {"height": 40, "width": 40}, "do_center_crop": False}
CLIP_PROCESSOR = {"image_processor_type": "CLIPImageProcessor", **SIDE}
SIGLIP_PROCESSOR = {"image_processor_type": "SiglipImageProcessor", **SIDE}


def clip_model() -> nn.Module:
    """25 patches and a class token; texts of 514 possible tokens."""
    from transformers import CLIPConfig, CLIPModel

    ids = {"bos_token_id": 512, "eos_token_id": 513, "pad_token_id": 513}
    text = _TOWER | {"vocab_size": 514, "max_position_embeddings": 40} | ids
    config = CLIPConfig(text_config=text, vision_config=_VISION, projection_dim=16)
    return _with_scale(spread_out_weights(CLIPModel(config)))


def siglip_model() -> nn.Module:
    """25 patches and a probe; texts of 64 possible tokens."""
    from transformers import SiglipConfig, SiglipModel

    ids = {"pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 1}
    text = _TOWER | {"vocab_size": 64, "max_position_embeddings": 32, "projection_size": 48} | ids
    return _with_scale(
        spread_out_weights(SiglipModel(SiglipConfig(text_config=text, vision_config=_VISION)))
    )


def _with_scale(model: Any) -> nn.Module:
    """Logits of a few units, as trained models have them."""
    model.logit_scale.data.fill_(2.0)
    if hasattr(model, "logit_bias"):
        model.logit_bias.data.fill_(-3.0)
    module: nn.Module = model
    return module


def write_clip(directory: Path) -> Path:
    """With CLIP's own tokenizer, that knows letters alone."""
    write_model(directory, clip_model(), CLIP_PROCESSOR)
    _write_clip_tokenizer(directory)
    return directory


def _write_clip_tokenizer(directory: Path) -> None:
    from transformers import CLIPTokenizer

    letters = _letters_of_bytes()
    names = [*letters, *(f"{letter}</w>" for letter in letters)]
    vocabulary = {name: i for i, name in enumerate([*names, "<|startoftext|>", "<|endoftext|>"])}
    CLIPTokenizer(vocab=vocabulary, merges=[]).save_pretrained(directory)


def write_xclip(directory: Path) -> Path:
    """Four frames, that talk to each other by messages; CLIP's tokenizer."""
    from transformers import XCLIPConfig, XCLIPModel

    ids = {"bos_token_id": 512, "eos_token_id": 513, "pad_token_id": 513}
    text = _TOWER | {"vocab_size": 514, "max_position_embeddings": 40} | ids
    vision = _VISION | {"num_frames": 4, "mit_hidden_size": 16, "mit_intermediate_size": 32}
    vision |= {"mit_num_hidden_layers": 1, "mit_num_attention_heads": 2}
    config = XCLIPConfig(
        text_config=text, vision_config=vision, projection_dim=16, prompt_num_attention_heads=2
    )
    model = _with_scale(spread_out_weights(XCLIPModel(config)))
    write_model(directory, model, CLIP_PROCESSOR)
    _write_clip_tokenizer(directory)
    return directory


def write_siglip(directory: Path) -> Path:
    """With a tokenizer of SentencePiece's kind, that knows letters alone."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    write_model(directory, siglip_model(), SIGLIP_PROCESSOR)
    letters = [*"abcdefghijklmnopqrstuvwxyz0123456789.,'-", "▁"]
    pieces = [("<unk>", 0.0), ("</s>", 0.0), ("<s>", 0.0), *((each, -1.0) for each in letters)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()  # type: ignore[assignment]
    tokenizer.decoder = decoders.Metaspace()  # type: ignore[assignment]
    tokenizer.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>", pad_token="</s>"
    ).save_pretrained(directory)
    return directory


def write_dinov2(directory: Path) -> Path:
    """An image encoder that reads no texts."""
    from transformers import Dinov2Config, Dinov2Model

    sizes = {name: size for name, size in _VISION.items() if name != "intermediate_size"}
    model = spread_out_weights(Dinov2Model(Dinov2Config(**sizes, mlp_ratio=2)))
    return write_model(directory, model, {"image_processor_type": "BitImageProcessor", **SIDE})


def write_vit(directory: Path) -> Path:
    """An image classifier."""
    names = {i: f"thing {i}" for i in range(5)}
    model = tiny_encoders.vit(id2label=names, label2id={name: i for i, name in names.items()})
    return write_model(directory, model, {"image_processor_type": "ViTImageProcessor", **SIDE})


def write_vjepa2(directory: Path) -> Path:
    """A classifier of clips with rotary positions."""
    names = {i: f"act {i}" for i in range(5)}
    model = tiny_encoders.vjepa2(id2label=names, label2id={name: i for i, name in names.items()})
    processor = {"video_processor_type": "VJEPA2VideoProcessor", "crop_size": 24}
    write_model(directory, model, {})
    (directory / "preprocessor_config.json").unlink()
    (directory / "video_preprocessor_config.json").write_text(json.dumps(processor))
    return directory


def write_timesformer(directory: Path) -> Path:
    """A classifier of clips with attention over time and within frames."""
    names = {i: f"act {i}" for i in range(7)}
    labels = {"id2label": names, "label2id": {name: i for i, name in names.items()}}
    model = tiny_encoders.timesformer(**labels)
    return write_model(directory, model, {"image_processor_type": "VideoMAEImageProcessor", **SIDE})


def _letters_of_bytes() -> list[str]:
    """The 256 letters that byte-level tokenizers write bytes with."""
    from tokenizers.pre_tokenizers import ByteLevel

    return sorted(ByteLevel.alphabet())
