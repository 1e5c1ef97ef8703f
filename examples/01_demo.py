"""Patch and compare: classify one clip with the same model unmerged and merged.

Writes a short video and a small VideoMAE, then runs `vidtldr classify --compare` on them. It prints
labels, tokens, FLOPs, time and memory of both. The weights are random, so the labels mean nothing:
put your own model and video in their place.

    python examples/01_demo.py [FOLDER]

FOLDER is demo/ by default. In Python the patch is one line, `vidtldr.apply_patch(model, r=[...])`;
README.md shows it on this model.
"""

import json
import math
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import torch
from transformers import VideoMAEConfig, VideoMAEForVideoClassification

SIDE, FRAMES, RATE = 224, 48, 24
SCHEDULE = "600,200,100"


def write_clip(path: Path) -> None:
    """Write two seconds of H.264: a bright disc crosses a noisy, slowly changing background."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuv420p"
        for t in range(FRAMES):
            background = 90 + 30 * np.sin(columns / 40 + t / 12) + rng.normal(0, 6, (SIDE, SIDE))
            picture = np.stack([background, background + 10, background + 20], axis=-1)
            x, y = 30 + 3.4 * t, SIDE / 2 + 40 * math.sin(t / 7)
            picture[(columns - x) ** 2 + (rows - y) ** 2 < 22**2] = (250, 180, 60)
            frame = av.VideoFrame.from_ndarray(
                picture.clip(0, 255).astype(np.uint8), format="rgb24"
            )
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def write_model(folder: Path) -> None:
    """Write a small VideoMAE with fixed random weights, as `save_pretrained` stores one."""
    torch.manual_seed(0)
    labels = {i: f"untrained-{i}" for i in range(5)}
    config = VideoMAEConfig(
        hidden_size=384,
        num_hidden_layers=12,
        num_attention_heads=6,
        intermediate_size=1536,
        id2label=labels,
        label2id={name: i for i, name in labels.items()},
    )
    model = VideoMAEForVideoClassification(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # The default initialisation gives near-uniform attention; this makes it selective.
            if name.endswith(("query.weight", "key.weight")):
                parameter.mul_(12)
    model.save_pretrained(folder)
    processor = {"image_processor_type": "VideoMAEImageProcessor", "size": {"shortest_edge": SIDE}}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))


def main(folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    clip, model = folder / "disc.mp4", folder / "untrained-videomae"
    write_clip(clip)
    write_model(model)
    command = [
        "vidtldr",
        "classify",
        str(clip),
        "--model",
        str(model),
        "--r",
        SCHEDULE,
        "--compare",
    ]
    print("The model is untrained: its labels mean nothing.\n$", " ".join(command), flush=True)
    return subprocess.run([sys.executable, "-m", *command], check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo")))
