"""`vidtldr index`: the commands that make an index of videos and look after it."""

import typer

from vidtldr.cli import index_add, index_export, index_prune, index_status, index_verify

__all__ = ["app"]

app = typer.Typer(
    name="index",
    help="Index many videos, so that searching them takes moments. Then: vidtldr search --in.",
    no_args_is_help=True,
)
app.command("add")(index_add.add)
app.command("status")(index_status.status)
app.command("verify")(index_verify.verify)
app.command("prune")(index_prune.prune)
app.command("export")(index_export.export)
