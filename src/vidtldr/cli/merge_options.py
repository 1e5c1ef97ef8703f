"""Options for what to merge in a model; does not import torch."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, ClassVar, get_args

import typer

from vidtldr.bundled import BUNDLED_PRESET, bundled_merge
from vidtldr.cli.model_options import ModelOptions
from vidtldr.cli.output_options import Reads
from vidtldr.cli.run_options import checked
from vidtldr.cli.terminal import printable
from vidtldr.cli.typed_values import (
    choice_parser,
    listed,
    number_parser,
    parse_counts,
    parse_shares,
)
from vidtldr.config import Linkage, MergeConfig, Metric, Pooling, Score
from vidtldr.config_amounts import BUDGETS
from vidtldr.config_file import CONFIG_FILE, read_config
from vidtldr.tasks.model_spec import UMT_PREFIX, ModelSpec

__all__ = ["SUGGESTED", "UNMERGED_NOTE", "MergeOptions", "saved_note"]

#: What a comparison merges unless told otherwise, and what commands that merge nothing suggest.
SUGGESTED = MergeConfig(flop_ratio=0.6)
UNMERGED_NOTE = "note: nothing is merged; --flop-ratio 0.6 would save 40 % of the FLOPs"
_AMOUNTS = ("r", "ratio", *BUDGETS, "preset", "schedule")


def saved_note(spec: ModelSpec) -> str | None:
    """Return a note that nothing is merged although the model's directory has a schedule."""
    directory = (spec.model or "").removeprefix(UMT_PREFIX)
    if not directory or not (Path(directory) / CONFIG_FILE).is_file():
        return None
    named = printable(shlex.quote(directory))
    return f"note: nothing is merged; --schedule {named} would merge by its {CONFIG_FILE}"


