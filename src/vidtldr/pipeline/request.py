"""What is to be indexed and how, and what became of it: the same for every engine."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vidtldr.hosts.config import MergeConfig
from vidtldr.pipeline.messages import EncoderReady
from vidtldr.store.ann import AnnSettings
from vidtldr.store.settings import IndexSettings
from vidtldr.tasks.embed import Embedder

__all__ = ["IndexRequest", "Progress", "RunReport", "schedule_text"]


@dataclass(frozen=True)
class IndexRequest:
    """What to do with each file.

    Attributes:
        load: Makes the embedder in each encoder's process; must be picklable. What it writes to
            stderr is written once, however many processes there are.
        model: The model as a person calls it.
        options: How to load the model again, ready for JSON.
        segment_seconds: Length of a segment; None for one clip a video.
        keep_tokens: Keep visual tokens for re-ranking.
        batch_size: Clips that are encoded at once; None for 32 on a GPU and 8 on a CPU.
        num_workers: Processes that decode; None for one a core, less one where a GPU encodes.
        time_limit_seconds: Give up a file, or a segment, after so long.
        memory_bytes: What a process that decodes may take.
        retry_failed: Read files again that failed before and have not changed.
    """

    load: Callable[[], Embedder]
    model: str
    options: Mapping[str, Any] = field(default_factory=dict)
    segment_seconds: float | None = None
    keep_tokens: bool = False
    batch_size: int | None = None
    num_workers: int | None = None
    time_limit_seconds: float = 120.0
    memory_bytes: int = 4 * 2**30
    retry_failed: bool = False

    def __post_init__(self) -> None:
        for name in ("segment_seconds", "batch_size", "num_workers"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ValueError(
                    f"{name} must be above 0, got {value!r}. Leave it out or raise it."
                )

    def settings(self, ready: EncoderReady) -> IndexSettings:
        """The settings of an index that is made so.

        Args:
            ready: What an encoder says of the model.

        Raises:
            ValueError: If tokens are wanted of a model that gives none.
        """
        if self.keep_tokens and not ready.has_tokens:
            raise ValueError(
                f"keep_tokens must be False for a model without a fusion encoder, got True for "
                f"{self.model!r}. Use a umt: model, or leave it out."
            )
        return IndexSettings(
            model=self.model,
            schedule=schedule_text(ready.identity.get("merge")),
            num_channels=ready.num_channels,
            identity=ready.identity,
            segment_seconds=self.segment_seconds,
            keep_tokens=self.keep_tokens,
            options=self.options,
        )


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        num_files: Files to read.
        num_done: Files with an outcome.
        num_failed: Those of them that failed.
        num_rows: Clips so far.
    """

    num_files: int
    num_done: int
    num_failed: int
    num_rows: int


@dataclass(frozen=True)
class RunReport:
    """What became of a run.

    Attributes:
        num_files: Files found.
        num_indexed: Videos whose rows were written.
        num_rows: Those rows.
        num_unchanged: Files whose rows were there.
        num_failed: Files that failed now.
        num_failed_before: Files that failed before, and were left alone.
        seconds: Time of the run.
        encode_seconds: Time that the encoders took; 0 if unknown.
        was_interrupted: Whether files are left because somebody asked to stop.
        ann: The approximate index that was built, and what it was measured to find; None if none
            was.
    """

    num_files: int
    num_indexed: int
    num_rows: int
    num_unchanged: int
    num_failed: int
    num_failed_before: int
    seconds: float
    encode_seconds: float = 0.0
    was_interrupted: bool = False
    ann: AnnSettings | None = None


def schedule_text(merge: Mapping[str, Any] | None) -> str:
    """A schedule as a person reads it: "r=600,200,100", and what is not chosen as usual."""
    if merge is None:
        return "none"
    usual = MergeConfig(r=()).to_dict()
    parts = []
    for name, value in merge.items():
        if name != "r" and value == usual.get(name):
            continue
        text = (
            ",".join(f"{each:g}" for each in value) if isinstance(value, (list, tuple)) else value
        )
        parts.append(f"{name}={text}")
    return " ".join(parts)
