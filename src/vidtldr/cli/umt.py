"""Commands for UMT alone: `ask` answers questions, `convert` stores a checkpoint."""

import json
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vidtldr.cli.errors import SOME_INPUTS_FAILED, clear_errors
from vidtldr.cli.model_options import MergeOptions, ModelOptions
from vidtldr.cli.output_options import Reads, validate_cache, validate_new_directory
from vidtldr.cli.run_options import (
    MAX_FRAMES,
    CacheOption,
    CompileOption,
    RunOptions,
    spread_options,
    validate_text,
    validate_video,
    what_is_kept,
)
from vidtldr.cli.terminal import one_line, print_failed_videos, printable
from vidtldr.tasks.model_spec import UMT_PREFIX

if TYPE_CHECKING:
    from vidtldr.tasks.ask import AnsweredVideo

__all__ = ["answer_candidates", "ask", "convert"]


@spread_options
def ask(
    video: Annotated[str, Reads(), typer.Argument(help="A video file.", show_default=False)],
    question: Annotated[str, typer.Argument(help="The question.", show_default=False)],
    *,
    spec: ModelOptions,
    merging: MergeOptions,
    answers: Annotated[
        str | None,
        Reads(),
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
    """Answer a question about a video with the likeliest answer in a list.

    Example: vidtldr ask clip.mp4 "what is it" --answers cat,dog --model umt:qa.pth

    Exit codes: 0 answered, 1 the video failed, 2 nothing could start.
    """
    with clear_errors(run.debug, what_is_kept(cache)):
        merge, _ = merging.parse(spec), spec.checkpoint
        validate_video(video)
        validate_text(question, "QUESTION", "vidtldr ask VIDEO 'what colour is it?'")
        validate_cache(cache)
        candidates = answer_candidates(answers, spec)
        from vidtldr.cli.load_model import load_answering, say_if_unmerged, video_encoding
        from vidtldr.cli.terminal import compiled_row, status
        from vidtldr.tasks.ask import ask_video

        model = load_answering(spec)
        say_if_unmerged(model, merge)
        num_clips = 1 if compiled else None
        encoding = video_encoding(model, merge, run.time_limit, cache=cache, compile_for=num_clips)
        with status("watching the video"):
            result = ask_video(encoding, video, question, candidates, top=top)
        if run.as_json:
            _print_json(question, result, compiled_row(encoding.compiled))
        else:
            _print_table(question, result)
    if result.error is not None:
        raise typer.Exit(SOME_INPUTS_FAILED)


def answer_candidates(answers: str | None, spec: ModelOptions) -> tuple[str, ...]:
    """Return the candidate answers.

    Raises:
        ValueError: If there are none, or one is empty or repeated; names the line of a file.
        FileNotFoundError: If the file does not exist.
    """
    if answers is None and spec.is_bundled:
        from vidtldr.shapes.language import ANSWERS

        return ANSWERS
    if answers is None:
        raise ValueError(
            "--answers must be given with --model umt:CHECKPOINT, got none. Add --answers "
            "'red,blue'."
        )
    if Path(answers).is_file():
        from vidtldr.evaluate.annotations import read_answers

        listed = read_answers(answers)
        if len(listed) == 1:
            raise ValueError(
                f"--answers must be two or more, as a single one always has 100 %, got "
                f"{listed[0]!r} alone in {answers!r}. Add others."
            )
        return listed
    if "," not in answers or answers.lower().endswith(".json"):
        raise FileNotFoundError(
            f"--answers must be an existing JSON file or a comma-separated list, got {answers!r}. "
            "Check the path."
        )
    entries = [answer.strip() for answer in answers.split(",")]
    if not all(entries) or len(set(entries)) < len(entries):
        raise ValueError(
            f"--answers must be different and not empty, got {answers!r}. Correct the list."
        )
    return tuple(entries)


def _print_json(question: str, result: "AnsweredVideo", compiled: Mapping[str, Any]) -> None:
    """Print one JSON object, including the fields of `compiled_row`."""
    row = {
        "video": result.path,
        "question": question,
        "answers": [vars(answer) for answer in result.answers],
        "duration_seconds": result.seconds,
        "notes": list(result.notes),
        "error": None if result.error is None else one_line(result.error),
        **compiled,
    }
    print(json.dumps(row))


def _print_table(question: str, result: "AnsweredVideo") -> None:
    """Print the answers, likeliest first, or the error."""
    console = Console(highlight=False)
    if result.error is not None:
        print_failed_videos(console, [(result.path, result.error)], 1)
        return
    console.print(Text(one_line(question), style="bold"))
    for note in result.notes:
        console.print(Text(f"  note: {one_line(note)}", style="yellow"))
    table = Table(box=None, padding=(0, 2), show_header=False)
    table.add_column(overflow="fold")
    table.add_column(justify="right", no_wrap=True)
    for answer in result.answers:
        table.add_row(Text(printable(answer.answer)), f"{answer.probability:.1%}")
    console.print(table)


@spread_options
def convert(
    checkpoint: Annotated[
        str,
        Reads(),
        typer.Argument(
            help="A published UMT checkpoint, .pth or .safetensors.", show_default=False
        ),
    ],
    directory: Annotated[Path, typer.Argument(help="New directory to write.", show_default=False)],
    task: Annotated[
        Literal["retrieval", "answering"], typer.Option(help="What the weights are for.")
    ] = "retrieval",
    arch: Annotated[
        str | None,
        Reads(names=("b16", "l16")),
        typer.Option(help="Sizes: b16 (the default), l16 or a JSON file."),
    ] = None,
    tokenizer: Annotated[
        str | None,
        Reads(),
        typer.Option(metavar="DIR", help="Tokenizer to store; default: BERT's, cached."),
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MAX_FRAMES,
            help="Frames it was trained with: 12 if fine-tuned (default), else 4.",
        ),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    """Convert a UMT checkpoint to a directory that --model umt:DIRECTORY loads by itself.

    It holds model.safetensors, config.json and the tokenizer, and is complete once
    model.safetensors exists. Pickled code in a checkpoint is never run.

    Example: vidtldr convert msrvtt.pth msrvtt

    Exit codes: 0 written, 2 not written.
    """
    with clear_errors(debug, f"{str(directory)!r} is incomplete: remove it"):
        name = checkpoint.removeprefix(UMT_PREFIX)
        if not Path(name).expanduser().exists():
            raise FileNotFoundError(
                f"CHECKPOINT must be an existing file, got {checkpoint!r}. Check the path."
            )
        validate_new_directory(directory)
        _validate_text(directory)
        from vidtldr.cli.load_model import notes_on_stderr
        from vidtldr.cli.terminal import printable, status
        from vidtldr.models.umt.checkpoint import convert_checkpoint
        from vidtldr.tasks.load import umt_source

        options = ModelOptions(UMT_PREFIX + name, arch=arch, tokenizer=tokenizer, frames=frames)
        weights, config, vocabulary = umt_source(options)
        with status("converting"), notes_on_stderr():
            convert_checkpoint(weights, directory, task=task, config=config, tokenizer=vocabulary)
        named = printable(shlex.quote(f"{UMT_PREFIX}{directory}"))
        typer.echo(f"wrote {printable(str(directory))}: use it as --model {named}")


def _validate_text(directory: Path) -> None:
    try:
        os.path.abspath(directory).encode()
    except UnicodeEncodeError as error:  # the tokenizer's library opens no other
        raise ValueError(
            f"DIRECTORY must have a path that is UTF-8, got {str(directory)!r}. Rename it."
        ) from error