@dataclass(frozen=True)
class MergeOptions:
    """What to merge, as typed."""

    panel: ClassVar = "Merging"

    preset: Annotated[
        str | None,
        typer.Option(
            help="A schedule of the paper, for umt: umt-b16/msrvtt-qa; or shapes, the bundled "
            "model's, which it takes by default (--flop-ratio 1 merges nothing)."
        ),
    ] = None
    schedule: Annotated[
        str | None,
        Reads(is_kept_whole=False, stands_for=CONFIG_FILE),
        typer.Option(
            metavar="FILE|DIR|ID",
            help=f"A {CONFIG_FILE}, as tune writes it; a directory or a model on the hub that has "
            'one; or a file like {"r": [600, 200], "score": "received"}.',
        ),
    ] = None
    flop_ratio: Annotated[
        float | None,
        typer.Option(
            parser=checked(number_parser("--flop-ratio", "%", "0.6")),
            metavar="SHARE",
            help="Target share of the unmerged model's FLOPs: 0.6 or 60%.",
        ),
    ] = None
    num_tokens: Annotated[int | None, typer.Option(help="Tokens to keep after the last layer.")] = (
        None
    )
    speedup: Annotated[
        float | None,
        typer.Option(
            parser=checked(number_parser("--speedup", "x", "1.5")),
            metavar="FACTOR",
            help="Target speed-up on this device, measured at first use: 1.5.",
        ),
    ] = None
    merge_layers: Annotated[
        str | None,
        typer.Option(
            help="Layers that these three budgets may merge in: 0,1,2; default: the first three "
            "quarters, with a score or keys the first quarter."
        ),
    ] = None
    r: Annotated[str | None, typer.Option(help="Tokens to remove in each layer: 600,200,100.")] = (
        None
    )
    ratio: Annotated[
        str | None,
        typer.Option(help="Shares of the tokens to remove in each layer, at most 0.5: 0.25,0.1."),
    ] = None
    score: Annotated[
        str | None,
        typer.Option(
            parser=checked(choice_parser("score", (*get_args(Score), "none"))),
            metavar="SCORE",
            help=f"What makes a token foreground: {listed(*get_args(Score), 'none')}; default: "
            "none, with a preset sharpness.",
        ),
    ] = None
    protect: Annotated[
        float | None,
        typer.Option(
            parser=checked(number_parser("--protect", None, "0.3")),
            metavar="AMOUNT",
            help="How much a token's saliency keeps it from merging away, in standard deviations "
            "of the similarities: 0.3; needs a score. Default: 0.",
        ),
    ] = None
    spare_norms: Annotated[
        float | None,
        typer.Option(
            parser=checked(number_parser("--spare-norms", "x", "4")),
            metavar="FACTOR",
            help="Leave alone tokens whose norm is above this multiple of the clip's median: 4; "
            "default: none.",
        ),
    ] = None
    metric: Annotated[
        str | None,
        typer.Option(
            parser=checked(choice_parser("metric", get_args(Metric))),
            metavar="METRIC",
            help=f"Features compared to pair tokens: {listed(*get_args(Metric))}; default: x.",
        ),
    ] = None
    linkage: Annotated[
        str | None,
        typer.Option(
            parser=checked(choice_parser("linkage", get_args(Linkage))),
            metavar="LINKAGE",
            help="How pairs of tokens are valued: cosine (as in the papers) or ward, which keeps "
            "large groups from growing; default: ward without a score on x, else cosine.",
        ),
    ] = None
    pooling: Annotated[
        str | None,
        typer.Option(
            parser=checked(choice_parser("pooling", get_args(Pooling))),
            metavar="POOLING",
            help="How tokens count behind the encoder: tokens (all alike, the default) or mass.",
        ),
    ] = None

    def parse(self, model: ModelOptions | None, *, must_merge: bool = False) -> MergeConfig | None:
        """Parse the requested merge.

        Args:
            model: The model to merge in, the bundled one by its own preset unless another amount is
                typed; None if a preset may be tried on any model.
            must_merge: Whether to merge to 0.6 of the FLOPs if nothing is typed.

        Returns:
            The merge; None if none is requested.

        Raises:
            ValueError: If more than one schedule is given, one is malformed, a preset is not for
                this model, a score, metric or pooling has nothing to merge by it, or the model is
                exported.
        """
        config = self._amount(model)
        if model is not None and model.is_exported:
            self._refuse_exported(model, must_merge=must_merge)
            return None
        if config is None and model is not None and model.is_bundled:
            config = bundled_merge()
        if config is None and must_merge:
            config = SUGGESTED
        if config is None:
            self._refuse_choices_without_amount(model)
            return None
        return config.choosing(**self.choices())  # fields not typed keep the file's values

    def choices(self) -> dict[str, Any]:
        """Return the typed score, metric and so on as fields of `MergeConfig`."""
        names = ("score", "protect", "spare_norms", "metric", "linkage", "pooling")
        typed = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        if self.score == "none":
            typed["score"] = None
        return typed

    def _refuse_exported(self, model: ModelOptions, *, must_merge: bool) -> None:
        typed = [field.name for field in fields(self) if getattr(self, field.name) is not None]
        if typed:
            raise ValueError(
                f"{_flag(typed[0])} must be left out with an exported model, got {model.model!r}: "
                "what merges in it was chosen when it was exported. Leave it out, or name the "
                "model itself."
            )
        if must_merge:
            raise ValueError(
                f"--model must be a model that is seen unmerged and merged here, got the exported "
                f"file {model.model!r}. Name the model itself."
            )

    def _refuse_choices_without_amount(self, model: ModelOptions | None) -> None:
        if model is None:  # benchmarks apply the choices to a schedule of their own
            return
        for name in self.choices():
            raise ValueError(
                f"{_flag(name)} must come with an amount to merge, got none. Add --flop-ratio 0.6."
            )

    def _amount(self, model: ModelOptions | None) -> MergeConfig | None:
        given = [name for name in _AMOUNTS if getattr(self, name) is not None]
        _refuse_several([_flag(name) for name in given])
        if self.merge_layers is not None and given not in [[name] for name in BUDGETS]:
            raise ValueError(
                "--merge-layers must come with --flop-ratio, --num-tokens or --speedup, got "
                f"{_flag(given[0]) if given else 'none'}. Leave it out, or add --flop-ratio 0.6."
            )
        if self.preset is not None:
            return self._of_preset(self.preset, model)
        if self.schedule is not None:
            return read_config(self.schedule, "--schedule")
        if self.r is not None:
            return MergeConfig(r=parse_counts("--r", self.r))
        if self.ratio is not None:
            return MergeConfig(ratio=parse_shares(self.ratio))
        return self._budget() if given else None

    def _of_preset(self, preset: str, model: ModelOptions | None) -> MergeConfig:
        if model is not None and not model.is_umt:
            raise ValueError(
                f"--preset must come with --model umt:CHECKPOINT, got model {model.model!r}. "
                "Leave it out."
            )
        if preset != BUNDLED_PRESET:
            return MergeConfig(preset=preset)
        if model is not None and not model.is_bundled:
            raise ValueError(
                f"--preset {BUNDLED_PRESET} must be used with the bundled model, got --model "
                f"{model.model}. Leave out one of the two."
            )
        return bundled_merge()

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


def _refuse_several(given: Sequence[str]) -> None:
    """Check that the amount to merge is given only once.

    Raises:
        ValueError: If more than one option is given.
    """
    if len(given) > 1:
        raise ValueError(
            f"{' and '.join(given)} must not be given together, got "
            f"{'both' if len(given) == 2 else 'all'}. Use one of them."
        )


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
