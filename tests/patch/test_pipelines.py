"""Pipelines of transformers, and what sentence-transformers loads: the model inside merges."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support import tiny_chat, tiny_duals, tiny_encoders, tiny_files
from support.tiny_models import spread_out_weights
from torch import Tensor, nn

import vidtldr

pytest.importorskip("transformers")


def picture(seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (50, 60, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def processor(kind: str, side: int = 40) -> Any:
    import transformers

    size = {"height": side, "width": side}
    return getattr(transformers, f"{kind}ImageProcessorPil")(size=size, crop_size=size)


def image_classification(_: Path) -> tuple[Any, Callable[[Any], Any]]:
    from transformers import pipeline

    pipe = pipeline(
        "image-classification",
        model=tiny_encoders.vit(num_labels=7),
        image_processor=processor("ViT"),
    )
    return pipe, lambda pipe: [row["score"] for row in pipe(picture(), top_k=7)]


def image_features(_: Path) -> tuple[Any, Callable[[Any], Any]]:
    from transformers import pipeline

    pipe = pipeline(
        "image-feature-extraction",
        model=tiny_encoders.dinov2().dinov2,
        image_processor=processor("Bit"),
    )
    return pipe, lambda pipe: pipe(picture())


def zero_shot(directory: Path) -> tuple[Any, Callable[[Any], Any]]:
    from transformers import pipeline

    pipe = pipeline("zero-shot-image-classification", model=str(tiny_duals.write_clip(directory)))
    labels = ["yoga", "a dog", "reading book"]
    return pipe, lambda pipe: [row["score"] for row in pipe(picture(), candidate_labels=labels)]


def depth(_: Path) -> tuple[Any, Callable[[Any], Any]]:
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, pipeline

    backbone = tiny_encoders.dinov2_backbone(reshape_hidden_states=False).config
    config = DepthAnythingConfig(
        backbone_config=backbone,
        patch_size=8,
        reassemble_hidden_size=48,
        reassemble_factors=[2, 1, 0.5],
        neck_hidden_sizes=[8, 12, 16],
        fusion_hidden_size=8,
        head_hidden_size=8,
    )
    model = spread_out_weights(DepthAnythingForDepthEstimation(config))
    pipe = pipeline("depth-estimation", model=model, image_processor=processor("DPT"))
    return pipe, lambda pipe: pipe(picture())["predicted_depth"]


def video_classification(directory: Path) -> tuple[Any, Callable[[Any], Any]]:
    from transformers import pipeline

    model = tiny_files.write_videomae(directory / "model")
    film = str(tiny_files.write_video(directory / "film.mp4"))
    pipe = pipeline("video-classification", model=str(model))
    return pipe, lambda pipe: [row["score"] for row in pipe(film, top_k=3)]


def answers(directory: Path) -> tuple[Any, Callable[[Any], Any]]:
    from transformers import pipeline

    tiny_chat.write_llava(directory / "chat")
    pipe = pipeline("image-text-to-text", model=str(directory / "chat"))
    content = [{"type": "image", "image": picture()}, {"type": "text", "text": "word3 word4"}]
    messages = [{"role": "user", "content": content}]
    return pipe, lambda pipe: pipe(text=messages, max_new_tokens=16, return_full_text=False)


PIPELINES = [image_classification, image_features, zero_shot, depth, video_classification, answers]


@pytest.mark.parametrize(
    ("build", "whole"), [*((build, True) for build in PIPELINES), (image_features, False)]
)
def test_the_model_inside_a_pipeline_merges_until_the_patch_is_removed(
    build: Callable[[Path], tuple[Any, Callable[[Any], Any]]], whole: bool, tmp_path: Path
) -> None:
    pipe, run = build(tmp_path)
    patched = pipe if whole else pipe.model
    before = run(pipe)
    assert vidtldr.apply_patch(patched, r=[5, 3]) is patched
    with vidtldr.trace(patched) as trace:
        merged = run(pipe)
    assert trace.num_tokens[1] == trace.num_tokens[0] - 3
    assert not same(merged, before)
    assert vidtldr.describe(patched).r == (5, 3)
    assert vidtldr.remove_patch(patched) is patched
    assert same(run(pipe), before)
    with vidtldr.patched(patched, r=[5, 3]):
        assert same(run(pipe), merged)
    assert same(run(pipe), before)


def same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    return bool(one == other)


def test_a_pipeline_of_another_kind_of_model_is_refused() -> None:
    from transformers import BertConfig, BertModel, pipeline

    tiny = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 99}
    model = BertModel(BertConfig(**tiny, intermediate_size=32))
    pipe = pipeline("feature-extraction", model=model, tokenizer=tiny_chat.tokenizer())
    with pytest.raises(ValueError, match="model must be of a known family"):
        vidtldr.apply_patch(pipe, r=[1])


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_a_sentence_transformer_merges_in_its_images(kind: str, tmp_path: Path) -> None:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    directory = getattr(tiny_duals, f"write_{kind}")(tmp_path / "model")
    model = sentence_transformers.SentenceTransformer(str(directory), device="cpu")
    texts, images = ["yoga", "a dog"], [picture(0), picture(1)]
    before, of_texts = model.encode(images), model.encode(texts)
    vidtldr.apply_patch(model, r=[5, 3])
    assert not np.array_equal(model.encode(images), before)
    assert np.array_equal(model.encode(texts), of_texts)
    vidtldr.remove_patch(model)
    assert np.array_equal(model.encode(images), before)
    assert isinstance(model, nn.Module)
