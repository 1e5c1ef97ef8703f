"""Options that say what to merge; no torch here."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import typer

from vidtldr.cli.schedule import parse_schedule
from vidtldr.hosts.config import MergeConfig

__all__ = ["MergeOptions"]


@dataclass(frozen=True)
class MergeOptions:
    """What to merge, as it was typed."""

    preset: Annotated[
        str | None,
        typer.Option(
            help="A schedule of the paper, for umt: umt-b16/msrvtt-retrieval; or shapes, that of "
            "the bundled model."
        ),
    ] = None
    r: Annotated[str | None, typer.Option(help="Tokens to remove in each layer: 600,200,100.")] = (
        None
    )
    ratio: Annotated[str | None, typer.Option(help="The same as shares, up to 0.5: 0.25,0.1.")] = (
        None
    )
    score: Annotated[
        Literal["sharpness", "received", "none"] | None,
        typer.Option(help="What makes a token foreground; default: sharpness, or the preset's."),
    ] = None
    metric: Annotated[
        Literal["x", "keys"] | None,
        typer.Option(help="What is compared to pair tokens; default: x, or the preset's."),
    ] = None

    def parse(self) -> MergeConfig | None:
        """The merge that is asked for; None if none is.

        Raises:
            ValueError: If more than one schedule is given, or one is not well formed.
        """
        choices: dict[str, Any] = {}
        if self.score is not None:
            choices["score"] = None if self.score == "none" else self.score
        if self.metric is not None:
            choices["metric"] = self.metric
        return parse_schedule(self.r, self.ratio, self.preset, choices)

    def parse_for_compare(self, compare: bool) -> MergeConfig | None:
        """The same; with `compare` there must be one.

        Raises:
            ValueError: As `parse`, or if there is nothing to compare with.
        """
        merge = self.parse()
        if compare and merge is None:
            raise ValueError(
                "--compare must come with a schedule, got neither --r nor --ratio nor --preset. "
                "Add --r 600,200,100."
            )
        return merge
