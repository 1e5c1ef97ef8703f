"""What to index and how, and the report of a run: the same for every engine."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from vidtldr.config import MergeConfig
from vidtldr.pipeline.messages import EncoderReady
from vidtldr.store.ann import AnnSettings
from vidtldr.store.settings import IndexSettings
from vidtldr.tasks.embed import Embedder
from vidtldr.tasks.load import load_embedder
from vidtldr.tasks.model_spec import ModelSpec

__all__ = ["IndexRequest", "Progress", "RunReport", "request_for", "schedule_text"]


@dataclass(frozen=True)
class IndexRequest:
    """What to do with each file.

    Attributes:
        load: Makes the embedder in each encoder process; must be picklable. What it writes to
            stderr is printed once, however many processes there are.
        model: Human-readable name of the model.
        options: How to load the model again, JSON-serialisable.
        segment_seconds: Length of a segment; None for one clip per video.
        keep_tokens: Keep visual tokens for re-ranking.
        batch_size: Clips per batch; None for 32 on a GPU and 8 on a CPU.
        num_workers: Decoder processes; None for one per core, less one if a GPU encodes.
        time_limit_seconds: Time limit for reading a file, or a segment of one.
        memory_bytes: Memory that a decoder process may allocate.
        retry_failed: Retry files that failed before and have not changed.
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
        """The settings of an index made with this request.

        Args:
            ready: An encoder's description of the model.

        Raises:
            ValueError: If tokens are wanted but the model returns none.
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


def request_for(
    spec: ModelSpec,
    merge: MergeConfig | None = None,
    *,
    time_limit_seconds: float = 120.0,
    compile_for: int | None = None,
    **fields: Any,
) -> IndexRequest:
    """Make a request whose encoder processes each load the model themselves.

    Args:
        spec: The model. The index stores it with absolute paths, so that `vidtldr search` can load
            it again.
        merge: What to merge; None for nothing. Stored too.
        time_limit_seconds: Time limit for reading a file, or a segment of one.
        compile_for: Batch size to compile the model for; None leaves it uncompiled.
        **fields: Other fields of `IndexRequest`.
    """
    spec = spec.with_absolute_paths()
    load = partial(
        load_embedder,
        spec,
        merge,
        time_limit_seconds=time_limit_seconds,
        compile_for=compile_for,
    )
    return IndexRequest(
        load=load,
        model=spec.name,
        options=spec.remembered(merge),
        time_limit_seconds=time_limit_seconds,
        **fields,
    )


@dataclass(frozen=True)
class Progress:
    """Progress of a run.

    Attributes:
        num_files: Files to read.
        num_done: Files with an outcome, failures included.
        num_failed: Files that failed.
        num_rows: Clips so far.
    """

    num_files: int
    num_done: int
    num_failed: int
    num_rows: int


@dataclass(frozen=True)
class RunReport:
    """Result of a run.

    Attributes:
        num_files: Files found.
        num_indexed: Videos whose rows were written.
        num_rows: Rows written.
        num_unchanged: Files skipped because the index already has their rows.
        num_failed: Files that failed in this run.
        num_failed_before: Files that failed before and were not retried.
        seconds: Duration of the run.
        encode_seconds: Time that the encoders took; 0 if unknown.
        was_interrupted: Whether the run was stopped before all files were done.
        ann: The approximate index that was built, and its measured recall; None if none was.
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
    """Format a schedule for people: "r=600,200,100", and any choices that do not follow."""
    if merge is None:
        return "none"
    config = MergeConfig.from_dict(merge)
    # Ward's linkage is always named: a text without a linkage means the cosine, as in version 0.2.
    of_ward = {"linkage": config.linkage} if config.linkage == "ward" else {}
    parts = []
    for name, value in {**config.chosen, **of_ward}.items():
        text = (
            ",".join(f"{each:g}" for each in value) if isinstance(value, (list, tuple)) else value
        )
        parts.append(f"{name}={text}")
    return " ".join(parts)
