"""`vidtldr ask`: answer a question about a video, freely or from a list of answers."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vidtldr.cli.errors import SOME_INPUTS_FAILED, clear_errors
from vidtldr.cli.merge_options import MergeOptions
from vidtldr.cli.model_options import ModelOptions
from vidtldr.cli.output_options import Reads, validate_cache
from vidtldr.cli.run_options import (
    MAX_ROUNDS,
    CacheOption,
    CompareOption,
    CompileOption,
    RunOptions,
    spread_options,
    validate_text,
    validate_video,
    what_is_kept,
)
from vidtldr.cli.terminal import (
    compiled_row,
    one_line,
    print_failed_videos,
    print_gain,
    printable,
    progress,
    status,
    token_runs,
)
from vidtldr.config import MergeConfig

if TYPE_CHECKING:
    from vidtldr.tasks.answer_comparison import AnswerComparison, AnswerSide
    from vidtldr.tasks.ask import AnsweredVideo
    from vidtldr.tasks.video_language import FreeAnswer
    from vidtldr.video.decode import Clip

__all__ = ["answer_candidates", "ask"]

MAX_ANSWER_TOKENS = 65536


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
            help='For UMT, candidates: a JSON file ["red", "blue"], or a comma-separated list; the '
            "bundled model has some of its own.",
            show_default=False,
        ),
    ] = None,
    top: Annotated[
        int | None, typer.Option(min=1, help="For UMT, answers to show; default: 5.")
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MAX_ANSWER_TOKENS,
            help="Maximum length of a language model's answer, in tokens; default: 64.",
        ),
    ] = None,
    compare: CompareOption = False,
    rounds: Annotated[
        int | None,
        typer.Option(
            min=1, max=MAX_ROUNDS, help="Timed runs per model with --compare; default: 5."
        ),
    ] = None,
    cache: CacheOption = None,
    compiled: CompileOption = False,
    run: RunOptions,
) -> None:
    """Answer a question about a video.

    A video language model of transformers (LLaVA-OneVision, InternVL, SmolVLM and others) answers
    freely; --compare shows what it says unmerged and merged, and the time to the first token. UMT
    picks the likeliest answer in a list.

    Example: vidtldr ask clip.mp4 "what happens here?" --model
    llava-hf/llava-onevision-qwen2-0.5b-ov-hf --compare

    Exit codes: 0 answered, 1 the video failed, 2 nothing could start.
    """
    with clear_errors(run.debug, what_is_kept(cache) if spec.is_umt else ""):
        merge = merging.parse(spec, must_merge=compare)
        validate_video(video)
        validate_text(question, "QUESTION", "vidtldr ask VIDEO 'what colour is it?'")
        validate_cache(cache)
        if rounds is not None and not compare:
            raise ValueError(
                f"--rounds must come with --compare, got {rounds} alone. Leave it out."
            )
        spec.validate()
        if spec.is_umt:
            _refuse_for_umt(spec, {"--max-tokens": max_tokens, "--compare": compare or None})
            asked = _ask_umt(spec, merge, video, question, answers, top, cache, compiled, run)
        else:
            umt_only = {"--answers": answers, "--top": top, "--cache": cache}
            _refuse_without_umt(spec, umt_only | {"--compile": compiled or None})
            num_repeats = (rounds or 5) if compare else None
            asked = _ask_freely(spec, merge, video, question, max_tokens or 64, num_repeats, run)
    if not asked:
        raise typer.Exit(SOME_INPUTS_FAILED)


def _refuse_for_umt(spec: ModelOptions, typed: Mapping[str, Any]) -> None:
    for flag, value in typed.items():
        if value is not None:
            raise ValueError(
                f"{flag} must come with a video language model of transformers, got model "
                f"{spec.name!r}, which picks one of a list of answers. Leave it out."
            )


def _refuse_without_umt(spec: ModelOptions, typed: Mapping[str, Any]) -> None:
    for flag, value in typed.items():
        if value is not None:
            raise ValueError(
                f"{flag} must come with a UMT model (umt:CHECKPOINT), got model {spec.name!r}, "
                "which answers freely. Leave it out."
            )


def _ask_umt(
    spec: ModelOptions,
    merge: MergeConfig | None,
    video: str,
    question: str,
    answers: str | None,
    top: int | None,
    cache: Path | None,
    compiled: bool,
    run: RunOptions,
) -> bool:
    """Rank candidates and print them; returns whether the video could be read."""
    candidates = answer_candidates(answers, spec)
    from vidtldr.cli.load_model import load_answering, say_if_unmerged, video_encoding
    from vidtldr.tasks.ask import ask_video

    model = load_answering(spec)
    say_if_unmerged(model, merge, spec)
    num_clips = 1 if compiled else None
    encoding = video_encoding(model, merge, run.time_limit, cache=cache, compile_for=num_clips)
    with status("watching the video"):
        result = ask_video(encoding, video, question, candidates, top=top or 5)
    _print_ranked(question, result, compiled_row(encoding.compiled), as_json=run.as_json)
    return result.error is None


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


def _ask_freely(
    spec: ModelOptions,
    merge: MergeConfig | None,
    video: str,
    question: str,
    max_tokens: int,
    num_repeats: int | None,
    run: RunOptions,
) -> bool:
    """Let a language model answer and print it; returns whether the video could be read."""
    from vidtldr.cli.load_model import load_video_language_model, notes_on_stderr, say_if_unmerged
    from vidtldr.patch.patching import apply_patch
    from vidtldr.patch.twin import merged_twin
    from vidtldr.tasks.answer_comparison import compare_answers
    from vidtldr.video.decode import VideoError, read_clip
    from vidtldr.video.sampling import Sampling

    loaded = load_video_language_model(spec)
    loaded.validate_question(question)
    say_if_unmerged(loaded.model, merge, spec)
    merged = None
    with notes_on_stderr():
        if num_repeats is not None and merge is not None:
            merged = merged_twin(loaded.model, merge)
        elif merge is not None:
            apply_patch(loaded.model, merge)
    try:
        clip = read_clip(video, Sampling(loaded.num_frames), time_limit_seconds=run.time_limit)
    except VideoError as error:
        said = _Said(video, question, error=one_line(str(error)))
    else:
        with notes_on_stderr():
            inputs = loaded.inputs(clip, question)
        if merged is None:
            with status("answering"):
                said = _Said(video, question, clip, loaded.answer(inputs, max_tokens))
        else:
            with progress("answering", 2 + 2 * (1 + (num_repeats or 0))) as on_step:
                comparison = compare_answers(
                    loaded,
                    loaded.with_model(merged),
                    inputs,
                    max_new_tokens=max_tokens,
                    num_repeats=num_repeats or 0,
                    on_step=on_step,
                )
            said = _Said(video, question, clip, comparison.merged.answer, comparison)
    _print_said(said, as_json=run.as_json)
    return said.error is None


def _print_ranked(
    question: str, result: "AnsweredVideo", compiled: Mapping[str, Any], *, as_json: bool
) -> None:
    """Print the answers of UMT, likeliest first, or the error.

    Args:
        question: As typed.
        result: The answers.
        compiled: Result of `compiled_row`, for JSON.
        as_json: Whether to print one JSON object.
    """
    if as_json:
        _print_json(question, result, compiled)
    else:
        _print_table(question, result)


def _print_json(question: str, result: "AnsweredVideo", compiled: Mapping[str, Any]) -> None:
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


@dataclass(frozen=True)
class _Said:
    """What a language model said of a video: an answer, a comparison, or the error."""

    video: str
    question: str
    clip: "Clip | None" = None
    answer: "FreeAnswer | None" = None
    comparison: "AnswerComparison | None" = None
    error: str | None = None


def _print_said(said: _Said, *, as_json: bool) -> None:
    """Print what a language model said, or the error."""
    if as_json:
        print(json.dumps(_row_of(said)))
    else:
        _print_answer(said)


def _row_of(said: _Said) -> dict[str, Any]:
    row: dict[str, Any] = {"video": said.video, "question": said.question}
    row["answer"] = None if said.answer is None else said.answer.text
    row["num_tokens"] = [] if said.answer is None else said.answer.num_tokens
    if said.clip is not None:
        row["frame_indices"] = list(said.clip.indices)
        row["duration_seconds"] = said.clip.duration_seconds
    row["notes"] = [] if said.clip is None else list(said.clip.notes)
    row["error"] = said.error
    if said.comparison is not None:
        row["unmerged"] = _row_of_side(said.comparison.unmerged)
        row["merged"] = _row_of_side(said.comparison.merged)
        row |= said.comparison.gain.to_dict()
        row["same_answer"] = said.comparison.agrees
    return row


def _row_of_side(side: "AnswerSide") -> dict[str, Any]:
    fastest_ms, slowest_ms = side.timing.spread_ms
    return {
        "answer": side.answer.text,
        "num_tokens": side.num_tokens,
        "gflops": side.flops / 1e9,  # 1 MAC = 2 FLOPs
        "first_token_ms": side.timing.median_ms,
        "fastest_ms": fastest_ms,
        "slowest_ms": slowest_ms,
        "tower_ms": side.tower.median_ms,
        "language_ms": side.language.median_ms,
        "peak_memory_bytes": side.peak_bytes,
    }


def _print_answer(said: _Said) -> None:
    console = Console(highlight=False)
    if said.error is not None:
        print_failed_videos(console, [(said.video, said.error)], 1)
        return
    assert said.answer is not None
    console.print(Text(one_line(said.question), style="bold"))
    for note in said.clip.notes if said.clip is not None else ():
        console.print(Text(f"  note: {one_line(note)}", style="yellow"))
    if said.comparison is None:
        console.print(_text_of(said.answer), soft_wrap=True)
        return
    sides = {"unmerged": said.comparison.unmerged, "merged": said.comparison.merged}
    for name, side in sides.items():
        console.print(Text(f"{name}: ", style="dim"), _text_of(side.answer), sep="", soft_wrap=True)
    console.print(_cost_table(sides))
    same = "same answer" if said.comparison.agrees else "different answer"
    print_gain(console, said.comparison.gain, same)
    console.print(Text("1 MAC = 2 FLOPs; memory: tensors allocated during the run.", style="dim"))


def _text_of(answer: "FreeAnswer") -> Text:
    """An answer with its line breaks, and everything else that is no plain text escaped."""
    return Text("\n".join(map(printable, answer.text.splitlines())))


def _cost_table(sides: Mapping[str, "AnswerSide"]) -> Table:
    table = Table(box=None, padding=(0, 2))
    table.add_column("", overflow="fold")
    for name in sides:
        table.add_column(name, overflow="fold")
    rows: dict[str, Callable[[AnswerSide], str]] = {
        "tower's tokens after each layer": lambda side: token_runs(side.num_tokens),
        "GFLOPs to the first token": lambda side: f"{side.flops / 1e9:.1f}",
        "time to the first token": lambda side: f"{side.timing.median_ms:.0f} ms",
        "  in the vision tower": lambda side: f"{side.tower.median_ms:.0f} ms",
        "  in the language model": lambda side: f"{side.language.median_ms:.0f} ms",
        "fastest to slowest": lambda side: "{:.0f} to {:.0f} ms".format(*side.timing.spread_ms),
        "peak memory": lambda side: f"{side.peak_bytes / 1e6:.1f} MB",
    }
    for name, cell in rows.items():
        table.add_row(name, *(cell(side) for side in sides.values()))
    return table
