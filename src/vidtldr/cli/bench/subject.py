"""The model that a speed benchmark times, and the variants it compares."""

import itertools
import json
import sys
from dataclasses import dataclass
from typing import Any

import torch

from vidtldr.bench.resident import peak_above_load
from vidtldr.bench.speed import Setting, forward_of
from vidtldr.bench.speed_variants import SpeedVariant, choose_variants, speed_variants
from vidtldr.bench.subject import BUILT_IN, Subject, build_subject, scaled_schedule
from vidtldr.budget.counts import resolve_budget
from vidtldr.cli.bench.options import SpeedOptions
from vidtldr.cli.load_model import load_model, notes_on_stderr
from vidtldr.cli.model_options import ModelOptions
from vidtldr.config import MergeConfig
from vidtldr.hosts.registry import find_host
from vidtldr.models.umt.checkpoint import load_umt
from vidtldr.patch.compiling import clear_compiler_errors
from vidtldr.tasks.load import umt_source
from vidtldr.tasks.pretrained import resolve_device, resolve_dtype
from vidtldr.tasks.quiet import quiet_transformers

__all__ = ["SpeedPlan", "SubjectName", "load_subject", "measure_peak", "plan_speed", "prepare"]


@dataclass(frozen=True)
class SubjectName:
    """A model at one size, as typed; sent to the child process.

    Attributes:
        model: As for `--model`.
        arch: As for `--arch`.
        num_frames: Number of frames; None for the model's own.
        image_size: Side of a frame, pixels; None for the model's own.
        device: Where to run.
    """

    model: str
    arch: str | None
    num_frames: int | None
    image_size: int | None
    device: str


def load_subject(name: SubjectName) -> Subject:
    """Load the model in float32, ready on its device.

    Raises:
        ValueError, TypeError, NotImplementedError, OSError, ImportError: If it cannot be loaded;
            the message says why and what to do.
    """
    device = resolve_device(name.device)
    if name.model in BUILT_IN:
        subject = build_subject(name.model, name.num_frames, name.image_size)
    elif name.image_size is not None:
        raise ValueError(
            f"--sizes must be left out for weights that are loaded, got {name.image_size}: they "
            f"have one size. Leave it out, or time one of {', '.join(BUILT_IN)}."
        )
    elif name.model.startswith("umt:"):
        subject = _load_umt(name)
    else:
        subject = _load_pretrained(name)
    subject.model.to(device)
    return subject


def _load_umt(name: SubjectName) -> Subject:
    options = ModelOptions(model=name.model, arch=name.arch, frames=name.num_frames)
    source = umt_source(options)
    with notes_on_stderr():
        umt = load_umt(source.weights, config=source.config, tokenizer=source.tokenizer)
    encoder, config = umt.vision_encoder.float().eval(), source.config
    shape = (config.num_frames, 3, config.image_size, config.image_size)
    own = BUILT_IN["umt-l16" if len(encoder.blocks) > 12 else "umt-b16"]
    return Subject(encoder, shape, scaled_schedule(encoder, own.r, own.num_tokens))


def _load_pretrained(name: SubjectName) -> Subject:
    options = ModelOptions(model=name.model, frames=name.num_frames, device="cpu", dtype="float32")
    pretrained, _ = load_model(options)
    size = pretrained.transform.fixed_size
    if size is None:
        raise ValueError(
            f"`model` must have one size of frames to be timed, got {name.model!r} whose "
            "preprocessor config has no crop_size. Add it."
        )
    model = pretrained.model.to(torch.float32)
    return Subject(model, (pretrained.num_frames, 3, *size), scaled_schedule(model))


@dataclass(frozen=True)
class SpeedPlan:
    """A model at one size.

    Attributes:
        name: What to load.
        input_shape: Shape of one clip.
        merge: What to merge, as counts or shares.
        variants: Variants to compare, the unmerged model first.
        settings: Batch sizes and dtypes.
    """

    name: SubjectName
    input_shape: tuple[int, ...]
    merge: MergeConfig
    variants: list[SpeedVariant]
    settings: list[Setting]

    def schedule(self) -> dict[str, Any]:
        """Return what is merged, ready for JSON."""
        return {"input_shape": self.input_shape, "merge": self.merge.to_dict()}


def prepare(speed: SpeedOptions) -> torch.device:
    """Check device and dtypes and set the number of threads.

    Raises:
        ValueError: If the device does not exist or does not support a dtype.
    """
    device = resolve_device(speed.device)
    for dtype in speed.parse_dtypes():
        with notes_on_stderr():
            resolve_dtype(dtype, device)  # raises if the device does not support it
    if speed.threads is not None:
        torch.set_num_threads(speed.threads)
    quiet_transformers()
    return device


def plan_speed(
    speed: SpeedOptions, config: MergeConfig | None, choices: dict[str, Any]
) -> list[SpeedPlan]:
    """Load and release the model at every size, to find all errors before hours are spent.

    Args:
        speed: Model and settings, as typed.
        config: What to merge; None for the model's default schedule.
        choices: Score and metric for that default schedule.

    Raises:
        ValueError, OSError, NotImplementedError, ImportError: If an argument, a file or an extra is
            missing or invalid.
    """
    plans = []
    for frames, side in itertools.product(speed.counts("frames"), speed.counts("sizes")):
        name = SubjectName(speed.model, speed.arch, frames, side, speed.device)
        subject = load_subject(name)
        # One schedule for all variants, dtypes and processes; speed-ups are predicted in float32.
        asked = config or MergeConfig(r=subject.r, **choices)
        merge = resolve_budget(asked, find_host(subject.model))
        variants = choose_variants(merge, speed.parse_baselines(), with_compiled=speed.compiled)
        for variant in variants:
            variant.build(subject.model)
        settings = []
        for batch, dtype in itertools.product(speed.counts("batches"), speed.parse_dtypes()):
            assert batch is not None  # it has a default
            settings.append(Setting(batch, dtype, subject.num_frames, subject.image_size))
        plans.append(SpeedPlan(name, subject.input_shape, merge, variants, settings))
        del subject  # free it before the next is loaded
    return plans


def measure_peak(order: dict[str, Any]) -> int:
    """Measure the memory peak of one variant, bytes.

    Args:
        order: `subject`, the fields of a `SubjectName`; `merge`, those of a `MergeConfig`; `peer`,
            the variant's name; `batch`, `dtype` and `num_threads`.
    """
    if order["num_threads"] is not None:
        torch.set_num_threads(order["num_threads"])
    subject = load_subject(SubjectName(**order["subject"]))
    dtype = getattr(torch, order["dtype"])
    x = subject.pixel_values(order["batch"]).to(dtype)
    variant = speed_variants(MergeConfig.from_dict(order["merge"]))[order["peer"]]
    model = variant.build(subject.model.to(dtype))
    run = forward_of(model, x)
    if variant.counts_as is not None:
        with clear_compiler_errors():
            run()  # compiling takes memory that later forward passes do not
    return peak_above_load(run, x.device)


def _main() -> None:
    """As a process of its own: read an order, measure and print one memory peak."""
    print(measure_peak(json.load(sys.stdin)))


if __name__ == "__main__":
    _main()
