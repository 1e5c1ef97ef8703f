"""Train the bundled model: `python recipes/shapes/train.py --out runs/shapes`.

Masked video first (with `--pretraining-steps`), then the objects in single frames and in whole
clips, then texts as well, on four frames of a clip and finally on whole clips. One frame teaches
shapes as well as eight do, in an eighth of the time. Merging is off: the method is training-free.
Training can be stopped at any time; the same command resumes from the last checkpoint. Everything
is logged to `log.jsonl`.

Letters: `B` clips, `N` patches of a clip.
"""

import argparse
import json
import math
import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from local_start import keep_places, start_local
from losses import text_losses, write_texts
from masked_video import MaskedVideo
from patch_words import PatchWords
from safetensors.torch import load_file, save_file
from some_frames import encode_frames
from torch import Tensor, nn
from written_out_attention import WrittenOutAttention

from vidtldr.shapes.exam import distinct_clips, encode_clips, encode_with, examine
from vidtldr.shapes.model import ShapesUMT, normalise, shapes_config
from vidtldr.shapes.world import ShapesClips, ShapesWorld

SEED = 0
WARMUP_STEPS = 50
WEIGHT_DECAY = 0.05
MAX_GRADIENT_NORM = 5.0
RATE_OF_LAST = 0.4  # share of the peak learning rate
CHECKPOINT_EVERY = 100
EXAM_EVERY = 300
TEMPERATURES = (0.01, 0.5)
# Contrast is divided by a small temperature: without more weight, only the factors that one frame
# shows at once, such as colour, would be learnt.
WEIGHTS = {
    "masked": 1.0,
    "words": 1.0,
    "vectors": 1.0,
    "prompts": 5.0,
    "contrast": 1.0,
    "matching": 1.0,
    "answers": 2.0,
}
PRETRAINING_FRAMES = 4
FIRST_OF_PRETRAINING = 10**8  # pretraining clips are not seen again


@dataclass(frozen=True)
class Stage:
    """One training stage.

    Attributes:
        name: Name in the log.
        steps: Number of steps.
        num_frames: Frames used of each clip.
        num_clips: Clips per step.
        points: Whether patches learn to point as well. Not from the start: shapes, the hardest to
            see in one frame, would not be learnt until pointing is.
        reads: Whether texts are learnt as well.
    """

    name: str
    steps: int
    num_frames: int
    num_clips: int
    points: bool
    reads: bool


class ShapesTraining(nn.Module):
    """The model, with the heads used only in training."""

    def __init__(self, model: ShapesUMT) -> None:
        super().__init__()
        self.model = model
        self.patch_words = PatchWords(model.config.hidden_size, model.config.patch_size)


def main() -> None:
    """Run all stages that are not done yet."""
    args = parse_arguments()
    torch.manual_seed(SEED)
    args.out.mkdir(parents=True, exist_ok=True)
    model = ShapesUMT(shapes_config())
    initialise(model)
    if args.start_from is not None:
        model.load_state_dict({k: v.float() for k, v in load_file(args.start_from).items()})
    keep_places(model.vision_encoder)
    training = ShapesTraining(model).to(args.device)
    pretrain(model, args)
    train(training, stages_of(args, model.config.num_frames), args)
    weights = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    save_file(weights, args.out / "model.safetensors")
    print(f"wrote {args.out / 'model.safetensors'}")


