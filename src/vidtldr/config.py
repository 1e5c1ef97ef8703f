"""What to merge and how: the one object that `apply_patch` takes.

Does not import torch, so that the command line can check its arguments quickly.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal, Self, get_args

from vidtldr.model_kind import ModelKind, as_json_object, as_model_kind
from vidtldr.presets import PRESETS, validate_preset, validate_preset_for
from vidtldr.schedule import (
    r_from_ratio,
    validate_flop_ratio,
    validate_layers,
    validate_num_tokens,
    validate_protect,
    validate_r,
    validate_r_schedule,
    validate_ratio_schedule,
    validate_spare_norms,
    validate_speedup,
)

__all__ = [
    "PROVENANCE",
    "SALIENCY_WEIGHTINGS",
    "SCORES",
    "Impl",
    "Linkage",
    "MergeConfig",
    "Metric",
    "Output",
    "Pooling",
    "Score",
    "Weighting",
]

Score = Literal["sharpness", "sharpness-per-head", "flatness", "received", "representation-shift"]
SCORES: tuple[Score | None, ...] = (*get_args(Score), None)
Metric = Literal["x", "keys", "random"]
Linkage = Literal["ward", "cosine"]
Weighting = Literal["masked-saliency", "saliency", "mask", "mass"]
#: Those that read the score.
SALIENCY_WEIGHTINGS: tuple[Weighting, ...] = ("masked-saliency", "saliency", "mask")
Pooling = Literal["tokens", "mass"]
Output = Literal["auto", "tokens", "grid"]

#: Stands for a choice that follows from the others.
_BY_THE_OTHERS: Any = "auto"
_AMOUNTS = ("r", "ratio", "flop_ratio", "num_tokens", "speedup", "preset")
_VALIDATED: dict[str, Callable[[Any], object]] = {
    "r": validate_r_schedule,
    "ratio": validate_ratio_schedule,
    "flop_ratio": validate_flop_ratio,
    "num_tokens": validate_num_tokens,
    "speedup": validate_speedup,
    "layers": validate_layers,
    "protect": validate_protect,
    "spare_norms": validate_spare_norms,
    "made_for": as_model_kind,
    "measured": as_json_object,
}
#: Fields that older files lack, and what was done then.
_MEANT_BEFORE = {"output": "auto", "linkage": "cosine", "protect": 0.0}
#: Fields from which linkage and weighting follow.
_DECIDING = ("score", "metric", "protect")
#: Fields that say where a config comes from, not what it merges.
PROVENANCE = ("made_for", "measured")
Impl = Literal["auto", "reference", "blocked", "native", "triton"]


@dataclass(frozen=True, repr=False)
class MergeConfig:
    """A merge schedule and the options of the method. Frozen; sequences become tuples.

    Exactly one of `r`, `ratio`, `flop_ratio`, `num_tokens`, `speedup` and `preset` sets how much to
    merge. `flop_ratio`, `num_tokens` and `speedup` are budgets: they are resolved to counts when
    applied to a model, which must have a fixed number of tokens; of others, `flop_ratio` is
    resolved at the first forward of each number of tokens.

    `score`, `linkage` and `weighting` follow from the other fields unless they are given, which
    `help` shows as `"auto"`.

    Attributes:
        r: Tokens to remove in each layer, first layer first; missing layers are 0. For TimeSformer
            tubes, the tokens of one place in all frames.
        ratio: The same as shares of the mergeable tokens in each layer, each in [0, 0.5]:
            `int(N * ratio)` are removed.
        flop_ratio: Upper bound on the FLOPs of the transformer's forward, as a share of its
            unmerged forward, in (0, 1]; the cost of merging itself is counted. 0.6 is met from
            below as closely as whole tokens allow. 1 merges nothing.
        num_tokens: Exact number of tokens that leave the last layer, prefix tokens included.
        speedup: Target speed-up of the transformer's forward over the unmerged one with fused
            attention, at least 1, predicted for one clip from latencies that are measured on the
            model's device at first use and cached on disk (below `VIDTLDR_CACHE`, or
            `~/.cache/vidtldr`).
        preset: A schedule of the paper by name, such as `"umt-b16/msrvtt-retrieval"`
            (`vidtldr.presets.PRESETS`): it becomes `r`. It is refused on a model with another
            depth or number of tokens. Configs with the same counts are equal.
        layers: The layers that a budget may use, 0-based, increasing. None for the first three
            quarters of the depth with Ward's linkage, which merges best a little at a time, else
            for the first quarter, as in the paper; rounded up. Each removes about the same share of
            its tokens, at most half.
        score: What makes a token foreground. None, the default: nothing, all merge alike, each
            counting for its mass. `"sharpness"` of the attention it pays, averaged over heads
            (vid-TLDR, and the default with a preset); `"sharpness-per-head"`, the mean over heads
            of each head's sharpness; `"flatness"`, the negative of the sharpness, for models whose
            foreground attends broadly; attention `"received"`; `"representation-shift"`, the
            distance of a token from the MLP's output for it (Choi et al., ICCV 2025), for which a
            merging layer runs its MLP twice.
        metric: What is compared to find pairs: `"x"`, the tokens after attention (vid-TLDR);
            `"keys"`, their keys averaged over heads (ToMe); or `"random"`, a baseline: pairs are
            drawn from torch's global generator in every forward, like dropout
            (`torch.manual_seed` makes them repeatable).
        linkage: What merging a pair is worth: its `"cosine"` (ToMe, vid-TLDR), or less between
            tokens that already stand for many, by Ward's criterion (`"ward"`). The default is
            `"ward"` without a score on metric `"x"`, else `"cosine"`, as in the papers.
        weighting: How a score becomes the weight of a merged token: `"masked-saliency"` (vid-TLDR,
            Eq. 9), or without one of its halves, as in the paper's ablation: `"saliency"` drops
            no background (Eq. 5), `"mask"` drops it and weights the rest equally (Eq. 8); or
            `"mass"`, as without a score, where every weight is 1: the default with `protect`.
        protect: How much a token's saliency (Eq. 5, in [0, 1]) keeps it from merging away, in
            standard deviations of what the pairs of its clip are worth: 0 is the paper, which
            pairs tokens whatever their saliency. It needs a score.
        spare_norms: Leaves outliers alone while others can merge: tokens whose norm is more than
            this many times the clip's median, above 1. None spares none.
        pooling: Weight of a token behind the blocks: `"tokens"`, all equal (the authors' code); or
            its `"mass"`, so that merged tokens still count. For UMT in mean pooling over the clip
            and in the attention that texts pay to it, for SigLIP in its probe, for V-JEPA 2 in its
            attentive pooler, for the classifiers of DINOv2, SigLIP, CLIP and VideoMAE in their
            mean. Other models support only `"tokens"`.
        output: What the blocks pass on: `"tokens"`, the merged tokens; `"grid"`, a token for every
            original place in the original order, where merged places share one, so that poolers,
            dense heads, hidden states and feature maps work as they do unmerged; `"auto"`, what the
            family's documentation names: tokens where a class token or an unweighted mean is all
            that its published models read, else the grid, which is also what a tower inside another
            model passes on. With pooling by mass it is the tokens.
        impl: Implementation of attention from the first merging layer on: `"auto"`, `"reference"`,
            `"blocked"`, `"native"` or `"triton"`, see `vidtldr.ops.attention.attend`.
        made_for: The kind of model that it was made for; it is refused on every other. None for
            any. Does not count when configs are compared.
        measured: What was measured when it was made, such as by `vidtldr tune`: figures by name,
            for people to read. Does not count either.

    Raises:
        TypeError: If a value is of the wrong type, such as a count where a sequence belongs.
        ValueError: If not exactly one of the six is given, `layers` comes without a budget, or a
            value is out of range or not one of the choices.
    """

    r: Sequence[int] | None = None
    ratio: Sequence[float] | None = None
    flop_ratio: float | None = None
    num_tokens: int | None = None
    speedup: float | None = None
    layers: Sequence[int] | None = None
    score: Score | None = _BY_THE_OTHERS
    metric: Metric = "x"
    linkage: Linkage = _BY_THE_OTHERS
    weighting: Weighting = _BY_THE_OTHERS
    protect: float = 0.0
    spare_norms: float | None = None
    pooling: Pooling = "tokens"
    output: Output = "auto"
    impl: Impl = "auto"
    preset: str | None = field(default=None, compare=False)
    made_for: ModelKind | None = field(default=None, compare=False)
    measured: Mapping[str, Any] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        given = [name for name in _AMOUNTS if getattr(self, name) is not None]
        if self.preset is not None and self.r == PRESETS[validate_preset(self.preset)]:
            given.remove("r")  # a copy of a config made from a preset
        if len(given) != 1:
            raise ValueError(
                "`r`, `ratio`, `flop_ratio`, `num_tokens`, `speedup` and `preset` must be given "
                f"one at a time, got {' and '.join(given) or 'none'}. Pass `flop_ratio=0.6` or "
                "`r=[600, 200, 100]`."
            )
        if self.preset is not None:
            object.__setattr__(self, "r", PRESETS[self.preset])
        if self.layers is not None and not self.is_budget:
            raise ValueError(
                "`layers` must come with `flop_ratio`, `num_tokens` or `speedup`, got it with "
                f"`{given[0]}`, which has an entry for each layer. Leave it out."
            )
        for name, validate in _VALIDATED.items():
            if getattr(self, name) is not None or name == "protect":  # which has no None
                object.__setattr__(self, name, validate(getattr(self, name)))
        self._choose_by_the_others()
        _validate_choice("score", self.score, (*get_args(Score), None))
        _validate_choice("metric", self.metric, get_args(Metric))
        _validate_choice("linkage", self.linkage, get_args(Linkage))
        _validate_choice("weighting", self.weighting, get_args(Weighting))
        self._validate_use_of_score()
        _validate_choice("pooling", self.pooling, get_args(Pooling))
        _validate_choice("output", self.output, get_args(Output))
        if (self.pooling, self.output) == ("mass", "grid"):
            raise ValueError(
                "pooling must be 'tokens' with output='grid', got 'mass': on the grid every place "
                "counts once. Leave one of them out."
            )
        _validate_choice("impl", self.impl, get_args(Impl))

    def _choose_by_the_others(self) -> None:
        for name, choice in self._defaults().items():
            if _is_open(getattr(self, name)):
                object.__setattr__(self, name, choice)

    def _defaults(self) -> dict[str, Any]:
        """What the choices are that nobody made, in the order in which they follow."""
        score = "sharpness" if self.preset is not None else None
        is_plain = (score if _is_open(self.score) else self.score) is None
        is_on_x = isinstance(self.metric, str) and self.metric == "x"
        return {
            "score": score,
            "linkage": "ward" if is_plain and is_on_x else "cosine",
            "weighting": "mass" if self.protect else "masked-saliency",
        }

    def _validate_use_of_score(self) -> None:
        if self.protect and self.score is None:
            raise ValueError(
                f"`protect` must come with a `score`, got {self.protect} and none. Pass "
                "`score='sharpness'`, or `protect=0`."
            )
        if self.weighting == "mass" and self.score is not None and not self.protect:
            raise ValueError(
                f"`score` must be used, got {self.score!r} with `weighting='mass'`, which ignores "
                "it. Pass `protect=0.3`, or `score=None`."
            )

    def __repr__(self) -> str:
        """Fields that differ from the defaults; a preset by its name only, no measurements."""
        hidden = {"measured"} | ({"r"} if self.preset is not None else set())
        shown = [f"{name}={value!r}" for name, value in self.chosen.items() if name not in hidden]
        return f"MergeConfig({', '.join(shown)})"

    @property
    def chosen(self) -> dict[str, Any]:
        """The fields that differ from what they are if only the others are given, by name."""
        defaults = {each.name: each.default for each in fields(self)} | self._defaults()
        values = {name: getattr(self, name) for name in defaults}
        return {name: value for name, value in values.items() if value != defaults[name]}

    def choosing(self, **choices: Any) -> Self:
        """Return a copy with other choices, of which linkage and weighting follow as in a new one.

        Linkage follows where score or metric becomes another, weighting where protection starts or
        ends; `dataclasses.replace` keeps those of the config that it copies.

        Args:
            **choices: Fields of `MergeConfig`.

        Raises:
            TypeError, ValueError: As the class itself.
        """
        new = {name: choices.get(name, getattr(self, name)) for name in _DECIDING}
        follow = []
        if (new["score"], new["metric"]) != (self.score, self.metric):
            follow.append("linkage")
        starts_or_ends = bool(new["protect"]) != bool(self.protect)
        if starts_or_ends or (self.weighting == "mass" and new["score"] != self.score):
            follow.append("weighting")
        return replace(self, **{**dict.fromkeys(follow, _BY_THE_OTHERS), **choices})

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
                much, or is a preset for another model.
        """
        if self.preset is not None:
            validate_preset_for(self.preset, num_layers, num_mergeable)
        if len(self.schedule) > num_layers:
            name = "r" if self.r is not None else "ratio"
            raise ValueError(
                f"`{name}` must have at most {num_layers} entries (the model's layers), got "
                f"{len(self.schedule)}. Drop the entries past the last layer."
            )
        for layer in range(num_layers if num_mergeable is not None else 0):
            assert num_mergeable is not None
            num_mergeable -= self.num_removed(layer, num_mergeable)

    def validate_kind(self, kind: ModelKind) -> None:
        """Check that a model is of the kind that the config was made for, if that is recorded.

        Raises:
            ValueError: If it is not; the message says what differs.
        """
        if self.made_for is not None:
            self.made_for.validate_same(kind)

    def to_dict(self) -> dict[str, Any]:
        """What it merges as a JSON-ready dict, which `from_dict` reads: equal for equal configs.

        Of fields that came later, values that mean what was meant before are left out, so that
        indexes and results written then still have the same settings; `r` holds the counts of a
        preset.
        """
        return {
            name: value
            for name, value in vars(self).items()
            if (value is not None or name == "score")
            and name not in ("preset", *PROVENANCE)
            and not (name in _MEANT_BEFORE and _MEANT_BEFORE[name] == value)
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Make a config from its fields by name; missing ones get their defaults.

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
        unknown = sorted(set(values) - set(known), key=repr)
        if unknown:
            raise ValueError(
                f"keys must be fields of MergeConfig ({', '.join(known)}), got {unknown}. Check "
                "the name."
            )
        # Whoever names the score but no linkage wrote before there was another.
        implied = {"linkage": "cosine"} if "score" in values else {}
        return cls(**{**implied, **values})

    @staticmethod
    def from_pretrained(
        source: str | PathLike[str],
        *,
        revision: str | None = None,
        token: str | bool | None = None,
    ) -> "MergeConfig":
        """Read a config that `save_pretrained`, `push_to_hub` or `vidtldr tune` wrote.

        Args:
            source: A directory with a `merge_config.json`, such as that of a model; a JSON file; or
                the id of a model on the hub, OWNER/NAME. The hub may take 5 seconds to answer;
                without it, the copy in its cache is used.
            revision: Branch, tag or commit on the hub; None for the main branch.
            token: Token for the hub; None for the one of `hf auth login`.

        Raises:
            FileNotFoundError: If there is no such file, here or on the hub, or the hub cannot be
                reached.
            ValueError: If it holds no valid config; the message says why.
        """
        from vidtldr.config_file import read_config

        return read_config(source, "source", revision=revision, token=token)

    def save_pretrained(self, directory: str | PathLike[str], model: object = None) -> Path:
        """Write `merge_config.json` into a directory, such as that of a model's weights.

        Args:
            directory: Where; made if it does not exist. Another config there is replaced.
            model: The model that it is for, as for `apply_patch`: its family, depth and number of
                tokens are recorded, and other models refused. None records only what `made_for`
                says.

        Returns:
            The file.

        Raises:
            ValueError: If the config does not fit the model.
            OSError: If the file cannot be written.
        """
        from vidtldr.config_file import CONFIG_FILE, recorded, write_config

        config = self if model is None else recorded(self, model)
        file = Path(directory) / CONFIG_FILE
        file.parent.mkdir(parents=True, exist_ok=True)
        write_config(config, file)
        return file

    def push_to_hub(
        self,
        repo_id: str,
        model: object = None,
        *,
        private: bool | None = None,
        token: str | bool | None = None,
        create_pr: bool = False,
    ) -> str:
        """Upload `merge_config.json`, and nothing else, to a model on the hub.

        Args:
            repo_id: OWNER/NAME; made if it does not exist.
            model: As in `save_pretrained`.
            private: Whether a repository that is made is private; None for its owner's default.
            token: As in `from_pretrained`; it must be allowed to write.
            create_pr: Whether to propose it to the owner as a pull request.

        Returns:
            Address of the commit, or of the pull request.

        Raises:
            ValueError: If the config does not fit the model.
            OSError: If the hub refuses it or cannot be reached.
        """
        from vidtldr.config_file import push_config, recorded

        config = self if model is None else recorded(self, model)
        return push_config(config, repo_id, private=private, token=token, create_pr=create_pr)


def _is_open(value: object) -> bool:
    return isinstance(value, str) and value == _BY_THE_OTHERS


def _validate_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    # An array is equal to a name element by element.
    if not (value is None or isinstance(value, str)) or value not in choices:
        raise ValueError(f"{name} must be one of {choices}, got {value!r}. Choose one of them.")
