"""The work of `vidtldr classify`, a video at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import Tensor, nn

from vidtldr.bench.comparison import Comparison, compare_on_clip, merged_twin
from vidtldr.cli.progress import progress, status
from vidtldr.cli.say_compiled import say_compiled
from vidtldr.cli.text import one_line, printable
from vidtldr.hosts.budget import tokens_after_layers
from vidtldr.hosts.compiled_twin import CompiledTwin
from vidtldr.hosts.config import MergeConfig
from vidtldr.hosts.patching import apply_patch, trace
from vidtldr.hosts.registry import find_host, is_known
from vidtldr.tasks.classify import classify_pixels, to_pixels
from vidtldr.tasks.compiled_classifier import compile_classifier
from vidtldr.tasks.pretrained import Pretrained
from vidtldr.video.decode import Clip, read_clip
from vidtldr.video.sampling import Policy, Sampling

__all__ = ["Answer", "Job", "Outcome", "prepare_job", "run_job"]


@dataclass(frozen=True)
class Job:
    """A loaded model and how to use it on videos.

    Attributes:
        pretrained: The classifier, patched if a schedule was given without a comparison.
        merged: Its patched twin, to compare with; None without a comparison.
        sampling: Which frames to read.
        time_limit_seconds: When to give up reading a video.
        num_repeats: Timed runs of each side of a comparison.
        compiled: What runs instead of the classifier; None without.
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
        """Steps of one video: reading, answering, and timed runs with a warm-up of each side."""
        return 2 if self.merged is None else 2 + 2 * (1 + self.num_repeats)


@dataclass(frozen=True)
class Answer:
    """What one model says of a clip: probabilities (K,), and tokens after each layer."""

    probabilities: Tensor
    num_tokens: list[int]


@dataclass(frozen=True)
class Outcome:
    """One video: its clip and answer, with a comparison if one was asked for, or the error."""

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
    """Merge in the model and check the arguments against it, before any video is read.

    Args:
        pretrained: The model.
        config: What to merge; None for nothing.
        num_repeats: Timed runs of each side; None for no comparison.
        sampling: The policy.
        stride: Of dense sampling.
        time_limit_seconds: When to give up reading a video.
        compiled: Whether to compile the model, and say so; not for a comparison.

    Raises:
        ValueError, TypeError, NotImplementedError, ImportError: With what is wrong and what to do.
    """
    merged = None
    if config is not None and num_repeats is not None:
        merged = merged_twin(pretrained.model, config)
    elif config is not None:
        apply_patch(pretrained.model, config)
    frames = Sampling(pretrained.num_frames, sampling, stride)
    job = Job(pretrained, merged, frames, time_limit_seconds, num_repeats or 0)
    return _compile(job, config) if compiled else job


def _compile(job: Job, config: MergeConfig | None) -> Job:
    with status("compiling the model"):
        compiled = compile_classifier(job.pretrained)
    say_compiled(compiled)
    num_tokens = tokens_after_layers(config, find_host(job.pretrained.model))
    return replace(job, compiled=compiled, num_tokens=tuple(num_tokens))


def run_job(job: Job, videos: Sequence[str], show: Callable[[Outcome], None]) -> list[Outcome]:
    """Classify every video and show each outcome as soon as it is there.

    A video that cannot be read or answered becomes an outcome with an error; the others go on.
    """
    outcomes = []
    for number, video in enumerate(videos, start=1):
        name = (
            f"[{number}/{len(videos)}] {printable(video)}" if len(videos) > 1 else printable(video)
        )
        with progress(name, job.num_steps) as on_step:
            outcome = _outcome_of(job, video, on_step)
        show(outcome)
        outcomes.append(outcome)
    return outcomes


def _outcome_of(job: Job, video: str, on_step: Callable[[], None]) -> Outcome:
    try:
        clip = read_clip(video, job.sampling, time_limit_seconds=job.time_limit_seconds)
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
        # What one clip does to the model, running out of memory too, is no reason to stop.
        return Outcome(video, error=one_line(str(error)))
    merged = comparison.merged
    return Outcome(video, clip, Answer(merged.probabilities, merged.num_tokens), comparison)


def _answer(job: Job, pixel_values: Tensor) -> Answer:
    model = job.pretrained.model
    if job.compiled is not None:
        chosen = job.compiled.model_for(pixel_values)
        return Answer(classify_pixels(chosen, pixel_values)[0], list(job.num_tokens))
    if not is_known(model):  # a family that can be run but not merged in has nothing to trace
        return Answer(classify_pixels(model, pixel_values)[0], [])
    with trace(model) as recorded:
        probabilities = classify_pixels(model, pixel_values)[0]
    return Answer(probabilities, recorded.num_tokens)
