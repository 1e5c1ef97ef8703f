"""`vidtldr tune`: the score, the layers and the amount of merging that serve a model best."""

from typing import Annotated

import typer

from vidtldr.cli.errors import SOME_INPUTS_FAILED, clear_errors
from vidtldr.cli.run_options import RunOptions, VideosArgument
from vidtldr.cli.spread_options import spread_options
from vidtldr.cli.tune_options import TuneFiles, parse_compared, parse_target
from vidtldr.cli.umt_options import UMTOptions

__all__ = ["tune"]


@spread_options
def tune(
    videos: VideosArgument,
    *,
    umt: UMTOptions,
    target: Annotated[
        str,
        typer.Option(
            help="speedup=1.8, with the least drift; drift=0.02, as fast as can be; or "
            "flop-ratio=0.6, with the least drift."
        ),
    ] = "drift=0.02",
    metric: Annotated[
        str,
        typer.Option(
            help="What drift is: feature-cosine, 1 minus the cosine of features; labels=FILE or "
            "labels=a,b, how much of the probability of labels moves (a classifier has its own: "
            "labels); retrieval=FILE, the same of captions, for umt."
        ),
    ] = "feature-cosine",
    rounds: Annotated[
        int, typer.Option(min=1, help="Timed runs of the best, in turn with the unmerged model.")
    ] = 5,
    files: TuneFiles,
    run: RunOptions,
) -> None:
    """Find how a model merges best on your own videos, which need no labels; writes a schedule.

    Every score is tried in several layers, what drifts least from the unmerged model goes on to
    other variants and amounts, and the best are timed. The table and the plot have the paper's
    setting, ToMe and random dropping beside them. What is tried is kept beside the schedule: stop
    it at any time, the same command goes on. Eight clips or more say more than one.

    Exit codes: 0 written, 1 some videos failed or a --plot or --report could not be made, 2
    nothing could start or the target is not met.
    """
    with clear_errors(run.debug, lambda: _what_is_kept(files)):
        wanted, compared = parse_target(target), parse_compared(metric, umt)
        files.validate([*videos, *([compared.file] if compared.file else [])])
        if umt.is_umt:
            _ = umt.checkpoint  # is there
        else:
            umt.validate_for_classifier(None)
        from vidtldr.cli.tune_run import run_tuning

        is_whole = run_tuning(videos, umt, wanted, compared, files, run, num_rounds=rounds)
    if not is_whole:
        raise typer.Exit(SOME_INPUTS_FAILED)


def _what_is_kept(files: TuneFiles) -> str:
    if not files.trials.exists():
        return "nothing was tried yet"
    return f"{str(files.trials)!r} keeps what was tried. The same command goes on from there"
