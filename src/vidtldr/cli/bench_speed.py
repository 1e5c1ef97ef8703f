"""`vidtldr bench latency` and `bench memory`: what merging gains on this machine."""

from typing import Annotated

import typer

from vidtldr.cli.bench import app
from vidtldr.cli.errors import SOME_INPUTS_FAILED, clear_errors
from vidtldr.cli.merge_options import MergeOptions
from vidtldr.cli.result_options import ResultOptions
from vidtldr.cli.speed_options import SpeedOptions, positive_counts
from vidtldr.cli.spread_options import spread_options

__all__ = ["app", "latency", "memory"]


@app.command("latency")
@spread_options
def latency(
    *,
    speed: SpeedOptions,
    merging: MergeOptions,
    wanted: ResultOptions,
    rounds: Annotated[int, typer.Option(min=1, help="Timed rounds, after a warm-up.")] = 7,
    scaling: Annotated[
        str | None,
        typer.Option(
            help="Also time a merging layer's attention at so many tokens: 1024,4096,16384."
        ),
    ] = None,
    no_roofline: Annotated[
        bool, typer.Option("--no-roofline", help="Do not measure what the device can do at most.")
    ] = False,
) -> None:
    """Time a model unmerged and merged, all in turn in one process, outputs compared first.

    Unmerged with fused attention and eager, merged by each score, ToMe, and with whole attention
    maps stored as the authors' program does. Without a schedule 600, 200, 100 for videomae-b and
    umt-b, scaled for others.

    Exit codes: 0 all done, 1 something could not be measured or a plot or page be made, 2 nothing
    could start or no forward be measured.
    """
    with clear_errors(speed.debug, "nothing is kept"):
        speed.validate()
        wanted.validate()
        config = merging.parse()
        counts = [] if scaling is None else positive_counts("--scaling", scaling)
        from vidtldr.cli.latency_run import run_latency_job

        is_whole = run_latency_job(
            speed,
            config,
            merging.choices(),
            wanted,
            rounds=rounds,
            scaling=counts,
            roofline=not no_roofline,
        )
    if not is_whole:
        raise typer.Exit(SOME_INPUTS_FAILED)


@app.command("memory")
@spread_options
def memory(
    *,
    speed: SpeedOptions,
    merging: MergeOptions,
    wanted: ResultOptions,
    rounds: Annotated[
        int, typer.Option(min=1, help="Processes of each peer; the median counts.")
    ] = 3,
) -> None:
    """Measure the peak of memory above the loaded model's, each in a process of its own.

    Exit codes: 0 all done, 1 something could not be measured or a plot or page be made, 2 nothing
    could start or no forward be measured.
    """
    with clear_errors(speed.debug, "nothing is kept"):
        speed.validate()
        wanted.validate()
        config = merging.parse()
        from vidtldr.cli.memory_run import run_memory_job

        is_whole = run_memory_job(speed, config, merging.choices(), wanted, rounds=rounds)
    if not is_whole:
        raise typer.Exit(SOME_INPUTS_FAILED)
