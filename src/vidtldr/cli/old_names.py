"""Former names of options; they keep working for one version."""

from collections.abc import Mapping
from typing import Any

import typer
from typer.core import TyperCommand

__all__ = ["with_old_names"]


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
