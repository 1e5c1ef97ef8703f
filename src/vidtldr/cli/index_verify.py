"""`vidtldr index verify`: whether an index is sound."""

import json
from dataclasses import asdict

import typer

from vidtldr.cli.errors import SOME_INPUTS_FAILED, clear_errors
from vidtldr.cli.index_options import DebugOption, IndexArgument, JsonOption

__all__ = ["verify"]


def verify(index: IndexArgument, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """Read every row of an index and look at every file.

    Exit codes: 0 the index is sound, 1 something is wrong with it, 2 it cannot be opened. Files
    that changed or are gone are said; they are not the index's fault.
    """
    with clear_errors(debug):
        from rich.console import Console
        from rich.text import Text

        from vidtldr.cli.progress import status
        from vidtldr.cli.text import one_line, printable
        from vidtldr.store.verify import verify_index

        with status("reading the index"):
            check = verify_index(index)
        if as_json:
            print(json.dumps(asdict(check)))
        else:
            console = Console(highlight=False)
            name = printable(str(index))
            verdict = "damaged" if check.problems else "sound"
            console.print(
                Text(
                    f"{name} is {verdict}: {check.num_rows} rows of {check.num_videos} videos, "
                    f"{check.num_failures} failures"
                )
            )
            for problem in check.problems:
                console.print(Text(f"  {one_line(problem)}", style="red"))
            if check.num_changed:
                console.print(Text(f"{check.num_changed} files changed: index them again"))
            if check.num_gone:
                console.print(Text(f"{check.num_gone} files are gone: vidtldr index prune {name}"))
    if check.problems:
        raise typer.Exit(SOME_INPUTS_FAILED)
