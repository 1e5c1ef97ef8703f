"""The command line of the row benchmarks: which rows, how many rounds, and which file."""

import argparse
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

import torch

from vidtldr.bench.row import RowFunction, Settings
from vidtldr.bench.row_file import RowFile
from vidtldr.bench.row_run import choose_rows, measure_rows
from vidtldr.measure.environment import environment
from vidtldr.measure.processor import processor_name

__all__ = ["run_script"]


def run_script(
    description: str,
    groups: Mapping[str, RowFunction],
    results: Path,
    arguments: Sequence[str] | None = None,
) -> None:
    """Measure the rows requested on the command line; print and save each.

    Args:
        description: First text of `--help`.
        groups: All groups of rows by name.
        results: The folder of the files, each named after a processor.
        arguments: Command-line arguments; None for those of the program.
    """
    parser = _parser(description, groups)
    options = parser.parse_args(arguments)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    processor = processor_name()
    path = options.output or results / f"{processor}.json"
    made = environment(torch.device("cpu")) | {"tiny": options.tiny}
    try:
        chosen = choose_rows(groups, options.rows)
        file = RowFile(path, processor, made)
    except ValueError as error:
        parser.error(str(error))
    signal.signal(signal.SIGTERM, _stop)
    settings = Settings(options.rounds, options.warmups, options.tiny)
    try:
        measure_rows(chosen, settings, file, lambda row: print(row.headline(), flush=True))
    except KeyboardInterrupt:
        raise SystemExit(f"stopped: finished rows are in {path}") from None
    print(f"wrote {path}")


def _parser(description: str, groups: Mapping[str, RowFunction]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rows", type=_names, help=f"comma-separated, of {', '.join(groups)}; default: all"
    )
    own = Settings()
    parser.add_argument("--rounds", type=int, default=own.num_rounds, help="rounds that count")
    parser.add_argument("--warmups", type=int, default=own.num_warmups, help="rounds before them")
    parser.add_argument("--threads", type=int, help="threads of torch; its own choice")
    parser.add_argument("--output", type=Path, help="JSON file; one named by the processor")
    parser.add_argument("--tiny", action="store_true", help="sizes of tests; times mean nothing")
    return parser


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",")]


def _stop(number: int, _: FrameType | None) -> None:
    """Exit as after Ctrl-C, so that child processes end too."""
    raise SystemExit(128 + number)
