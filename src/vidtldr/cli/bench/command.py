"""`vidtldr bench`: quality, speed and memory of merging; does not import torch."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from vidtldr.cli.bench.dense_command import dense
from vidtldr.cli.bench.method_options import (
    BudgetsOption,
    CacheOption,
    FirstLayersOption,
    MethodsOption,
    kept_measurements,
    parse_budgets,
    parse_first_layers,
    parse_methods,
)
from vidtldr.cli.bench.options import (
    MAX_ATTENTION_TOKENS,
    MAX_WIDTH,
    QualityShapesOptions,
    ShapesOptions,
    SpeedOptions,
    parse_dtypes,
    positive_counts,
    validate_weights,
)
from vidtldr.cli.errors import SOME_INPUTS_FAILED, clear_errors
from vidtldr.cli.merge_options import MergeOptions
from vidtldr.cli.output_options import (
    JSON_FILE,
    JSON_HELP,
    Output,
    Reads,
    ResultOptions,
    Writes,
    validate_cache,
    validate_outputs,
)
from vidtldr.cli.run_options import (
    MAX_BATCH,
    MAX_ROUNDS,
    MAX_THREADS,
    DeviceOption,
    spread_options,
    with_old_names,
)

__all__ = ["app", "latency", "memory", "paths"]

app = typer.Typer(
    no_args_is_help=True,
    help="Benchmarks on generated clips, photos and your own videos; nothing is downloaded.",
)


@app.command("quality")
@spread_options
def quality(
    *,
    weights: Annotated[
        Path | None,
        Reads(),
        typer.Option(metavar="FILE", help="Weights to use instead of the bundled ones."),
    ] = None,
    budgets: BudgetsOption = "1, 0.8, 0.6, 0.5, 0.4, 0.3",
    methods: MethodsOption = None,
    first_layers: FirstLayersOption = "0",
    questions: Annotated[
        Literal["hard", "all"],
        typer.Option(
            help="hard: only those about motion and speed. The others are nearly always answered "
            "right and take most of the time."
        ),
    ] = "hard",
    dtype: Annotated[
        Literal["float32", "bfloat16"], typer.Option(help="Dtype of weights and clips.")
    ] = "float32",
    jobs: Annotated[
        int,
        typer.Option(
            min=1,
            max=MAX_THREADS,
            help="Processes of one thread each; 1: this one, with all its threads.",
        ),
    ] = 1,
    batch: Annotated[int, typer.Option(min=1, max=MAX_BATCH, help="Clips per batch.")] = 32,
    rounds: Annotated[
        int,
        typer.Option(
            min=0,
            max=MAX_ROUNDS,
            help="Timed runs of each setting, alternating with the unmerged model; 0: none. For "
            "models of usual size see bench latency.",
        ),
    ] = 0,
    cache: CacheOption = None,
    shapes: QualityShapesOptions,
    wanted: ResultOptions,
) -> None:
    """Compare methods at equal FLOP budgets on search, question answering and classification.

    The methods: the default, vid-TLDR, other scores, ToMe, random merging and dropping, fewer
    frames, lower resolution. Each is compared with the unmerged model and with the best method on
    the same clips, and differences beyond noise are marked. It takes hours: use --cache, and as
    many --jobs as there are cores.

    Example: vidtldr bench quality --cache runs/quality --jobs 2

    Exit codes: 0 all done, 1 the plot or page could not be made, 2 nothing could start.
    """
    with clear_errors(shapes.debug, kept_measurements(cache)):
        validate_weights([] if weights is None else [weights])
        seeds, ratios = shapes.parse_seeds(), parse_budgets(budgets)
        firsts, names = parse_first_layers(first_layers), parse_methods(methods)
        wanted.validate()
        validate_cache(cache)
        from vidtldr.bench.quality_options import QualityOptions
        from vidtldr.cli.bench.run import run_quality_job

        options = QualityOptions(shapes.clips, seeds, shapes.split, batch, rounds, questions)
        is_whole = run_quality_job(
            weights,
            shapes,
            wanted,
            options,
            budgets=ratios,
            firsts=firsts,
            methods=names,
            cache=cache,
            dtype=dtype,
            num_jobs=jobs,
        )
    if not is_whole:
        raise typer.Exit(SOME_INPUTS_FAILED)


@app.command("saliency")
@spread_options
def saliency(
    *,
    weights: Annotated[
        list[Path] | None,
        Reads(),
        typer.Option(
            metavar="FILE",
            help="Weights, instead of the bundled ones; again for several files: checkpoints of "
            "every stage of the training will do.",
        ),
    ] = None,
    shapes: ShapesOptions,
    wanted: ResultOptions,
) -> None:
    """Compare token scores with the true foreground in every layer of the unmerged model.

    Sharpness, sharpness per head, attention received, rollout, representation shift; both signs.

    Example: vidtldr bench saliency --clips 100

    Exit codes: 0 all done, 1 the plot or page could not be made, 2 nothing could start.
    """
    with clear_errors(shapes.debug, "nothing is kept"):
        validate_weights(weights or [])
        seeds = shapes.parse_seeds()
        wanted.validate()
        from vidtldr.cli.bench.run import run_saliency_job

        is_whole = run_saliency_job(weights, shapes, wanted, seeds)
    if not is_whole:
        raise typer.Exit(SOME_INPUTS_FAILED)


app.command("dense")(dense)


@app.command("latency", cls=with_old_names({"--peers": "--baselines"}))
@spread_options
def latency(
    *,
    speed: SpeedOptions,
    merging: MergeOptions,
    wanted: ResultOptions,
    rounds: Annotated[
        int, typer.Option(min=1, max=MAX_ROUNDS, help="Timed rounds, after a warm-up.")
    ] = 7,
    scaling: Annotated[
        str | None,
        typer.Option(
            help="Also time a merging layer's attention at so many tokens: 1024,4096,16384."
        ),
    ] = None,
    no_roofline: Annotated[
        bool,
        typer.Option(
            "--no-roofline", help="Skip measuring the device's peak throughput and bandwidth."
        ),
    ] = False,
) -> None:
    """Time a model unmerged and merged, interleaved in one process; compares outputs first.

    Unmerged with fused and with eager attention, merged by each score, ToMe, and with full
    attention maps stored, as in the authors' code. The default schedule is 600, 200, 100 for
    videomae-b and umt-b, scaled for other models.

    Example: vidtldr bench latency --model videomae-b --frames 16

    Exit codes: 0 all done, 1 a measurement, plot or page could not be made, 2 nothing could start
    or no forward pass could be measured.
    """
    with clear_errors(speed.debug, "nothing is kept"):
        speed.validate()
        wanted.validate()
        config = merging.parse(None)
        counts = (
            [] if scaling is None else positive_counts("--scaling", scaling, MAX_ATTENTION_TOKENS)
        )
        from vidtldr.cli.bench.speed import run_latency_job

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


@app.command("memory", cls=with_old_names({"--peers": "--baselines"}))
@spread_options
def memory(
    *,
    speed: SpeedOptions,
    merging: MergeOptions,
    wanted: ResultOptions,
    rounds: Annotated[
        int,
        typer.Option(
            min=1, max=MAX_ROUNDS, help="Processes to run for each; the median is reported."
        ),
    ] = 3,
) -> None:
    """Measure peak memory above the loaded model's, for each variant in separate processes.

    Example: vidtldr bench memory --model videomae-b

    Exit codes: 0 all done, 1 a measurement, plot or page could not be made, 2 nothing could start
    or no forward pass could be measured.
    """
    with clear_errors(speed.debug, "nothing is kept"):
        speed.validate()
        wanted.validate()
        config = merging.parse(None)
        from vidtldr.cli.bench.speed import run_memory_job

        is_whole = run_memory_job(speed, config, merging.choices(), wanted, rounds=rounds)
    if not is_whole:
        raise typer.Exit(SOME_INPUTS_FAILED)


@app.command("paths")
@spread_options
def paths(
    *,
    tokens: Annotated[str, typer.Option(help="Numbers of tokens: 197,2352.")] = (
        "197,588,1568,2352,4096"
    ),
    dtypes: Annotated[str, typer.Option(help="Dtypes: float32,bfloat16,float16.")] = (
        "float32,bfloat16"
    ),
    heads: Annotated[int, typer.Option(min=1, max=MAX_WIDTH, help="Heads.")] = 12,
    channels: Annotated[int, typer.Option(min=1, max=MAX_WIDTH, help="Channels per head.")] = 64,
    batch: Annotated[int, typer.Option(min=1, max=MAX_BATCH, help="Clips per batch.")] = 1,
    device: DeviceOption = "auto",
    threads: Annotated[
        int | None,
        typer.Option(min=1, max=MAX_THREADS, help="CPU threads; default: torch's choice."),
    ] = None,
    rounds: Annotated[
        int, typer.Option(min=1, max=MAX_ROUNDS, help="Timed rounds, after a warm-up.")
    ] = 7,
    output: Annotated[
        Path | None,
        Writes(),
        typer.Option("--output", "-o", metavar="FILE", help=JSON_HELP),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as one line of JSON and nothing else.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    """Time every attention implementation on this machine and check the chosen one.

    The table of choices is in vidtldr/ops/attention/paths.py; this command changes nothing. If
    results on an idle machine disagree with it, please report that with the JSON.

    Example: vidtldr bench paths --tokens 197,1568

    Exit codes: 0 all done, 2 nothing could start.
    """
    with clear_errors(debug, "nothing is kept"):
        counts = positive_counts("--tokens", tokens, MAX_ATTENTION_TOKENS)
        names = parse_dtypes(dtypes)
        if output is not None:
            validate_outputs([Output(output, endings=JSON_FILE)])
        from vidtldr.cli.bench.run import run_paths_job

        run_paths_job(
            names,
            counts,
            num_heads=heads,
            channels=channels,
            batch=batch,
            device=device,
            threads=threads,
            rounds=rounds,
            output=output,
            as_json=as_json,
        )
