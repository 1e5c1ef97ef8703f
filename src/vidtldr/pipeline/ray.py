"""Index many videos on a Ray cluster (extra `[ray]`): same stages, same rows as `local`.

Paths go out and rows come back; frames never leave the machine that decodes them. Each actor runs
its own `Machine`, so a file that crashes its decoder does not crash an actor. The process that
started the run is the only writer. The index alone records what is done: a restarted run skips
whatever is already indexed.
"""

import os
import pickle
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any

from numpy.typing import NDArray

from vidtldr.pipeline.encode_worker import load_and_describe
from vidtldr.pipeline.machine import Machine
from vidtldr.pipeline.messages import EncoderReady
from vidtldr.pipeline.plan import Work
from vidtldr.pipeline.request import IndexRequest, Progress, RunReport
from vidtldr.pipeline.run_log import RunLog
from vidtldr.pipeline.stop_signal import StopSignal
from vidtldr.store.index_writer import IndexWriter
from vidtldr.store.lance import validate_directory
from vidtldr.store.rows import FailureRow
from vidtldr.store.settings import IndexSettings
from vidtldr.store.writer_lock import refuse_if_locked
from vidtldr.tasks.embed import Embedder

__all__ = ["VideoActor", "index_videos_with_ray", "require_ray"]

_FILES_A_BATCH = 64


def require_ray() -> Any:
    """Import ray, with telemetry off, so that a missing installation is noticed before any work.

    Raises:
        ImportError: If it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import_module("ray.data")
        return import_module("ray")
    except ImportError as error:
        raise ImportError(
            "The engine 'ray' needs Ray, which is not installed. Run: pip install 'vidtldr[ray]'"
        ) from error


class VideoActor:
    """A Ray actor that takes paths and returns pickled outcomes.

    Args:
        request: The model, and what to do with each file.
    """

    def __init__(self, request: IndexRequest) -> None:
        # One encoder, which sees the GPU that Ray assigned to this actor, if any.
        self._machine = Machine(request, [None])

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, list[bytes]]:
        """Index the files of a batch.

        Args:
            batch: `path` and `known_sha256`, empty for a file without rows.
        """
        works = [
            Work(str(path), str(known) or None)
            for path, known in zip(batch["path"], batch["known_sha256"], strict=True)
        ]
        outcomes = [each for each in self._machine.outcomes(works) if each is not None]
        return {"outcome": [pickle.dumps(outcome) for outcome in outcomes]}

    def __del__(self) -> None:
        if hasattr(self, "_machine"):
            self._machine.close()


def index_videos_with_ray(
    directory: str | os.PathLike[str],
    files: Sequence[str],
    request: IndexRequest,
    *,
    num_actors: int | None = None,
    num_gpus_an_actor: float | None = None,
    files_a_batch: int = _FILES_A_BATCH,
    on_progress: Callable[[Progress], object] = lambda _: None,
    on_failure: Callable[[FailureRow], object] = lambda _: None,
) -> RunReport:
    """Bring an index up to date with files that every machine of a cluster can read.

    Joins the cluster that RAY_ADDRESS names, or starts Ray on this machine. An actor that dies is
    replaced and its batch repeated; nothing is written twice, as only complete results reach the
    writer. An actor reports its files together, at the end of its batch: if this process is killed,
    each actor's open batch is lost as well as the open commit.

    Args:
        directory: The index's directory, on a disk of this machine.
        files: Absolute paths, the same on all machines.
        request: The model, and what to do with each file.
        num_actors: Number of actors; None for one per GPU, or one per 4 CPUs without GPUs.
        num_gpus_an_actor: GPUs per actor, possibly a fraction; None for 1 if there are GPUs.
        files_a_batch: Files that an actor gets at once, at least 1.
        on_progress: Called with every outcome.
        on_failure: Called for every file that fails.

    Raises:
        ValueError, OSError, RuntimeError, ImportError: As `local.index_videos`; ImportError also
            if Ray is not installed.
    """
    ray = require_ray()
    refuse_if_locked(validate_directory(directory))
    with ExitStack() as stack:
        stack.enter_context(_joined(ray))
        resources = ray.cluster_resources()
        if num_gpus_an_actor is None:
            num_gpus_an_actor = 1.0 if resources.get("GPU", 0) >= 1 else 0.0
        if num_actors is None:
            num_actors = _num_actors(resources, num_gpus_an_actor)
        settings = _settings(ray, request, num_gpus_an_actor)
        stop = stack.enter_context(StopSignal())
        writer = stack.enter_context(IndexWriter(directory, settings))
        log = RunLog(writer, files, request.retry_failed, on_progress, on_failure)
        if log.plan.work:
            rows = _dataset(
                ray, log.plan.work, request, num_actors, num_gpus_an_actor, files_a_batch
            )
            for row in rows.iter_rows():
                log.add(pickle.loads(row["outcome"]))
                if stop.was_given:
                    break
        return log.finish(was_stopped=stop.was_given)


@contextmanager
def _joined(ray: Any) -> Iterator[None]:
    """Join a cluster or start Ray, unless the caller has; leave again what was joined here."""
    is_ours = not ray.is_initialized()
    if is_ours:
        ray.init(
            address=os.environ.get("RAY_ADDRESS"),
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
        )
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = 0
    try:
        yield
    finally:
        if is_ours:
            ray.shutdown()


def _num_actors(resources: dict[str, float], num_gpus: float) -> int:
    if num_gpus:
        return max(1, int(resources["GPU"] / num_gpus))
    return max(1, int(resources.get("CPU", 1) // 4))


def _settings(ray: Any, request: IndexRequest, num_gpus: float) -> IndexSettings:
    """Load the model once on the cluster before any actor, to describe it or fail early."""

    def describe(load: Callable[[], Embedder]) -> EncoderReady:
        return load_and_describe(load)[1]

    task = ray.remote(num_cpus=1, num_gpus=num_gpus, max_retries=1)(describe)
    try:
        ready: EncoderReady = ray.get(task.remote(request.load))
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    sys.stderr.write(ready.said)
    return request.settings(ready)


def _dataset(
    ray: Any,
    works: Sequence[Work],
    request: IndexRequest,
    num_actors: int,
    num_gpus: float,
    files_a_batch: int,
) -> Any:
    items = [{"path": work.path, "known_sha256": work.known_sha256 or ""} for work in works]
    num_blocks = max(num_actors, -(-len(items) // files_a_batch))
    dataset = ray.data.from_items(items, override_num_blocks=min(num_blocks, len(items)))
    return dataset.map_batches(
        VideoActor,
        fn_constructor_args=(request,),
        batch_size=files_a_batch,
        batch_format="numpy",
        compute=ray.data.ActorPoolStrategy(size=num_actors),
        num_cpus=1,
        num_gpus=num_gpus,
    )
