"""Options for how a subcommand runs and prints; does not import torch."""

import inspect
import os
import re
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import update_wrapper
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar, get_args, get_type_hints

import typer
from rich.markup import escape
from typer.core import TyperCommand
from typer.models import ArgumentInfo, OptionInfo

from vidtldr.cli.output_options import Reads, Writes, path_parser, reading
from vidtldr.cli.terminal import in_flags, printable
from vidtldr.pipeline import discovery
from vidtldr.pipeline.discovery import Discovered
from vidtldr.tasks.model_spec import canonical_dtype, validate_device

__all__ = [
    "MAX_BATCH",
    "MAX_FRAMES",
    "MAX_ROUNDS",
    "MAX_THREADS",
    "VIDEOS_HELP",
    "CacheOption",
    "CompareOption",
    "CompileOption",
    "DeviceOption",
    "DtypeOption",
    "RunOptions",
    "VideosArgument",
    "checked",
    "find_videos",
    "parse_seconds",
    "refuse_swallowed",
    "say_unreadable",
    "spread_options",
    "validate_text",
    "validate_video",
    "what_is_kept",
    "with_old_names",
]


ValueT = TypeVar("ValueT")

#: Upper bounds of numbers whose cost no data limits: a slip of the fingers would run for years.
MAX_ROUNDS = 1000
MAX_BATCH = 4096  # the pipeline of an index keeps three batches in memory
MAX_FRAMES = 16384  # of a clip, as in `vidtldr.video.sampling`
MAX_THREADS = 1024


def checked(parse: Callable[[str], ValueT]) -> Callable[[str], ValueT]:
    """Adapt a parser to typer, which prints its errors."""

    def parser(typed: str) -> ValueT:
        try:
            return parse(str(typed))  # typer passes defaults, too
        except ValueError as error:
            raise typer.BadParameter(in_flags(str(error))) from error

    return parser


DeviceOption = Annotated[
    str,
    typer.Option(
        parser=checked(validate_device),
        metavar="DEVICE",
        help="Where to run: auto, cpu, cuda, cuda:1 or mps.",
    ),
]
DtypeOption = Annotated[
    str,
    typer.Option(
        parser=checked(canonical_dtype),
        metavar="DTYPE",
        help="Of the weights: auto (the checkpoint's), float32, bfloat16 or float16 (fp32, bf16, "
        "fp16).",
    ),
]
_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_seconds(name: str, typed: str) -> float:
    """Parse a duration: 10, 10s, 1.5m.

    Raises:
        ValueError: If it is not a duration, or not positive.
    """
    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*([smh]?)", typed.strip())
    seconds = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if not seconds > 0:
        raise ValueError(f"{name} must be a length above 0, got {typed!r}. Write 10s or 1.5m.")
    return seconds


VIDEOS_HELP = (
    "Video files; folders, searched to any depth; patterns in quotes; lists, which end in .txt and "
    "have one path per line; - for a list on the standard input."
)
VideosArgument = Annotated[
    list[str],
    Reads(is_kept_whole=False),
    typer.Argument(metavar="VIDEO", help=VIDEOS_HELP, show_default=False),
]
CompareOption = Annotated[
    bool, typer.Option("--compare", help="Run unmerged and merged, and compare.")
]
CompileOption = Annotated[
    bool,
    typer.Option("--compile", help="Compile the model first; worth it for many videos."),
]
CacheOption = Annotated[
    Path | None,
    Reads(),
    typer.Option(
        metavar="DIR",
        help="Directory that keeps what the model computed of each video, to continue later.",
    ),
]


@dataclass(frozen=True)
class RunOptions:
    """How to run and print, as typed."""

    panel: ClassVar = "Input and output"

    time_limit: Annotated[
        float,
        typer.Option(
            parser=checked(lambda typed: parse_seconds("--time-limit", typed)),
            metavar="SECONDS",
            help="Time limit for reading one video: 120 or 2m.",
        ),
    ] = 120.0
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON Lines and nothing else.")] = (
        False
    )
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False


