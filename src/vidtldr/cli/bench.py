"""`vidtldr bench`: what merging costs in quality, and which score finds the foreground."""

from pathlib import Path
from typing import Annotated

import typer

from vidtldr.cli.bench_options import ShapesOptions, parse_budgets, read_chosen
from vidtldr.cli.errors import SOME_INPUTS_FAILED, clear_errors
from vidtldr.cli.result_options import ResultOptions
from vidtldr.cli.schedule import parse_counts
from vidtldr.cli.spread_options import spread_options
from vidtldr.cli.write_output import validate_cache

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    help="Benchmarks on generated clips of coloured shapes; nothing is downloaded.",
)


@app.command("quality")
@spread_options
def quality(
    *,
    weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Other weights than the bundled ones.")
    ] = None,
    budgets: Annotated[
        str, typer.Option(help="FLOP ratios of the vision encoder, with commas between.")
    ] = "1,0.8,0.7,0.6,0.5,0.4,0.3",
    methods: Annotated[
        str | None,
        typer.Option(
            help='Methods, with commas between: "vid-TLDR,random dropping"; all by default.',
            show_default=False,
        ),
    ] = None,
    first_layers: Annotated[
        str,
        typer.Option(help="First of the three layers that merge, from 0; each a row of its own."),
    ] = "0,1,2",
    preset: Annotated[
        Path | None,
        typer.Option(
            metavar="JSON",
            help="What recipes/choose_preset.py chose for some budgets; the bundled preset's "
            "choices hold at the others.",
        ),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Clips to encode at once.")] = 32,
    rounds: Annotated[
        int, typer.Option(min=0, help="Timed runs of each setting, in turn with unmerged ones.")
    ] = 3,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep what is measured here and use what is there."),
    ] = None,
    shapes: ShapesOptions,
    wanted: ResultOptions,
) -> None:
    """Search, answer and label clips with fewer FLOPs: every method at the same budgets.

    vid-TLDR, other scores, ToMe, random merging and dropping, fewer frames, lower resolution.

    Exit codes: 0 all done, 1 plot or page could not be made, 2 nothing could start.
    """
    with clear_errors(shapes.debug, _what_is_kept(cache)):
        seeds, ratios = shapes.parse_seeds(), parse_budgets(budgets)
        firsts = parse_counts("--first-layers", first_layers)
        by_budget = {} if preset is None else read_chosen(preset)
        names = None if methods is None else [name.strip() for name in methods.split(",")]
        wanted.validate()
        validate_cache(cache)
        from vidtldr.bench.quality import QualityOptions
        from vidtldr.cli.bench_run import run_quality_job

        options = QualityOptions(shapes.clips, seeds, shapes.split, batch, rounds)
        is_whole = run_quality_job(
            weights,
            shapes,
            wanted,
            options,
            budgets=ratios,
            firsts=firsts,
            methods=names,
            by_budget=by_budget,
            cache=cache,
        )
    if not is_whole:
        raise typer.Exit(SOME_INPUTS_FAILED)


@app.command("saliency")
@spread_options
def saliency(
    *,
    weights: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Weights, instead of the bundled ones; again for several files: checkpoints of "
            "every stage of the training will do.",
        ),
    ] = None,
    shapes: ShapesOptions,
    wanted: ResultOptions,
) -> None:
    """Compare scores of tokens with the true foreground, layer by layer, unmerged.

    Sharpness, sharpness per head, attention received, rollout, representation shift; both signs.

    Exit codes: 0 all done, 1 plot or page could not be made, 2 nothing could start.
    """
    with clear_errors(shapes.debug, "nothing is kept"):
        seeds = shapes.parse_seeds()
        wanted.validate()
        from vidtldr.cli.bench_run import run_saliency_job

        is_whole = run_saliency_job(weights, shapes, wanted, seeds)
    if not is_whole:
        raise typer.Exit(SOME_INPUTS_FAILED)


def _what_is_kept(cache: Path | None) -> str:
    if cache is None:
        return "nothing is kept. With --cache DIR the same command could go on from here"
    return f"{str(cache)!r} keeps what is measured. The same command goes on from there"