def stages_of(args: argparse.Namespace, whole: int) -> list[Stage]:
    """The stages from the command line; those on whole clips (`whole` frames) halve the batch."""
    objects1, objects8, texts4, texts8 = args.steps
    few, many = args.batch_size // 2, args.batch_size
    return [
        Stage("objects1", objects1, 1, many, points=False, reads=False),
        Stage("objects8", objects8, whole, few, points=True, reads=False),
        Stage("texts4", texts4, 4, many, points=True, reads=True),
        Stage("texts8", texts8, whole, few, points=True, reads=True),
    ]


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="directory of the run")
    parser.add_argument("--start-from", type=Path, help="weights of a run to go on from")
    parser.add_argument(
        "--pretraining-steps", type=int, default=0, help="of masked video, before all"
    )
    parser.add_argument(
        "--steps",
        type=int,
        nargs=4,
        default=(1200, 1000, 1100, 1100),
        help="on objects in 1 and in all frames, on texts with 4 and with all",
    )
    parser.add_argument("--batch-size", type=int, default=32, help="clips a step, at least 4")
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="highest")
    parser.add_argument("--exam-clips", type=int, default=128, help="validation clips of an exam")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    if args.batch_size < 4:
        parser.error(
            f"--batch-size must be at least 4, got {args.batch_size}: whole clips take half as "
            "many, and a clip is compared with another. Pass 4 or more."
        )
    return args


def initialise(model: ShapesUMT) -> None:
    """Start vision as local; the rest gets small normal embeddings and Xavier linear layers."""
    start_local(model.vision_encoder)
    vision = set(model.vision_encoder.modules())
    for module in model.modules():
        if module in vision:
            continue
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)


def pretrain(model: ShapesUMT, args: argparse.Namespace) -> None:
    """Pretrain the vision encoder on masked patches."""
    steps = args.pretraining_steps
    module = MaskedVideo(model.vision_encoder).to(args.device)
    run = Run(module, args.out / "pretraining.pt", args)
    num_patches = PRETRAINING_FRAMES * model.vision_encoder.encoder.num_patches

    def masked(frames: Sequence[int], clips: ShapesClips) -> tuple[dict[str, Tensor], Scores]:
        noise = torch.rand(args.batch_size, num_patches, device=args.device)
        return {"masked": module(normalise(clips.frames), frames, noise)}, {}

    for step in range(run.done, steps):
        first = FIRST_OF_PRETRAINING + step * args.batch_size
        clips = range(first, first + args.batch_size)
        rate = args.learning_rate * rate_at(step, steps)
        run.take_step("pretraining", step, steps, rate, clips, PRETRAINING_FRAMES, masked)


def train(training: ShapesTraining, stages: list[Stage], args: argparse.Namespace) -> None:
    """Train on objects and texts, stage by stage."""
    model = training.model
    run = Run(training, args.out / "training.pt", args)
    step = 0
    for stage in stages:
        last = step + stage.steps
        for now in range(max(step, run.done), last):

            def see(
                frames: Sequence[int], clips: ShapesClips, stage: Stage = stage, now: int = now
            ) -> tuple[dict[str, Tensor], Scores]:
                video = encode_frames(model.vision_encoder, normalise(clips.frames), frames)
                parts, right = training.patch_words(video.tokens, clips, points=stage.points)
                if stage.reads:
                    texts = write_texts(clips, random.Random(SEED + now))
                    parts |= text_losses(model, video, texts)
                return parts, right

            first = now * args.batch_size
            indices = range(first, first + stage.num_clips)
            rate = args.learning_rate * rate_in(stages, now)
            run.take_step(stage.name, now, last, rate, indices, stage.num_frames, see)
            model.temp.data.clamp_(*TEMPERATURES)
            if stage.reads and ((now + 1) % EXAM_EVERY == 0 or now == last - 1):
                run.log(stage=f"{stage.name} exam", step=now + 1, **exam(model, args.exam_clips))
        step = last


Scores = dict[str, float]


