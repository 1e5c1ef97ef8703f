"""`vidtldr`: the subcommands, and how they end."""

import io
import sys
from typing import Annotated

import typer

import vidtldr
from vidtldr.cli import (
    ask,
    bench_speed,
    classify,
    convert,
    demo,
    embed,
    evaluate,
    index,
    search,
    shapes,
    show,
    tune,
)

__all__ = ["app", "main"]

app = typer.Typer(
    name="vidtldr",
    help="Faster video transformers without training: background tokens merge, the answers stay.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"vidtldr {vidtldr.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Faster video transformers without training: background tokens merge, the answers stay."""


app.command("demo")(demo.demo)
app.command("classify")(classify.classify)
app.command("show")(show.show)
app.command("search")(search.search)
app.command("ask")(ask.ask)
app.command("embed")(embed.embed)
app.add_typer(index.app, name="index")
app.add_typer(evaluate.app, name="evaluate")
app.command("tune")(tune.tune)
app.add_typer(bench_speed.app, name="bench")
app.command("convert")(convert.convert)
app.add_typer(shapes.app, name="shapes")


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name the terminal cannot show stops nothing
            stream.reconfigure(errors="backslashreplace")
    app()
