"""What to merge and how: the one object that `apply_patch` takes.

It needs no torch, so that the command line can check its arguments before anything heavy is loaded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from vidtldr.method.schedule import (
    r_from_ratio,
    validate_r,
    validate_r_schedule,
    validate_ratio_schedule,
)

__all__ = ["Impl", "MergeConfig", "Metric", "Score"]

Score = Literal["sharpness", "received"]
Metric = Literal["x", "keys"]
Impl = Literal["auto", "reference", "blocked", "triton"]


@dataclass(frozen=True)
class MergeConfig:
    """A schedule of merging and the choices of the method. Frozen; sequences become tuples.

    Attributes:
        r: Tokens to remove in each layer, first layer first; missing layers are 0.
        ratio: The same as shares of the mergeable tokens then, each in [0, 0.5]: `int(N * ratio)`
            are removed. Exactly one of `r` and `ratio` is given.
        score: What makes a token foreground: `"sharpness"` of the attention it pays (vid-TLDR),
            attention `"received"`, or None for plain merging with equal weights.
        metric: What is compared to find pairs: `"x"`, the tokens after attention (vid-TLDR), or
            `"keys"`, their keys averaged over heads (ToMe).
        impl: Implementation of attention in merging layers, see `vidtldr.ops.attention.attend`.

    Raises:
        TypeError: If `r` or `ratio` is not a sequence of counts or shares.
        ValueError: If both or neither are given, or a value is out of range or not one of the
            choices.
    """

    r: Sequence[int] | None = None
    ratio: Sequence[float] | None = None
    score: Score | None = "sharpness"
    metric: Metric = "x"
    impl: Impl = "auto"

    def __post_init__(self) -> None:
        if (self.r is None) == (self.ratio is None):
            what = "neither" if self.r is None else "both"
            raise ValueError(
                f"r and ratio must be given one at a time, got {what}. Pass r=[600, 200, 100] or "
                "ratio=[0.25, 0.1]."
            )
        if self.r is not None:
            object.__setattr__(self, "r", validate_r_schedule(self.r))
        if self.ratio is not None:
            object.__setattr__(self, "ratio", validate_ratio_schedule(self.ratio))
        _validate_choice("score", self.score, (*get_args(Score), None))
        _validate_choice("metric", self.metric, get_args(Metric))
        _validate_choice("impl", self.impl, get_args(Impl))

    @property
    def schedule(self) -> Sequence[int] | Sequence[float]:
        """The counts or shares, whichever was given."""
        schedule = self.r if self.r is not None else self.ratio
        assert schedule is not None  # __post_init__ made sure of it
        return schedule

    @property
    def first_merging_layer(self) -> int | None:
        """The first layer that may merge, 0-based; None if none does."""
        return next((layer for layer, entry in enumerate(self.schedule) if entry), None)

    def num_removed(self, layer: int, num_mergeable: int) -> int:
        """Tokens that a layer removes.

        Args:
            layer: Which layer, 0-based.
            num_mergeable: Tokens that enter it, prefix tokens left out.

        Raises:
            ValueError: If the count is more than half of them; the message names the limit.
        """
        if layer >= len(self.schedule):
            return 0
        if self.ratio is not None:
            return r_from_ratio(self.ratio[layer], num_mergeable)
        assert self.r is not None
        validate_r(self.r[layer], num_mergeable, name=f"r[{layer}]")
        return self.r[layer]

    def validate_for(self, num_layers: int, num_mergeable: int | None) -> None:
        """Check the schedule against a model's depth and, where it is known, its number of tokens.

        Args:
            num_layers: The model's depth.
            num_mergeable: Tokens that enter the first layer, prefix tokens left out; None where
                unknown.

        Raises:
            ValueError: If the schedule is longer than the model is deep or asks a layer for too
                much.
        """
        if len(self.schedule) > num_layers:
            name = "r" if self.r is not None else "ratio"
            raise ValueError(
                f"{name} must have at most {num_layers} entries (the model's layers), got "
                f"{len(self.schedule)}. Drop the entries past the last layer."
            )
        for layer in range(num_layers if num_mergeable is not None else 0):
            assert num_mergeable is not None
            num_mergeable -= self.num_removed(layer, num_mergeable)


def _validate_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {choices}, got {value!r}. Choose one of them.")
