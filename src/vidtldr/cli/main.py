"""`vidtldr`: the subcommands and their exit codes."""

import io
import os
import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import vidtldr
from vidtldr.cli.ask import ask
from vidtldr.cli.bench.command import app as bench
from vidtldr.cli.classify.command import classify
from vidtldr.cli.convert import convert, export
from vidtldr.cli.embed import embed
from vidtldr.cli.errors import end_with, value_error
from vidtldr.cli.evaluate.command import app as evaluate
from vidtldr.cli.index.command import app as index
from vidtldr.cli.run_options import with_old_names
from vidtldr.cli.search.command import search
from vidtldr.cli.shapes.command import app as shapes
from vidtldr.cli.shapes.command import demo
from vidtldr.cli.show.command import show
from vidtldr.cli.tune.command import tune

__all__ = ["app", "main"]

# `-` alone is standard input or output.
_OPTION = re.compile(r"-|-[A-Za-z]|--[a-z-]+(=.*)?")


class _Root(TyperGroup):
    """Refuses what looks like an option and is a file, and says wrong values as other errors."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        options = args[: args.index("--")] if "--" in args else args
        for each in options:
            if each.startswith("-") and not _OPTION.fullmatch(each) and os.path.isfile(each):
                end_with(
                    f"{each!r}: a file whose first letter makes it look like an option. Write "
                    f"./{each}, ./*.mp4 for *.mp4, or -- before all names of files."
                )
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            if not error.message:  # a missing parameter, which typer names
                raise
            end_with(value_error(error))


app = typer.Typer(
    cls=_Root,
    name="vidtldr",
    help="Faster video transformers without training: background tokens merge, the answers stay.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        versions = [f"{name} {_version_of(name)}" for name in ("torch", "transformers", "av")]
        typer.echo(f"vidtldr {vidtldr.__version__}")
        typer.echo(f"Python {platform.python_version()}, {', '.join(versions)}")
        raise typer.Exit


def _version_of(package: str) -> str:
    try:
        return version(package)  # from its metadata, without importing it
    except PackageNotFoundError:
        return "not installed"


@app.callback()
def _root(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version",
            "-V",
            help="Show the versions of what is installed, and exit.",
            metavar="",
            callback=_print_version,
            is_eager=True,
        ),
    ] = False,
) -> None:
    """Faster video transformers without training: merge background tokens, keep the answers."""


app.command()(demo)
app.command(cls=with_old_names({"--repeats": "--rounds"}))(classify)
app.command(cls=with_old_names({"--repeats": "--rounds"}))(show)
app.command(cls=with_old_names({"--in": "--index"}))(search)
app.command()(ask)
app.command()(embed)
app.add_typer(index, name="index")
app.add_typer(evaluate, name="evaluate")
app.command(cls=with_old_names({"--metric": "--drift-by"}))(tune)
app.add_typer(bench, name="bench")
app.command()(convert)
app.command()(export)
app.add_typer(shapes, name="shapes")


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that cannot be encoded is no error
            stream.reconfigure(errors="backslashreplace")
    app()
