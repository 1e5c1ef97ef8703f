"""Options of a search in an index; no torch here."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["IndexSearchOptions"]


@dataclass(frozen=True)
class IndexSearchOptions:
    """Where to search and by what, as it was typed."""

    index: Annotated[
        Path | None,
        typer.Option("--in", metavar="INDEX", help="Search this index (vidtldr index add)."),
    ] = None
    like: Annotated[
        str | None,
        typer.Option(metavar="VIDEO", help="With --in: find what is like this video, not a text."),
    ] = None
    filter: Annotated[
        str | None,
        typer.Option(
            metavar="SQL", help='With --in: only rows for which this holds: "seconds > 5".'
        ),
    ] = None

    def validate(
        self, text: str | None, videos: Sequence[str], cache: Path | None, compiled: bool
    ) -> None:
        """Refuse what does not go together.

        Raises:
            ValueError: If something is missing, or too much.
        """
        if self.index is None:
            for name, value in (("--like", self.like), ("--filter", self.filter)):
                if value is not None:
                    raise ValueError(
                        f"{name} must come with --in INDEX, got {value!r}. Make an index first: "
                        "vidtldr index add."
                    )
            if text is None or not videos:
                missing = "neither" if text is None else f"the text {text!r} alone"
                raise ValueError(
                    f"TEXT and VIDEO must be given, got {missing}. Name video files, or an index "
                    "with --in."
                )
            return
        if videos:
            raise ValueError(
                f"VIDEO must be left out with --in, got {videos[0]!r}. Put a text of several words "
                "in quotes; add the video to the index with vidtldr index add."
            )
        if cache is not None:
            raise ValueError(
                f"--cache must be left out with --in, got {str(cache)!r}. An index holds what is "
                "needed."
            )
        if compiled:
            raise ValueError(
                "--compile must be left out with --in, got both. An index holds vectors, so few "
                "videos are encoded."
            )
        if (text is None) == (self.like is None):
            got = "neither" if text is None else "both"
            raise ValueError(
                f"TEXT or --like must be given with --in, got {got}. Give one of the two."
            )
