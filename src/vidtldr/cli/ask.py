"""`vidtldr ask`: the answer to a question about a video, out of a list."""

from pathlib import Path
from typing import Annotated

import typer

from vidtldr.cli.errors import SOME_INPUTS_FAILED, clear_errors
from vidtldr.cli.merge_options import MergeOptions
from vidtldr.cli.run_options import CacheOption, CompileOption, RunOptions, what_is_kept
from vidtldr.cli.spread_options import spread_options
from vidtldr.cli.umt_options import UMTOptions
from vidtldr.cli.write_output import validate_cache

__all__ = ["answer_candidates", "ask"]


@spread_options
def ask(
    video: Annotated[str, typer.Argument(help="A video file.", show_default=False)],
    question: Annotated[str, typer.Argument(help="What to answer.", show_default=False)],
    *,
    umt: UMTOptions,
    merging: MergeOptions,
    answers: Annotated[
        str | None,
        typer.Option(
            help='Candidates: a JSON file ["red", "blue"], or a comma list; the bundled model has '
            "some of its own.",
            show_default=False,
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Answers to show.")] = 5,
    cache: CacheOption = None,
    compiled: CompileOption = False,
    run: RunOptions,
) -> None:
    """Answer a question about a video with the likeliest of a list of answers.

    Exit codes: 0 answered, 1 the video failed, 2 nothing could start.
    """
    with clear_errors(run.debug, what_is_kept(cache)):
        merge, _ = merging.parse(), umt.checkpoint
        validate_cache(cache)
        candidates = answer_candidates(answers, umt)
        from vidtldr.cli.ask_output import print_json, print_table
        from vidtldr.cli.load_umt_model import load_answering
        from vidtldr.cli.progress import status
        from vidtldr.cli.video_encoding import video_encoding
        from vidtldr.tasks.ask import ask_video

        model = load_answering(umt, merging.preset)
        num_clips = 1 if compiled else None
        encoding = video_encoding(model, merge, run.time_limit, cache=cache, compile_for=num_clips)
        with status("watching the video"):
            result = ask_video(encoding, video, question, candidates, top=top)
        (print_json if run.as_json else print_table)(question, result)
    if result.error is not None:
        raise typer.Exit(SOME_INPUTS_FAILED)


def answer_candidates(answers: str | None, umt: UMTOptions) -> tuple[str, ...]:
    """The answers to choose from.

    Raises:
        ValueError: If there are none, one is empty or comes twice; names the line of a file.
        FileNotFoundError: If the file is not there.
    """
    if answers is None and umt.is_bundled:
        from vidtldr.shapes.language import ANSWERS

        return ANSWERS
    if answers is None:
        raise ValueError(
            "--answers must be given with --model umt:CHECKPOINT, got none. Add --answers "
            "'red,blue'."
        )
    if Path(answers).is_file():
        from vidtldr.evaluate.annotations import read_answers

        return read_answers(answers)
    if "," not in answers:
        raise FileNotFoundError(
            f"--answers must be a JSON file that is there, or a comma list, got {answers!r}. "
            "Check the path."
        )
    entries = [answer.strip() for answer in answers.split(",")]
    if not all(entries) or len(set(entries)) < len(entries):
        raise ValueError(
            f"--answers must be different and not empty, got {answers!r}. Correct the list."
        )
    return tuple(entries)
