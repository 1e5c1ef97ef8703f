"""Decide which files need work by comparing them with the index."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vidtldr.store.rows import FailureRow, FileState, storable

__all__ = ["Plan", "Work", "plan_work"]


@dataclass(frozen=True)
class Work:
    """A file to read.

    Attributes:
        path: Absolute path.
        known_sha256: Hash of the file's indexed content; None if the index has no rows of it.
    """

    path: str
    known_sha256: str | None = None


@dataclass(frozen=True)
class Plan:
    """Which files to read and which to skip.

    Attributes:
        work: Files to read, in the order of discovery.
        num_unchanged: Indexed files of unchanged size and modification time.
        num_failed_before: Files that failed before and have not changed since.
    """

    work: tuple[Work, ...]
    num_unchanged: int
    num_failed_before: int


def plan_work(
    files: Sequence[str],
    known: Mapping[str, FileState],
    failed: Mapping[str, FailureRow],
    *,
    retry_failed: bool = False,
) -> Plan:
    """Compare files with an index: the anti-join.

    A file of the same size and modification time is unchanged. Otherwise its content decides: its
    reader compares its hash with `Work.known_sha256`.

    Args:
        files: Absolute paths.
        known: Files with rows, by stored path.
        failed: Files that failed, by stored path.
        retry_failed: Retry files that failed before and have not changed.
    """
    work = []
    num_unchanged = num_failed_before = 0
    for path in files:
        key, state = storable(path), FileState.of(path)
        if key in known and known[key].same_stat(state):
            num_unchanged += 1
        elif key in failed and failed[key].file.same_stat(state) and not retry_failed:
            num_failed_before += 1
        else:
            work.append(Work(path, known[key].sha256 if key in known else None))
    return Plan(tuple(work), num_unchanged, num_failed_before)
