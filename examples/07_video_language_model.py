"""Merge in a video language model's vision tower; the language model reads as many tokens as ever.

The model is a small LLaVA-OneVision with random weights, so what it says means nothing; a published
one is loaded and called in the same way.

    python examples/07_video_language_model.py

Prints tokens, times and whether removing the patch restores the answer.
"""

import time

import torch
from torch.nn.functional import interpolate
from transformers import (
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    Qwen2Config,
    SiglipVisionConfig,
)

import vidtldr
from vidtldr.shapes.model import normalise
from vidtldr.shapes.world import ShapesWorld

SIDE, PATCH, VIDEO_TOKEN = 336, 14, 999
NUM_ROUNDS = 3


def main() -> None:
    torch.manual_seed(0)
    frames = normalise(ShapesWorld().clips(range(1)).frames)[0, ::2]  # (T, 3, S, S)
    frames = interpolate(frames, size=(SIDE, SIDE), mode="bicubic", antialias=True)
    places_of_frame = (SIDE // PATCH // 2) ** 2  # the model averages 2 x 2 of them
    ids = [1, *[VIDEO_TOKEN] * (len(frames) * places_of_frame + 1), 5, 6]
    inputs = {"input_ids": torch.tensor([ids]), "pixel_values_videos": frames[None]}

    tower = SiglipVisionConfig(
        image_size=SIDE,
        patch_size=PATCH,
        hidden_size=192,
        num_hidden_layers=12,
        num_attention_heads=3,
        intermediate_size=768,
        vision_use_head=False,
    )
    language = Qwen2Config(
        vocab_size=1000,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    config = LlavaOnevisionConfig(
        vision_config=tower, text_config=language, video_token_index=VIDEO_TOKEN
    )
    model = LlavaOnevisionForConditionalGeneration(config).eval()

    before, unmerged_ms = answer(model, inputs)
    vidtldr.apply_patch(model, flop_ratio=0.6)
    with vidtldr.trace(model) as trace:
        _, merged_ms = answer(model, inputs)
    print(f"Tokens after each layer of the tower: {trace.num_tokens}")
    print(f"Tokens that the language model reads: {len(ids)}, as before")
    print(f"Time to the first token: {unmerged_ms:.0f} ms unmerged, {merged_ms:.0f} ms merged")

    vidtldr.remove_patch(model)
    after, _ = answer(model, inputs)
    print(f"The same answer after removing the patch: {torch.equal(before, after)}")


def answer(
    model: LlavaOnevisionForConditionalGeneration, inputs: dict[str, torch.Tensor]
) -> tuple[torch.Tensor, float]:
    """The generated tokens, and the fastest time to the first of them in milliseconds."""
    times = []
    for _ in range(NUM_ROUNDS):
        start = time.perf_counter()
        model.generate(**inputs, max_new_tokens=1, do_sample=False)
        times.append((time.perf_counter() - start) * 1e3)
    return model.generate(**inputs, max_new_tokens=8, do_sample=False), min(times)


if __name__ == "__main__":
    main()
