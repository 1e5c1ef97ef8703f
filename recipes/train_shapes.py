"""Train the bundled model: `python recipes/train_shapes.py --out runs/shapes`.

Four stages, each on more tokens than the one before, since a model learns what a shape is from two
frames as well as from eight: masked-video pretraining (unless `--pretraining-steps 0`); prompts of
one factor on clips of 2 frames; contrast, matching and answers as well on 4 frames, as UMT is
pretrained; the same on 8, as UMT is then fine-tuned on more. Merging is off: the method is
training-free. Stop it at any time; the same command goes on from the last checkpoint. Everything
that happens is a line of `log.jsonl`.

Letters: `B` clips, `N` patches of a clip.
"""

import argparse
import json
import math
import os
import random
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from masked_video import MaskedVideo
from safetensors.torch import save_file
from shapes_losses import losses, write_texts
from torch import nn
from written_out_attention import WrittenOutAttention

from vidtldr.shapes.exam import distinct_clips, encode_clips, encode_with, examine
from vidtldr.shapes.model import ShapesUMT, normalise, shapes_config
from vidtldr.shapes.world import ShapesWorld

SEED = 0
WARMUP_STEPS = 200
WEIGHT_DECAY = 0.05
MAX_GRADIENT_NORM = 1.0
CHECKPOINT_EVERY = 100
EXAM_EVERY = 400
TEMPERATURES = (0.01, 0.5)
# Contrast is divided by a small temperature: without more weight the factors that one frame shows
# at once, such as colour, would be all that is learnt.
MASKED = {"masked": 1.0}
PROMPTS_ONLY = {"prompts": 10.0}
EVERYTHING = {"prompts": 5.0, "contrast": 1.0, "matching": 1.0, "answers": 2.0}
CLIPS_OF_A_STAGE = 10**8


@dataclass(frozen=True)
class Stage:
    """A part of the training.

    Attributes:
        name: What its checkpoint is called.
        steps: How long it is.
        num_frames: Frames of its clips.
        learning_rate: Highest rate.
        weights: The losses that are taken and how much each counts.
    """

    name: str
    steps: int
    num_frames: int
    learning_rate: float
    weights: dict[str, float]


def main() -> None:
    """Run both stages, as far as they are not done yet."""
    args = parse_arguments()
    torch.manual_seed(SEED)
    args.out.mkdir(parents=True, exist_ok=True)
    model = ShapesUMT(shapes_config())
    initialise(model)
    model.to(args.device)
    rate = args.learning_rate
    stages = [
        Stage("pretraining", args.pretraining_steps, 4, rate, MASKED),
        Stage("frames2", args.steps[0], 2, rate, PROMPTS_ONLY),
        Stage("frames4", args.steps[1], 4, rate / 2, EVERYTHING),
        Stage("frames8", args.steps[2], 8, rate / 3, EVERYTHING),
    ]
    for stage in stages:
        module: nn.Module = model
        if stage.weights is MASKED:
            module = MaskedVideo(model.vision_encoder, stage.num_frames).to(args.device)
        run_stage(stage, module, args, model)
    weights = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    save_file(weights, args.out / "model.safetensors")
    print(f"wrote {args.out / 'model.safetensors'}")


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="directory of the run")
    parser.add_argument("--pretraining-steps", type=int, default=600, help="0 leaves it out")
    parser.add_argument(
        "--steps", type=int, nargs=3, default=(5000, 1500, 900), help="on 2, 4 and 8 frames"
    )
    parser.add_argument("--batch-size", type=int, default=32, help="clips a step")
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="highest")
    parser.add_argument("--exam-clips", type=int, default=128, help="validation clips of an exam")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args()


