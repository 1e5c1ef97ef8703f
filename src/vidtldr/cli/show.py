"""`vidtldr show`: what was merged in a video, to look at."""

from typing import Annotated

import typer

from vidtldr.cli.errors import SOME_INPUTS_FAILED, clear_errors
from vidtldr.cli.merge_options import MergeOptions
from vidtldr.cli.run_options import RunOptions
from vidtldr.cli.show_options import AskedOptions, ShownFiles
from vidtldr.cli.spread_options import spread_options
from vidtldr.cli.umt_options import UMTOptions
from vidtldr.hosts.config import MergeConfig
from vidtldr.shapes.bundled_model import bundled_merge
from vidtldr.visualize.report_extra import validate_report_extra

__all__ = ["show"]


@spread_options
def show(
    video: Annotated[str, typer.Argument(help="A video file.", show_default=False)],
    *,
    umt: UMTOptions,
    merging: MergeOptions,
    files: ShownFiles,
    layer: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Merging layer to draw, counted from 0; the report shows it first. Default: the "
            "last.",
            show_default=False,
        ),
    ] = None,
    asked: AskedOptions,
    repeats: Annotated[int, typer.Option(min=1, help="Timed runs of each side.")] = 5,
    run: RunOptions,
) -> None:
    """Show what was merged in a video: a page to explore, pictures, a video.

    The page holds everything and loads nothing: unmerged, merged, and another method at the same
    number of tokens, with saliency, background, merged groups and features of every frame. The
    bundled model merges by its own preset if nothing else is said.

    Exit codes: 0 written, 1 the video failed, 2 nothing could start.
    """
    with clear_errors(run.debug):
        merge = _merge_of(merging, umt)
        asked.validate(umt, merging.preset)
        wanted = files.parse(video)
        if wanted.report is not None:
            validate_report_extra()
        from vidtldr.cli.progress import progress
        from vidtldr.cli.show_output import print_json, print_table
        from vidtldr.cli.show_run import Shown, prepare_show, show_video
        from vidtldr.cli.show_subject import load_subject

        job = prepare_show(load_subject(umt, asked, merging.preset), merge, layer, repeats)
        with progress("showing", job.num_steps + wanted.num_files) as on_step:
            shown = show_video(job, video, umt.name, wanted, run.time_limit, on_step)
        (print_json if run.as_json else print_table)(video, shown)
    if not isinstance(shown, Shown):
        raise typer.Exit(SOME_INPUTS_FAILED)


def _merge_of(merging: MergeOptions, umt: UMTOptions) -> MergeConfig:
    """What to merge; the bundled model has a merge of its own.

    Raises:
        ValueError: If nothing is said for another model.
    """
    merge = merging.parse_or(bundled_merge() if umt.is_bundled else None)
    if merge is None:
        raise ValueError(
            "--model must come with a schedule to show, got none. Add --flop-ratio 0.6 or --r "
            "600,200,100."
        )
    return merge
