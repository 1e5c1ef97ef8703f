"""Train with merging: a few steps of a small VideoMAE while it merges, then remove the patch.

The model memorises the colour of the first shape in each of eight generated clips, so the loss
falls quickly. Gradients flow through the merged tokens; which tokens merge, and by what weight,
counts as constant.

    python examples/05_train_with_merging.py [FOLDER]

Writes FOLDER/trained-videomae, an ordinary checkpoint. FOLDER is demo/ by default.
"""

import sys
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy
from transformers import VideoMAEConfig, VideoMAEForVideoClassification

import vidtldr
from vidtldr.shapes.factors import COLOURS
from vidtldr.shapes.model import normalise
from vidtldr.shapes.world import ShapesWorld

NUM_CLIPS, NUM_STEPS = 8, 40
R = [64, 32]  # tokens to remove in the first and second layer, of 256


def main(folder: Path) -> None:
    torch.manual_seed(0)
    clips = ShapesWorld().clips(range(NUM_CLIPS))
    pixel_values = normalise(clips.frames)  # (B, T, 3, S, S)
    colours = clips.factors.colour

    config = VideoMAEConfig(
        image_size=96,
        patch_size=12,
        num_frames=8,
        hidden_size=96,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=384,
        num_labels=len(COLOURS),
    )
    model = VideoMAEForVideoClassification(config).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)

    vidtldr.apply_patch(model, r=R)
    for step in range(NUM_STEPS + 1):
        loss = cross_entropy(model(pixel_values=pixel_values).logits, colours)
        optimiser.zero_grad()
        loss.backward()
        if step % 10 == 0:
            print(f"step {step}: loss {loss.item():.3f}")
        optimiser.step()

    parameters = list(model.parameters())
    num_reached = sum(parameter.grad is not None for parameter in parameters)
    print(f"{num_reached} of {len(parameters)} parameters have a gradient")

    model.eval()
    print(f"Tokens after each layer, merging: {count_tokens(model, pixel_values)}")
    vidtldr.remove_patch(model)
    print(f"Tokens after each layer, patch removed: {count_tokens(model, pixel_values)}")
    model.save_pretrained(folder / "trained-videomae")
    print(f"Wrote {folder / 'trained-videomae'}")


def count_tokens(model: torch.nn.Module, pixel_values: torch.Tensor) -> list[int]:
    with torch.inference_mode(), vidtldr.trace(model) as trace:
        model(pixel_values=pixel_values)
    return trace.num_tokens


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
