"""Implementation of `vidtldr classify`, one video at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor, nn

from vidtldr.budget.counts import tokens_after_layers
from vidtldr.cli.load_model import notes_on_stderr
from vidtldr.cli.terminal import one_line, printable, progress, say_compiled, status
from vidtldr.config import MergeConfig
from vidtldr.hosts.registry import find_host, is_known
from vidtldr.patch.compiled_twin import CompiledTwin
from vidtldr.patch.patching import apply_patch, trace
from vidtldr.patch.twin import merged_twin
from vidtldr.tasks.classify import classify_pixels, to_pixels
from vidtldr.tasks.comparison import Comparison, compare_on_clip
from vidtldr.tasks.compiled_pretrained import compile_pretrained
from vidtldr.tasks.pretrained import Pretrained
from vidtldr.video.decode import Clip, read_clip
from vidtldr.video.sampling import Policy, Sampling

__all__ = ["Answer", "Job", "Outcome", "prepare_job", "run_job"]


@dataclass(frozen=True)
class Job:
    """A loaded model and how to use it on videos.

    Attributes:
        pretrained: The classifier, patched if a schedule was given without a comparison.
        merged: Its patched copy, to compare with; None without a comparison.
        sampling: Which frames to read.
        time_limit_seconds: Time limit for reading a video.
        num_repeats: Timed runs of each side of a comparison.
        compiled: The compiled model that replaces the classifier; None if not compiled.
        num_tokens: Tokens after each layer of the compiled model, which cannot be traced.
    """

    pretrained: Pretrained
    merged: nn.Module | None
    sampling: Sampling
    time_limit_seconds: float
    num_repeats: int
    compiled: CompiledTwin[nn.Module] | None = None
    num_tokens: tuple[int, ...] = ()

    @property
    def num_steps(self) -> int:
        """Steps per video: reading, classifying, and each side's timed runs with a warm-up."""
        return 2 if self.merged is None else 2 + 2 * (1 + self.num_repeats)


@dataclass(frozen=True)
class Answer:
    """One model's result for a clip: probabilities (K,), and tokens after each layer."""

    probabilities: Tensor
    num_tokens: list[int]


@dataclass(frozen=True)
class Outcome:
    """The outcome of a video: clip and answer, with any requested comparison, or the error."""

    video: str
    clip: Clip | None = None
    answer: Answer | None = None
    comparison: Comparison | None = None
    error: str | None = None


def prepare_job(
    pretrained: Pretrained,
    *,
    config: MergeConfig | None,
    num_repeats: int | None,
    sampling: Policy,
    stride: int,
    time_limit_seconds: float,
    compiled: bool = False,
) -> Job:
    """Patch the model and check the arguments against it before any video is read.

    Args:
        pretrained: The model.
        config: What to merge; None for nothing.
        num_repeats: Timed runs of each side; None for no comparison.
        sampling: The sampling policy.
        stride: Stride of dense sampling.
        time_limit_seconds: Time limit for reading a video.
        compiled: Whether to compile the model and report it; not for a comparison.

    Raises:
        ValueError, TypeError, NotImplementedError, ImportError: If an argument, a file or an extra
            is missing or invalid.
    """
    merged = None
    with notes_on_stderr():
        if config is not None and num_repeats is not None:
            merged = merged_twin(pretrained.model, config)
        elif config is not None:
            apply_patch(pretrained.model, config)
    frames = Sampling(pretrained.num_frames, sampling, stride)
    job = Job(pretrained, merged, frames, time_limit_seconds, num_repeats or 0)
    return _compile(job, config) if compiled else job


def _compile(job: Job, config: MergeConfig | None) -> Job:
    with status("compiling the model"):
        compiled = compile_pretrained(job.pretrained)
    say_compiled(compiled)
    num_tokens = tokens_after_layers(config, find_host(job.pretrained.model))
    return replace(job, compiled=compiled, num_tokens=tuple(num_tokens))


def run_job(job: Job, videos: Sequence[str], show: Callable[[Outcome], None]) -> list[Outcome]:
    """Classify every video and show each outcome as soon as it is available.

    A video that cannot be read or classified becomes an outcome with an error; the others continue.

    Returns:
        The outcomes, without their clips.
    """
    outcomes = []
    for number, video in enumerate(videos, start=1):
        name = (
            f"[{number}/{len(videos)}] {printable(video)}" if len(videos) > 1 else printable(video)
        )
        with progress(name, job.num_steps) as on_step:
            outcome = _outcome_of(job, video, on_step)
        show(outcome)
        outcomes.append(replace(outcome, clip=None))  # frames of many videos would fill the memory
    return outcomes


def _outcome_of(job: Job, video: str, on_step: Callable[[], None]) -> Outcome:
    try:
        clip = read_clip(
            video,
            job.sampling,
            time_limit_seconds=job.time_limit_seconds,
            transform=job.pretrained.transform,
        )
        clip = replace(clip, notes=(*clip.notes, *job.pretrained.note(*clip.size)))
        pixel_values = to_pixels(clip, job.pretrained.transform, job.pretrained.model)
        on_step()
        if job.merged is None:
            return Outcome(video, clip, _answer(job, pixel_values))
        comparison = compare_on_clip(
            job.pretrained.model,
            job.merged,
            pixel_values,
            num_repeats=job.num_repeats,
            on_step=on_step,
        )
    except (ValueError, ArithmeticError, RuntimeError, MemoryError) as error:
        # An error from one clip, even running out of memory, does not stop the others.
        return Outcome(video, error=one_line(str(error)))
    merged = comparison.merged
    return Outcome(video, clip, Answer(merged.probabilities, merged.num_tokens), comparison)


def _answer(job: Job, pixel_values: Tensor) -> Answer:
    model = job.pretrained.model
    if job.compiled is not None:
        chosen = job.compiled.model_for(pixel_values)
        return Answer(classify_pixels(chosen, pixel_values)[0], list(job.num_tokens))
    if not is_known(model):  # families without merging cannot be traced, nor can exported models
        num_tokens = list(getattr(model, "num_tokens", ()))
        return Answer(classify_pixels(model, pixel_values)[0], num_tokens)
    with trace(model) as recorded:
        probabilities = classify_pixels(model, pixel_values)[0]
    return Answer(probabilities, recorded.num_tokens)
