"""Options that say what to merge; no torch here."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from vidtldr.cli.schedule import parse_counts, parse_shares, read_schedule, refuse_several
from vidtldr.hosts.config import MergeConfig
from vidtldr.hosts.presets import preset as paper_preset
from vidtldr.shapes.bundled_model import BUNDLED_PRESET, bundled_merge

__all__ = ["MergeOptions"]

_BUDGETS = ("flop_ratio", "num_tokens", "speedup")
_AMOUNTS = ("r", "ratio", *_BUDGETS, "preset", "schedule")


@dataclass(frozen=True)
class MergeOptions:
    """What to merge, as it was typed."""

    preset: Annotated[
        str | None,
        typer.Option(
            help="A schedule of the paper, for umt: umt-b16/msrvtt-qa; or shapes, the bundled "
            "model's."
        ),
    ] = None
    schedule: Annotated[
        Path | None,
        typer.Option(metavar="JSON", help='A file like {"r": [600, 200], "score": "received"}.'),
    ] = None
    flop_ratio: Annotated[
        float | None,
        typer.Option(help="Merge until the model costs this share of its FLOPs: 0.6."),
    ] = None
    num_tokens: Annotated[int | None, typer.Option(help="Merge until so many tokens are left.")] = (
        None
    )
    speedup: Annotated[
        float | None,
        typer.Option(help="Merge until it is so many times faster here, as measured: 1.5."),
    ] = None
    merge_layers: Annotated[
        str | None,
        typer.Option(help="Layers that these three may use: 0,1,2; by default the first quarter."),
    ] = None
    r: Annotated[str | None, typer.Option(help="Tokens to remove in each layer: 600,200,100.")] = (
        None
    )
    ratio: Annotated[str | None, typer.Option(help="The same as shares, up to 0.5: 0.25,0.1.")] = (
        None
    )
    score: Annotated[
        Literal[
            "sharpness",
            "sharpness-per-head",
            "flatness",
            "received",
            "representation-shift",
            "none",
        ]
        | None,
        typer.Option(
            metavar="SCORE",
            help="What makes a token foreground: sharpness (the default), sharpness-per-head, "
            "flatness, received, representation-shift or none.",
        ),
    ] = None
    metric: Annotated[
        Literal["x", "keys", "random"] | None,
        typer.Option(help="What is compared to pair tokens; x by default."),
    ] = None
    pooling: Annotated[
        Literal["tokens", "mass"] | None,
        typer.Option(
            help="What a token counts for behind UMT's encoder: tokens, all alike (the default), "
            "or its mass."
        ),
    ] = None

    def parse(self) -> MergeConfig | None:
        """The merge that is asked for; None if none is.

        Raises:
            ValueError: If more than one schedule is given, or one is not well formed.
        """
        return self.parse_or(None)

    def parse_or(self, default: MergeConfig | None) -> MergeConfig | None:
        """The same, or what merges where no amount is typed; its score and metric can be.

        Raises:
            ValueError: As `parse`.
        """
        config = self._amount() or default
        if config is None:
            return None
        return replace(config, **self.choices())  # what is not typed stays as a file has it

    def choices(self) -> dict[str, Any]:
        """Score and metric as fields of `MergeConfig`, those that are typed."""
        typed: dict[str, Any] = {}
        if self.score is not None:
            typed["score"] = None if self.score == "none" else self.score
        if self.metric is not None:
            typed["metric"] = self.metric
        if self.pooling is not None:
            typed["pooling"] = self.pooling
        return typed

    def parse_for_compare(self, compare: bool) -> MergeConfig | None:
        """The same; with `compare` there must be one.

        Raises:
            ValueError: As `parse`, or if there is nothing to compare with.
        """
        merge = self.parse()
        if compare and merge is None:
            raise ValueError(
                "--compare must come with a schedule, got none. Add --flop-ratio 0.6 or --r "
                "600,200,100."
            )
        return merge

    def _amount(self) -> MergeConfig | None:
        given = [name for name in _AMOUNTS if getattr(self, name) is not None]
        refuse_several([_flag(name) for name in given])
        if self.merge_layers is not None and given not in [[name] for name in _BUDGETS]:
            raise ValueError(
                "--merge-layers must come with --flop-ratio, --num-tokens or --speedup, got "
                f"{_flag(given[0]) if given else 'none'}. Leave it out, or add --flop-ratio 0.6."
            )
        if self.preset is not None:
            return bundled_merge() if self.preset == BUNDLED_PRESET else paper_preset(self.preset)
        if self.schedule is not None:
            return read_schedule(self.schedule)
        if self.r is not None:
            return MergeConfig(r=parse_counts("--r", self.r))
        if self.ratio is not None:
            return MergeConfig(ratio=parse_shares(self.ratio))
        return self._budget() if given else None

    def _budget(self) -> MergeConfig:
        layers = None
        if self.merge_layers is not None:
            layers = parse_counts("--merge-layers", self.merge_layers)
        return MergeConfig(
            flop_ratio=self.flop_ratio,
            num_tokens=self.num_tokens,
            speedup=self.speedup,
            layers=layers,
        )


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