def initialise(model: nn.Module) -> None:
    """Glorot's uniform for projections, small normal words, zero biases."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv3d):
            nn.init.xavier_uniform_(module.weight.flatten(1))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)


def run_stage(stage: Stage, module: nn.Module, args: argparse.Namespace, model: ShapesUMT) -> None:
    """Train a module for a stage, going on from its checkpoint if there is one."""
    optimizer = torch.optim.AdamW(parameter_groups(module), lr=0.0, betas=(0.9, 0.98), fused=True)
    file = args.out / f"{stage.name}.pt"
    done = resume(file, module, optimizer)
    world = ShapesWorld(SEED, "train", stage.num_frames)
    started = time.monotonic()
    for step in range(done, stage.steps):
        rate = stage.learning_rate * rate_at(step, stage.steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
        parts = take_step(stage, module, optimizer, world, step, args)
        is_last = step == stage.steps - 1
        if step % 20 == 0 or is_last:
            speed = (step + 1 - done) * args.batch_size / (time.monotonic() - started)
            log(args.out, stage=stage.name, step=step, rate=rate, clips_per_second=speed, **parts)
        if (step + 1) % CHECKPOINT_EVERY == 0 or is_last:
            save(file, module, optimizer, step + 1)
        if "answers" in stage.weights and ((step + 1) % EXAM_EVERY == 0 or is_last):
            result = examine_model(model, stage.num_frames, args.exam_clips)
            log(args.out, stage=f"{stage.name} exam", step=step + 1, **result)


def parameter_groups(module: nn.Module) -> list[dict[str, object]]:
    """Matrices decay, biases, norms and the temperature do not."""
    matrices = [p for p in module.parameters() if p.ndim > 1]
    others = [p for p in module.parameters() if p.ndim <= 1]
    return [
        {"params": matrices, "weight_decay": WEIGHT_DECAY},
        {"params": others, "weight_decay": 0.0},
    ]


def rate_at(step: int, steps: int) -> float:
    """Share of the highest learning rate: a linear warm-up, then half a cosine."""
    if step < WARMUP_STEPS:
        return (step + 1) / WARMUP_STEPS
    progress = (step - WARMUP_STEPS) / max(1, steps - WARMUP_STEPS)
    return 0.5 * (1 + math.cos(math.pi * progress))


def take_step(
    stage: Stage,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    world: ShapesWorld,
    step: int,
    args: argparse.Namespace,
) -> dict[str, float]:
    """Draw a batch, learn from it and return the losses; a step depends on its number alone."""
    torch.manual_seed(SEED + step)
    # No two stages see the same clips.
    first = stage.num_frames * CLIPS_OF_A_STAGE * (1 + (stage.weights is MASKED))
    first += step * args.batch_size
    indices = torch.arange(first, first + args.batch_size, device=args.device)
    clips = world.clips(indices)
    with torch.autocast(torch.device(args.device).type, torch.bfloat16), WrittenOutAttention():
        if stage.weights is MASKED:
            noise = torch.rand(args.batch_size, num_patches(module), device=args.device)
            parts = {"masked": module(normalise(clips.frames), noise)}
        else:
            texts = write_texts(clips, random.Random(SEED + step))
            parts = losses(module, clips, texts, tuple(stage.weights))
    total = sum(stage.weights[name] * value for name, value in parts.items())
    total.backward()
    norm = nn.utils.clip_grad_norm_(module.parameters(), MAX_GRADIENT_NORM)
    if not torch.isfinite(norm):
        raise FloatingPointError(
            f"gradient of step {step} is {norm.item()}. Lower --learning-rate."
        )
    optimizer.step()
    optimizer.zero_grad()
    if stage.weights is not MASKED:
        module.temp.data.clamp_(*TEMPERATURES)
    return {name: value.item() for name, value in parts.items()} | {"norm": norm.item()}


def num_patches(module: MaskedVideo) -> int:
    """Patches of a clip."""
    return len(module.positions)


def examine_model(model: ShapesUMT, num_frames: int, num_clips: int) -> dict[str, object]:
    """What the model knows of validation clips now."""
    world = ShapesWorld(SEED, "validation", num_frames)
    model.eval()
    clips = encode_clips(encode_with(model), world, distinct_clips(world, num_clips))
    result = asdict(examine(model, clips))
    model.train()
    return result


def resume(file: Path, module: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Load a checkpoint if there is one; the number of steps that are done."""
    if not file.exists():
        return 0
    state = torch.load(file, weights_only=True, map_location="cpu")
    module.load_state_dict(state["module"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])


def save(file: Path, module: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    """Write a checkpoint; an interruption leaves the one before whole."""
    state = {"module": module.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
    torch.save(state, file.with_suffix(".partial"))
    os.replace(file.with_suffix(".partial"), file)


def log(out: Path, **values: object) -> None:
    """Append a line to the log and show it."""
    line = json.dumps(
        {name: round(v, 7) if isinstance(v, float) else v for name, v in values.items()}
    )
    print(line, flush=True)
    with (out / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write(line + "\n")


if __name__ == "__main__":
    main()
