"""Measure settings one after another, in this process or in several."""

import os
import pickle
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from multiprocessing.connection import Connection
from threading import Thread
from typing import Any

import torch

from vidtldr.baselines.baseline import Variant
from vidtldr.bench.quality_options import QualityOptions
from vidtldr.bench.seed_exam import SeedExam
from vidtldr.shapes.model import ShapesUMT

__all__ = ["Examiner", "Task", "measure_tasks"]

Task = tuple[int, Variant]  # seed and setting


class Examiner:
    """Measures settings; the clips of a seed are drawn once while the seed stays the same.

    Args:
        model: In evaluation mode, unmerged, on its device.
        options: How much to measure.
    """

    def __init__(self, model: ShapesUMT, options: QualityOptions) -> None:
        self.model = model
        self.options = options
        self._exam: SeedExam | None = None

    def exam_of(self, seed: int) -> SeedExam:
        """Return the exam of a seed."""
        if self._exam is None or self._exam.seed != seed:
            own = self.options
            self._exam = SeedExam(
                self.model, seed, own.split, own.num_clips, own.batch_size, own.questions
            )
        return self._exam

    def measure(self, task: Task) -> dict[str, Any]:
        """Measure a setting on the clips of a seed; see `SeedExam.measure`."""
        seed, variant = task
        return self.exam_of(seed).measure(variant)


def measure_tasks(
    model: ShapesUMT, options: QualityOptions, tasks: Sequence[Task], num_jobs: int
) -> Iterator[tuple[Task, dict[str, Any]]]:
    """Measure tasks and yield each with its result, in order of completion.

    The worker processes end at once if the caller stops iterating, or if this process ends.

    Args:
        model: In evaluation mode, unmerged, on its device.
        options: How much to measure.
        tasks: What to measure; it is fastest if tasks of the same seed are adjacent.
        num_jobs: Number of processes, each with one thread; 1 measures in this process with all of
            its threads.

    Raises:
        ChildProcessError: If a process was killed, such as for lack of memory.
    """
    num_jobs = min(num_jobs, len(tasks))
    if num_jobs <= 1:
        examiner = Examiner(model, options)
        for task in tasks:
            yield task, examiner.measure(task)
        return
    context = get_context("spawn")
    alive, keep_alive = context.Pipe(duplex=False)  # workers exit when our end closes
    pool = ProcessPoolExecutor(
        num_jobs, context, _start_worker, (alive, pickle.dumps((model, options)))
    )
    try:
        futures = {pool.submit(_measure, task): task for task in tasks}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool as error:
        raise ChildProcessError(
            f"`jobs` must be few enough to fit in memory, got {num_jobs}, and one of the processes "
            "was killed. Lower it; a cache keeps what was measured."
        ) from error
    finally:
        keep_alive.close()
        alive.close()
        pool.shutdown(wait=True, cancel_futures=True)


_examiners: list[Examiner] = []  # one in a worker process, none elsewhere


def _start_worker(alive: Connection, pickled: bytes) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    Thread(target=_exit_with_parent, args=(alive,), daemon=True).start()
    torch.set_num_threads(1)
    _examiners.append(Examiner(*pickle.loads(pickled)))


def _exit_with_parent(alive: Connection) -> None:
    try:
        alive.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)


def _measure(task: Task) -> dict[str, Any]:
    return _examiners[0].measure(task)