def find_videos(named: Sequence[str]) -> list[str]:
    """Find the videos that arguments name, before anything slow is done.

    Raises:
        ValueError: If an argument belongs to an option, none of the videos exists, or there are
            none.
        OSError: If a list cannot be read.
    """
    refuse_swallowed(named)
    found = discovery.find_videos(named)
    say_unreadable(found)
    if not found.files:
        raise ValueError(
            f"no videos in {', '.join(map(repr, named))}. Name files whose suffix is not that of a "
            "video one by one."
        )
    if all(map(_why_missing, found.files)):
        first, num = found.files[0], len(found.files)
        rest = f", and none of the {num} videos exists" if num > 1 else ""
        raise ValueError(f"{first!r}: {_why_missing(first)}{rest}. Check the path.")
    return list(found.files)


def validate_video(named: str) -> None:
    """Check that an argument names one file, before anything slow is done.

    Raises:
        ValueError: If it does not exist or is a folder.
    """
    if why := _why_missing(named):
        raise ValueError(f"{named!r}: {why}. Check the path.")
    if os.path.isdir(named):
        raise ValueError(f"{named!r}: a folder, where one video is needed. Name a file in it.")


def _why_missing(path: str) -> str:
    """Why there is no file; empty if there is one."""
    if not os.path.lexists(path):
        return "no such file"
    return "" if os.path.exists(path) else "a link to no file that can be found"


def validate_text(text: str, name: str, example: str) -> None:
    """Check that a text says something and is none of the videos.

    Args:
        text: As typed.
        name: What it is.
        example: The right way to type it.

    Raises:
        ValueError: If it is empty, an existing file, the name of a video, or the path of a folder,
            or cannot be encoded.
    """
    if not text.strip():
        raise ValueError(f"{name} must be words, got {text!r}. Write {example}.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{name} must be valid UTF-8, got {text!r:.100}. Type it again."
        ) from error
    is_video = os.path.splitext(text)[1].lower() in discovery.VIDEO_SUFFIXES
    if is_video or os.path.isfile(text) or (os.path.isdir(text) and os.sep in text):
        raise ValueError(f"{name} must be words, got the path {text!r}. Write {example}.")


def refuse_swallowed(named: Sequence[str]) -> None:
    """Check that no video is really the value of an option: a number, or `true`.

    Raises:
        ValueError: If one is.
    """
    missing = [each for each in named if not os.path.lexists(each)]
    numbers = [each.strip("[]()%,; ") for each in missing if _NUMBER.fullmatch(each)]
    if numbers:
        raise ValueError(
            f"VIDEO must be a file, got the number {numbers[0]}. Write several numbers with commas "
            "and without spaces: --r 50,20,10."
        )
    words = [each for each in missing if each.lower() in _BOOLEANS]
    if words:
        raise ValueError(
            f"VIDEO must be a file, got {words[0]!r}. Options such as --compare take no value: "
            "leave it out."
        )


_NUMBER = re.compile(r"[\[(]?[-+]?(\d+\.?\d*|\.\d+)%?[\])]?[,;]?")
_BOOLEANS = ("true", "false", "yes", "no", "on", "off")


def say_unreadable(found: Discovered) -> None:
    """Print a note on stderr for each folder that could not be listed."""
    for folder, reason in found.unreadable:
        typer.echo(f"note: {printable(folder)} cannot be searched: {reason}", err=True)


def what_is_kept(cache: Path | None) -> str:
    """Return the message for an interrupted command that could resume from a cache."""
    if cache is None:
        return "nothing was saved. With --cache DIR the same command could resume"
    return f"{str(cache)!r} keeps the finished videos. Run the same command again to resume"


