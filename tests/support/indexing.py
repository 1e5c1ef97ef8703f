"""A run in a process of its own, so that it can be killed: INDEX FOLDER SECONDS [FLAGS...].

It prints the ids of its processes once they are started: decoders, then encoders.
"""

import sys

from support.flat_model import request

from vidtldr.pipeline import local, run_log
from vidtldr.pipeline.commits import Commits
from vidtldr.pipeline.discovery import discover
from vidtldr.pipeline.machine import Machine

_NUM_ROWS = 4


class AnnouncedMachine(Machine):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        print("pids", *self.pids, flush=True)


class SmallCommits(Commits):
    def __init__(self, writer):
        super().__init__(writer, seconds=0.2, num_rows=_NUM_ROWS)


def main() -> None:
    directory, folder, seconds, *_ = sys.argv[1:]
    local.Machine, run_log.Commits = AnnouncedMachine, SmallCommits
    files = discover([folder]).files
    wanted = request(seconds=float(seconds), num_workers=2)
    report = local.index_videos(directory, files, wanted, gpus=[None])
    print("interrupted" if report.was_interrupted else "done", report.num_indexed, flush=True)


if __name__ == "__main__":
    main()
