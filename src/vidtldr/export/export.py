"""Export a model, merged and unmerged, compare both with torch, and time them.

Letters: `B` clips, `T` frames, `S` side of a frame in pixels, `C` channels of the vector.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidtldr.budget.counts import resolved_r
from vidtldr.config import MergeConfig
from vidtldr.export.program import clip_outputs, export_program
from vidtldr.export.writers import write_program
from vidtldr.hosts.registry import find_host, is_known
from vidtldr.measure.environment import environment
from vidtldr.measure.flops import count_flops
from vidtldr.measure.gain import Gain, gain_of
from vidtldr.measure.timing import Timing, paired_ratios, time_in_turn
from vidtldr.patch.patching import trace
from vidtldr.patch.twin import merged_twin
from vidtldr.steps import OnStep, ignore_steps, steps_of
from vidtldr.tasks.clip_reader import umt_reader
from vidtldr.tasks.embed import head_of
from vidtldr.tasks.exported.engines import (
    Run,
    load_graph,
    require_packages,
    run_in_torch,
    validate_dtype,
)
from vidtldr.tasks.exported.formats import FORMATS, record_of
from vidtldr.tasks.exported.record import ExportRecord
from vidtldr.tasks.fingerprint import file_sha256, module_sha256
from vidtldr.tasks.load import load_model, load_retrieval
from vidtldr.tasks.model_spec import ModelSpec
from vidtldr.tasks.pretrained import Pretrained
from vidtldr.tasks.video_encoder import VideoEncoder

__all__ = ["Export", "export_model"]

_CPU = torch.device("cpu")
# Largest differences from torch, relative to the output. Beyond them an engine computes another
# model. Merging may choose another of two pairs that are about equally similar.
_LIMITS = {
    ("float32", "unmerged"): 1e-3,
    ("float32", "merged"): 0.05,
    ("bfloat16", "unmerged"): 0.1,
    ("bfloat16", "merged"): 0.3,
}


@dataclass(frozen=True)
class Export:
    """What was exported, and what was measured.

    Attributes:
        record: As written beside the file.
        engine: Times in the engine, by `"unmerged"` and, if something merges, `"merged"`.
        in_torch: The same in torch.
        differences: Largest difference of the outputs from torch's, relative to their size.
        flops: Floating-point operations of a clip; 1 MAC = 2 FLOPs.
    """

    record: ExportRecord
    engine: Mapping[str, Timing]
    in_torch: Mapping[str, Timing]
    differences: Mapping[str, float]
    flops: Mapping[str, int]

    @property
    def gain(self) -> Gain | None:
        """What merging gains in the engine; None if nothing merges."""
        if "merged" not in self.engine:
            return None
        return gain_of(
            self.engine["unmerged"],
            self.engine["merged"],
            flop_ratio=self.flops["merged"] / self.flops["unmerged"],
        )

    @property
    def over_torch(self) -> dict[str, float]:
        """How many times faster the exported file is than the unmerged model in torch."""
        exported = self.engine.get("merged", self.engine["unmerged"])
        return paired_ratios(self.in_torch["unmerged"], exported)

    @property
    def torch_dtype(self) -> str:
        """What torch computed in, to compare with: float32 for OpenVINO, else the same."""
        return self.record.model.dtype


@dataclass(frozen=True)
class _Subject:
    """A loaded model and what a record says of it."""

    spec: ModelSpec
    model: nn.Module
    pretrained: Pretrained
    num_channels: int
    reads_texts: bool

    @property
    def clip_shape(self) -> tuple[int, int, int, int]:
        """(T, 3, S, S).

        Raises:
            ValueError: If S depends on the video.
        """
        size = self.pretrained.transform.fixed_size
        if size is None:
            raise ValueError(
                "`model` must have a preprocessor config that gives all clips one size, got one "
                "without crop_size. Add it."
            )
        return self.pretrained.num_frames, 3, *size

    def record(
        self, merge: MergeConfig | None, format_name: str, dtype: str, num_tokens: tuple[int, ...]
    ) -> ExportRecord:
        """Make the record, as yet without files and measurements."""
        return ExportRecord(
            format=format_name,
            dtype=dtype,
            model=self.spec.with_absolute_paths(),
            weights=module_sha256(self.model),
            merge=merge,
            num_tokens=num_tokens,
            r=None if merge is None else resolved_r(merge, find_host(self.model)),
            labels=self.pretrained.labels,
            num_channels=self.num_channels,
            num_frames=self.pretrained.num_frames,
            sees_frames=self.pretrained.sees_frames,
            reads_texts=self.reads_texts,
            transform=self.pretrained.transform,
        )


def export_model(
    spec: ModelSpec,
    merge: MergeConfig | None,
    output: Path,
    *,
    format_name: str,
    dtype: str = "float32",
    num_repeats: int = 5,
    on_step: OnStep = ignore_steps,
) -> Export:
    """Export a model for any number of clips, and compare and time what was written.

    Args:
        spec: The model; its device and dtype do not count.
        merge: What to merge; None for nothing.
        output: File to write, whose ending is that of the format; a link is followed. Its record,
            `output` with `.json` behind it, is written last.
        format_name: One of `FORMATS`.
        dtype: What to compute in, one of the format's.
        num_repeats: Timed runs of each side.
        on_step: Called with what is done, the steps of it that are done, and all of them.

    Raises:
        ValueError: If the model cannot be exported, or an engine computes something else.
        NotImplementedError, TypeError, ImportError, OSError: As `load_model` and `apply_patch`.
    """
    require_packages(FORMATS[format_name], to_write=True)
    validate_dtype(format_name, dtype)
    output = Path(os.path.realpath(output))
    on_step("loading the model", 0, 1)
    subject = _load(spec, format_name, dtype)
    models = {"unmerged": subject.model}
    if merge is not None:
        models["merged"] = merged_twin(subject.model, merge)
    with TemporaryDirectory(dir=output.parent, prefix=".", suffix=".partial") as folder:
        sides: dict[str, _Side] = {}
        for name, model in models.items():
            on_step(f"exporting the {name} model", 0, 1)
            place = Path(folder) / name / output.name
            place.parent.mkdir()
            sides[name] = _exported(model, subject.clip_shape, place, format_name, dtype)
            sides[name].validate(_LIMITS[dtype, name], format_name)
        record = subject.record(merge, format_name, dtype, sides[name].num_tokens)
        export = _timed(sides, record, num_repeats, on_step)
        sides.clear()  # which hold the files open
        return replace(export, record=_moved(export, place, output))


@dataclass(frozen=True)
class _Side:
    """One of the two models: in torch, and exported.

    Attributes:
        in_engine: Runs the exported file.
        in_torch: Runs the model in torch.
        clip: One clip, shape (1, T, 3, S, S).
        difference: The largest difference between the two, relative to the outputs.
        flops: Floating-point operations of the clip.
        num_tokens: Tokens after each layer; empty if the family is not known.
    """

    in_engine: Run
    in_torch: Run
    clip: Tensor
    difference: float
    flops: int
    num_tokens: tuple[int, ...]

    def validate(self, limit: float, format_name: str) -> None:
        """Check that the engine computes this model.

        Raises:
            ValueError: If its outputs differ by more than the limit, or are not finite.
        """
        if not self.difference <= limit:
            raise ValueError(
                "`format` must be one whose engine computes this model, got "
                f"{FORMATS[format_name].engine}, whose outputs differ from torch's by "
                f"{self.difference:.1e} of their size (at most {limit:g}). Choose another, or "
                "leave out `dtype`."
            )


def _exported(
    model: nn.Module,
    clip_shape: tuple[int, int, int, int],
    place: Path,
    format_name: str,
    dtype: str,
) -> _Side:
    """Export a model to `place`, load it, and compare it with torch."""
    outputs = clip_outputs(model).eval()
    torch_dtype = next(model.parameters()).dtype
    write_program(export_program(outputs, clip_shape, torch_dtype), place, format_name, dtype)
    in_engine = load_graph(place, format_name, dtype)
    in_torch = run_in_torch(outputs, torch_dtype)
    clips = _example_clips(clip_shape)
    clip = clips[:1]
    num_tokens: tuple[int, ...] = ()
    if is_known(model):
        with trace(model) as recorded:
            in_torch(clip)
        num_tokens = tuple(recorded.num_tokens)
    difference = max(_difference(in_engine(each), in_torch(each)) for each in (clips, clip))
    flops = count_flops(lambda: in_torch(clip))
    return _Side(in_engine, in_torch, clip, difference, flops, num_tokens)


def _timed(
    sides: Mapping[str, _Side], record: ExportRecord, num_repeats: int, on_step: OnStep
) -> Export:
    """Time all models in their engine and in torch, in turn."""
    runs: dict[str, Callable[[], object]] = {}
    for name, side in sides.items():
        runs[f"{name} torch"] = partial(side.in_torch, side.clip)
        runs[name] = partial(side.in_engine, side.clip)
    on_timed = steps_of(on_step, "timing", len(runs) * (1 + num_repeats))
    timings = time_in_turn(runs, num_repeats=num_repeats, device=_CPU, on_step=on_timed)
    return Export(
        record,
        {name: timings[name] for name in sides},
        {name: timings[f"{name} torch"] for name in sides},
        {name: side.difference for name, side in sides.items()},
        {name: side.flops for name, side in sides.items()},
    )


def _moved(export: Export, place: Path, output: Path) -> ExportRecord:
    """Complete the record, and put all files in place, the record last."""
    files = [each for each in FORMATS[export.record.format].files(place) if each.exists()]
    sums = {each.name: file_sha256(each) for each in files}
    record = replace(export.record, files=sums, measured=_measured(export))
    record.write(place)
    for each in (*reversed(files), record_of(place)):
        os.replace(each, output.with_name(each.name))
    return record


def _load(spec: ModelSpec, format_name: str, dtype: str) -> _Subject:
    # OpenVINO lowers the precision of a float32 graph by itself.
    of_weights = "float32" if format_name == "openvino" else dtype
    spec = replace(spec, device="cpu", dtype=of_weights)
    if spec.is_umt:
        umt = load_retrieval(spec)
        transform = umt_reader(umt.config).transform
        pretrained = Pretrained(umt, transform, (), umt.config.num_frames)
        return _Subject(spec, umt.eval(), pretrained, umt.config.embed_dim, reads_texts=True)
    pretrained, dual = load_model(spec)
    model = pretrained.model
    if isinstance(model, VideoEncoder):
        num_channels, reads_texts = model.num_channels, dual is not None
    else:
        num_channels, reads_texts = head_of(model).in_features, False
    return _Subject(spec, model, pretrained, num_channels, reads_texts)


def _example_clips(shape: tuple[int, int, int, int]) -> Tensor:
    """Three different clips (3, T, 3, S, S) of smooth shapes that move, like footage."""
    num_frames, channels, height, width = shape
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(3, channels, 4, 7, 7, generator=generator)
    size = (num_frames, height, width)
    smooth = F.interpolate(coarse, size, mode="trilinear", align_corners=True)
    fine = torch.randn(smooth.shape, generator=generator)
    return (1.5 * smooth + 0.2 * fine).transpose(1, 2).contiguous()


def _difference(outputs: list[Tensor], expected: list[Tensor]) -> float:
    """The largest relative error of any clip's logits or vector; inf if they are not finite."""
    errors = [
        (output - each).norm(dim=-1) / each.norm(dim=-1)
        for output, each in zip(outputs, expected, strict=True)
    ]
    return torch.stack(errors).nan_to_num(nan=float("inf")).max().item()


def _measured(export: Export) -> dict[str, Any]:
    """What a record keeps of the measurements."""
    sides = {
        side: {
            "gflops": export.flops[side] / 1e9,  # 1 MAC = 2 FLOPs
            "difference_from_torch": export.differences[side],
            "median_ms": timing.median_ms,
            "times_ms": list(timing.times_ms),
            "torch_median_ms": export.in_torch[side].median_ms,
            "torch_times_ms": list(export.in_torch[side].times_ms),
        }
        for side, timing in export.engine.items()
    }
    about = environment(_CPU)
    for package in FORMATS[export.record.format].packages:
        about["versions"][package] = version(package)
    gain = {} if export.gain is None else export.gain.to_dict()
    over_torch = {"torch_dtype": export.torch_dtype, "over_torch": export.over_torch}
    return {"environment": about, **sides, **gain, **over_torch}
