"""What to merge and how: the one object that `apply_patch` takes.

It needs no torch, so that the command line can check its arguments before anything heavy is loaded.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, Self, get_args

from vidtldr.method.schedule import (
    r_from_ratio,
    validate_flop_ratio,
    validate_layers,
    validate_num_tokens,
    validate_r,
    validate_r_schedule,
    validate_ratio_schedule,
    validate_speedup,
)

__all__ = ["SCORES", "Impl", "MergeConfig", "Metric", "Pooling", "Score", "Weighting"]

Score = Literal["sharpness", "sharpness-per-head", "flatness", "received", "representation-shift"]
SCORES: tuple[Score | None, ...] = (*get_args(Score), None)
Metric = Literal["x", "keys", "random"]
Weighting = Literal["masked-saliency", "saliency", "mask"]
Pooling = Literal["tokens", "mass"]

_AMOUNTS = ("r", "ratio", "flop_ratio", "num_tokens", "speedup")
_VALIDATED: dict[str, Callable[[Any], object]] = {
    "r": validate_r_schedule,
    "ratio": validate_ratio_schedule,
    "flop_ratio": validate_flop_ratio,
    "num_tokens": validate_num_tokens,
    "speedup": validate_speedup,
    "layers": validate_layers,
}
Impl = Literal["auto", "reference", "blocked", "triton"]


@dataclass(frozen=True)
class MergeConfig:
    """A schedule of merging and the choices of the method. Frozen; sequences become tuples.

    How much to merge is said by exactly one of `r`, `ratio`, `flop_ratio`, `num_tokens` and
    `speedup`. The last three are budgets: counts that meet them are found when they are applied to
    a model, which must have a fixed number of tokens.

    Attributes:
        r: Tokens to remove in each layer, first layer first; missing layers are 0.
        ratio: The same as shares of the mergeable tokens then, each in [0, 0.5]: `int(N * ratio)`
            are removed.
        flop_ratio: The most that the transformer's forward may cost, as a share of the FLOPs of its
            unmerged forward, in (0, 1]; what merging itself costs is counted. 0.6 is met from below
            as closely as whole tokens allow. 1 merges nothing.
        num_tokens: Tokens that leave the last layer, prefix tokens included, exactly.
        speedup: How many times faster the transformer's forward is to be than unmerged on fused
            attention, at least 1, predicted for one clip from times that are measured on the
            model's device at first use and kept on disk (below `VIDTLDR_CACHE`, or
            `~/.cache/vidtldr`).
        layers: The layers that a budget may use, 0-based, increasing; None for the first quarter of
            the depth, rounded up. Each removes about the same share of its tokens, at most half.
        score: What makes a token foreground: `"sharpness"` of the attention it pays, that is, of
            its mean over heads (vid-TLDR); `"sharpness-per-head"`, the mean over heads of each
            one's sharpness; `"flatness"`, the negative of the sharpness, for models whose
            foreground attends broadly; attention `"received"`; `"representation-shift"`, how far
            what the MLP makes of it lies from it (Choi et al., ICCV 2025), which costs the merging
            layer its MLP twice;
            or None for plain merging with equal weights.
        metric: What is compared to find pairs: `"x"`, the tokens after attention (vid-TLDR);
            `"keys"`, their keys averaged over heads (ToMe); or `"random"`, a baseline: pairs are
            drawn by chance from torch's global generator in every forward, as dropout is
            (`torch.manual_seed` repeats them).
        weighting: How a score becomes the weight of a merged token: `"masked-saliency"` (vid-TLDR,
            Eq. 9), or without one of its halves, as in the paper's ablation: `"saliency"` drops
            no background (Eq. 5), `"mask"` drops it and weighs the rest alike (Eq. 8). Without a
            score every weight is 1.
        pooling: What a token counts for behind UMT's encoder, in the mean that a clip is pooled by
            and in the attention that texts pay to it: `"tokens"`, all alike (the authors' code); or
            its `"mass"`, so that what merged away still counts. Of other families only `"tokens"`.
        impl: Implementation of attention from the first merging layer on, see
            `vidtldr.ops.attention.attend`.

    Raises:
        TypeError: If a value is of the wrong type, such as a count where a sequence belongs.
        ValueError: If not exactly one of the five is given, `layers` comes without a budget, or a
            value is out of range or not one of the choices.
    """

    r: Sequence[int] | None = None
    ratio: Sequence[float] | None = None
    flop_ratio: float | None = None
    num_tokens: int | None = None
    speedup: float | None = None
    layers: Sequence[int] | None = None
    score: Score | None = "sharpness"
    metric: Metric = "x"
    weighting: Weighting = "masked-saliency"
    pooling: Pooling = "tokens"
    impl: Impl = "auto"

    def __post_init__(self) -> None:
        given = [name for name in _AMOUNTS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                "r, ratio, flop_ratio, num_tokens and speedup must be given one at a time, got "
                f"{' and '.join(given) or 'none'}. Pass flop_ratio=0.6 or r=[600, 200, 100]."
            )
        if self.layers is not None and not self.is_budget:
            raise ValueError(
                f"layers must come with flop_ratio, num_tokens or speedup, got it with "
                f"{given[0]}, which has an entry for each layer. Leave it out."
            )
        for name, validate in _VALIDATED.items():
            if getattr(self, name) is not None:
                object.__setattr__(self, name, validate(getattr(self, name)))
        _validate_choice("score", self.score, (*get_args(Score), None))
        _validate_choice("metric", self.metric, get_args(Metric))
        _validate_choice("weighting", self.weighting, get_args(Weighting))
        _validate_choice("pooling", self.pooling, get_args(Pooling))
        _validate_choice("impl", self.impl, get_args(Impl))

    @property
    def is_budget(self) -> bool:
        """Whether the counts depend on the model."""
        return (self.flop_ratio, self.num_tokens, self.speedup) != (None, None, None)

    @property
    def schedule(self) -> Sequence[int] | Sequence[float]:
        """The counts or shares, whichever was given; a budget has neither until it is resolved."""
        schedule = self.r if self.r is not None else self.ratio
        assert schedule is not None  # resolve_budget comes first
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

    def to_dict(self) -> dict[str, Any]:
        """What was given and chosen, ready for JSON; `from_dict` reads it."""
        return {
            name: value
            for name, value in vars(self).items()
            if value is not None or name == "score"
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Make a config of its fields by name; those that are missing have their defaults.

        Raises:
            TypeError: If `values` is not a mapping, or a value is of the wrong type.
            ValueError: If a key is not a field, or as the class itself.
        """
        if not isinstance(values, Mapping):
            raise TypeError(
                f"values must map fields of MergeConfig to values, got {values!r}. Write "
                '{"r": [600, 200, 100]}.'
            )
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ValueError(
                f"keys must be fields of MergeConfig ({', '.join(known)}), got {unknown}. Check "
                "the name."
            )
        return cls(**values)


def _validate_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {choices}, got {value!r}. Choose one of them.")