class Run:
    """A module, its optimizer, its checkpoint and the log.

    Args:
        module: The module being trained.
        file: Its checkpoint; training resumes from it if it exists.
        args: The command line.
    """

    def __init__(self, module: nn.Module, file: Path, args: argparse.Namespace) -> None:
        self.module = module
        self.file = file
        self.args = args
        self.optimizer = torch.optim.AdamW(
            parameter_groups(module), lr=0.0, betas=(0.9, 0.98), fused=True
        )
        self.world = ShapesWorld(SEED, "train")
        self.done = self._resume()

    def take_step(
        self,
        stage: str,
        step: int,
        last: int,
        rate: float,
        indices: range,
        num_frames: int,
        see: Callable[[Sequence[int], ShapesClips], tuple[dict[str, Tensor], Scores]],
    ) -> None:
        """Draw a batch and train on it; all random draws depend on the step number alone.

        Args:
            stage: Name of the stage.
            step: Step number.
            last: Number of the stage's last step plus one.
            rate: Learning rate.
            indices: Indices of the batch's clips.
            num_frames: Frames to draw of each clip.
            see: Returns the losses, and scores to log, of those frames.
        """
        began = time.monotonic()
        torch.manual_seed(SEED + step)
        frames = sorted(random.Random(step).sample(range(self.world.num_frames), num_frames))
        device = torch.device(self.args.device)
        clips = self.world.clips(torch.tensor(indices, device=device), frames)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast(device.type, torch.bfloat16), WrittenOutAttention():
            parts, scores = see(frames, clips)
        torch.stack([WEIGHTS[name] * value for name, value in parts.items()]).sum().backward()
        norm = nn.utils.clip_grad_norm_(self.module.parameters(), MAX_GRADIENT_NORM)
        if not torch.isfinite(norm):
            raise FloatingPointError(
                f"gradient of step {step} is {norm.item()}. Lower --learning-rate."
            )
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.done = step + 1
        if step % 20 == 0 or step == last - 1:
            speed = len(indices) / (time.monotonic() - began)
            values = {name: value.item() for name, value in parts.items()}
            scores = {**values, **scores, "norm": norm.item(), "clips_per_second": speed}
            self.log(stage=stage, step=step, rate=rate, **scores)
        if self.done % CHECKPOINT_EVERY == 0 or step == last - 1:
            self._save()

    def log(self, **values: object) -> None:
        """Append a line to the log and show it."""
        line = json.dumps(
            {name: round(v, 6) if isinstance(v, float) else v for name, v in values.items()}
        )
        print(line, flush=True)
        with (self.args.out / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def _resume(self) -> int:
        """Load the checkpoint, if any; return the number of steps done."""
        if not self.file.exists():
            return 0
        state = torch.load(self.file, weights_only=True, map_location="cpu")
        self.module.load_state_dict(state["module"])
        self.optimizer.load_state_dict(state["optimizer"])
        return int(state["step"])

    def _save(self) -> None:
        """Write the checkpoint atomically; an interruption leaves the previous one intact."""
        state = {
            "module": self.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.done,
        }
        torch.save(state, self.file.with_suffix(".partial"))
        os.replace(self.file.with_suffix(".partial"), self.file)


def parameter_groups(module: nn.Module) -> list[dict[str, object]]:
    """Apply weight decay to matrices, not to biases, norms and the temperature."""
    matrices = [p for p in module.parameters() if p.ndim > 1]
    others = [p for p in module.parameters() if p.ndim <= 1]
    return [
        {"params": matrices, "weight_decay": WEIGHT_DECAY},
        {"params": others, "weight_decay": 0.0},
    ]


def rate_in(stages: list[Stage], step: int) -> float:
    """Share of the peak learning rate: one cosine for all stages but the last, then another."""
    *others, last = (stage.steps for stage in stages)
    if step < sum(others):
        return rate_at(step, sum(others))
    return RATE_OF_LAST * rate_at(step - sum(others), last)


def rate_at(step: int, steps: int) -> float:
    """Share of the peak learning rate: a linear warm-up, then half a cosine."""
    if step < WARMUP_STEPS:
        return (step + 1) / WARMUP_STEPS
    progress = (step - WARMUP_STEPS) / max(1, steps - WARMUP_STEPS)
    return 0.5 * (1 + math.cos(math.pi * progress))


def exam(model: ShapesUMT, num_clips: int) -> dict[str, object]:
    """Evaluate the model on validation clips."""
    world = ShapesWorld(SEED, "validation")
    model.eval()
    clips = encode_clips(encode_with(model), world, distinct_clips(world, num_clips))
    result = asdict(examine(model, clips))
    model.train()
    return result


if __name__ == "__main__":
    main()
