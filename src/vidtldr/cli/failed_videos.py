"""Videos that failed, as they are listed under a table."""

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from vidtldr.cli.flag_words import in_flags
from vidtldr.cli.text import one_line, printable

__all__ = ["print_failed_videos"]


def print_failed_videos(
    console: Console,
    failed: Sequence[tuple[str, str]],
    num_videos: int,
    consequence: str = "",
) -> None:
    """List videos with their errors; nothing if there are none.

    Args:
        console: Where to.
        failed: Path and error of each.
        num_videos: All videos.
        consequence: What became of them.
    """
    if not failed:
        return
    console.print(Text(f"{len(failed)} of {num_videos} videos failed{consequence}:", style="red"))
    for path, error in failed:
        # Most errors name the file themselves.
        name = "" if repr(path) in error else f"{printable(path)}: "
        console.print(Text(f"  {name}{one_line(in_flags(error))}", style="red"))