def spread_options(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command take groups of options, and lay out its help.

    Every field of a group becomes a separate option, listed under the group's `panel` if it has
    one. Paragraphs of the docstring wrap at the width of the terminal.

    While it runs, outputs are checked against what the options marked by `Reads` name.

    Args:
        command: A function for typer; a parameter whose type is a dataclass is such a group, whose
            fields have annotations for typer.

    Returns:
        A function whose parameters are the fields, in order, in place of the groups.
    """
    hints = get_type_hints(command, include_extras=True)
    groups = {
        name: kind for name, kind in hints.items() if isinstance(kind, type) and is_dataclass(kind)
    }
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(command).parameters.values():
        group = groups.get(parameter.name)
        if group is None:
            kind = inspect.Parameter.KEYWORD_ONLY
            hint = _laid_out(parameter.name, hints[parameter.name])
            parameters.append(parameter.replace(annotation=hint, kind=kind))
        else:
            parameters += _parameters_of(group)
    marks = {parameter.name: mark for parameter in parameters for mark in _marks(parameter)}

    def spread(**values: Any) -> None:
        with reading(marks, values):
            for name, group in groups.items():
                values[name] = group(**{each.name: values.pop(each.name) for each in fields(group)})
            command(**values)

    update_wrapper(spread, command)
    paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    spread.__doc__ = escape("\n\n".join(" ".join(lines.split()) for lines in paragraphs))
    del spread.__wrapped__  # type: ignore[attr-defined]  # typer would follow it
    spread.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    spread.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return spread


def _marks(parameter: inspect.Parameter) -> list[Reads]:
    about = getattr(parameter.annotation, "__metadata__", ())
    return [each for each in about if isinstance(each, Reads)]


def _parameters_of(group: type) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    panel = getattr(group, "panel", None)
    return [
        _parameter(field, _laid_out(field.name, hints[field.name], panel))
        for field in fields(group)
    ]


def _laid_out(name: str, hint: Any, panel: str | None = None) -> Any:
    """Put an option under a panel, and parse paths; flags show no value, and whole numbers N."""
    kind, *about = get_args(hint)
    about = [copy(each) for each in about]
    is_written = any(isinstance(each, Writes) for each in about)
    for info in about:
        if isinstance(info, OptionInfo | ArgumentInfo) and Path in (kind, *get_args(kind)):
            info.parser = path_parser(_typed_name(name, info), is_written=is_written)
            info.metavar = info.metavar or "PATH"
        if isinstance(info, OptionInfo):
            info.rich_help_panel = panel
            if info.metavar is None and info.parser is None:
                info.metavar = {bool: "", int: "N", int | None: "N"}.get(kind)
    return Annotated[kind, *about]


def _typed_name(name: str, info: OptionInfo | ArgumentInfo) -> str:
    if isinstance(info, ArgumentInfo):
        return info.metavar or name.upper()
    named = (info.default, *(info.param_decls or ()))  # in `Annotated` the first name comes first
    flags = [each for each in named if isinstance(each, str) and each.startswith("--")]
    return flags[0] if flags else f"--{name.replace('_', '-')}"


def _parameter(field: Field[Any], hint: Any) -> inspect.Parameter:
    default = inspect.Parameter.empty if field.default is MISSING else field.default
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(field.name, kind, default=default, annotation=hint)


def with_old_names(names: Mapping[str, str]) -> type[TyperCommand]:
    """Return a class for `app.command(cls=...)` that accepts old option names, with a notice.

    Args:
        names: The new name for each old one, as typed.
    """

    class CommandWithOldNames(TyperCommand):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            num_options = args.index("--") if "--" in args else len(args)
            current = [_current(each, names) for each in args[:num_options]]
            return super().parse_args(ctx, [*current, *args[num_options:]])

    return CommandWithOldNames


def _current(typed: str, names: Mapping[str, str]) -> str:
    name, equals, value = typed.partition("=")
    if name not in names:
        return typed
    typer.echo(f"note: {name} is now {names[name]}; the next version drops the old name", err=True)
    return f"{names[name]}{equals}{value}"
