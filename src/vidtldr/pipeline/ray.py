"""Index many videos on a Ray cluster (extra `[ray]`): the same stages, the same rows.

Paths go out and rows come back; frames never leave the machine that decodes them. Each actor is a
`Machine` of its own, so a file that crashes its decoder harms no actor. The process that started
the run is the one writer. What is done is known from the index alone: a run that is started again
leaves out what is there.
"""

import os
import pickle
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
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
from vidtldr.store.rows import FailureRow
from vidtldr.store.settings import IndexSettings
from vidtldr.store.writer_lock import refuse_if_locked
from vidtldr.tasks.embed import Embedder

__all__ = ["VideoActor", "index_videos_with_ray", "require_ray"]

_FILES_A_BATCH = 64


def require_ray() -> Any:
    """Return ray, which then reports nothing home, so that its absence is known before any work.

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
    """One machine's share: takes paths, gives pickled outcomes.

    Args:
        request: The model, and what to do with each file.
    """

    def __init__(self, request: IndexRequest) -> None:
        # One encoder, which sees the GPU that Ray gave to this actor, if it gave one.
        self._machine = Machine(request, [None])

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, list[bytes]]:
        """Index the files of a batch.

        Args:
            batch: `path` and `known_sha256`, which is empty for a file without rows.
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
    """Bring an index up to date with some files that every machine of a cluster sees.

    It joins the cluster that RAY_ADDRESS names, or starts Ray on this machine. An actor that dies
    is replaced and its batch done again; nothing is written twice, as only whole results reach the
    writer.

    Args:
        directory: Of the index, on a disk of this machine.
        files: Absolute paths, the same on all machines.
        request: The model, and what to do with each file.
        num_actors: Machines' shares; None for one a GPU, or without GPUs one for 4 CPUs.
        num_gpus_an_actor: A share or a number of GPUs for each; None for 1 where there are GPUs.
        files_a_batch: Files that an actor is given at once, at least 1.
        on_progress: Called with every outcome.
        on_failure: Called for every file that fails.

    Raises:
        ValueError, OSError, RuntimeError, ImportError: As `local.index_videos`, and if Ray is not
            installed.
    """
    ray = require_ray()
    refuse_if_locked(Path(directory))
    _join(ray)
    resources = ray.cluster_resources()
    if num_gpus_an_actor is None:
        num_gpus_an_actor = 1.0 if resources.get("GPU", 0) >= 1 else 0.0
    if num_actors is None:
        num_actors = _num_actors(resources, num_gpus_an_actor)
    settings = _settings(ray, request, num_gpus_an_actor)
    with StopSignal() as stop, IndexWriter(directory, settings) as writer:
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


def _join(ray: Any) -> None:
    if not ray.is_initialized():
        ray.init(
            address=os.environ.get("RAY_ADDRESS"),
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
        )
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = 0


def _num_actors(resources: dict[str, float], num_gpus: float) -> int:
    if num_gpus:
        return max(1, int(resources["GPU"] / num_gpus))
    return max(1, int(resources.get("CPU", 1) // 4))


def _settings(ray: Any, request: IndexRequest, num_gpus: float) -> IndexSettings:
    """Load the model on the cluster before any actor does, to know what it is or what is wrong."""

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
