"""How a config merges: its choices, and which of them follow from the others unless given.

Functions over the fields of a `MergeConfig` by name; nothing here imports torch.
"""

from collections.abc import Mapping
from typing import Any, Literal, get_args

from vidtldr.schedule import validate_protect, validate_spare_norms

__all__ = [
    "BY_THE_OTHERS",
    "SALIENCY_WEIGHTINGS",
    "SCORES",
    "Impl",
    "Linkage",
    "Metric",
    "Output",
    "Pooling",
    "Score",
    "Weighting",
    "following",
    "reopened",
    "validated_choices",
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
Impl = Literal["auto", "reference", "blocked", "native", "triton"]

#: Stands for a choice that follows from the others.
BY_THE_OTHERS: Any = "auto"
_CHOICES: dict[str, tuple[object, ...]] = {
    "score": SCORES,
    "metric": get_args(Metric),
    "linkage": get_args(Linkage),
    "weighting": get_args(Weighting),
    "pooling": get_args(Pooling),
    "output": get_args(Output),
    "impl": get_args(Impl),
}
_NUMBERS = {"protect": validate_protect, "spare_norms": validate_spare_norms}


def following(values: Mapping[str, Any]) -> dict[str, Any]:
    """What score, linkage and weighting are where nobody chooses them.

    Args:
        values: The other fields, and a score, which may be `BY_THE_OTHERS`.

    Returns:
        The three, in the order in which they follow: Ward's linkage from no score, and weighting by
        mass from protection.
    """
    score = "sharpness" if values["preset"] is not None else None
    is_plain = (score if _is(values["score"], BY_THE_OTHERS) else values["score"]) is None
    return {
        "score": score,
        "linkage": "ward" if is_plain and _is(values["metric"], "x") else "cosine",
        "weighting": "mass" if values["protect"] else "masked-saliency",
    }


def reopened(values: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Which choices follow anew in a copy: linkage and weighting where what they follow changes.

    Args:
        values: The fields of the config that is copied.
        new: The fields that the copy has another value of.

    Returns:
        `BY_THE_OTHERS` by the names of those that follow.
    """
    new = {**values, **new}
    follow = []
    if (new["score"], new["metric"]) != (values["score"], values["metric"]):
        follow.append("linkage")
    starts_or_ends = bool(new["protect"]) != bool(values["protect"])
    if starts_or_ends or (values["weighting"] == "mass" and new["score"] != values["score"]):
        follow.append("weighting")
    return dict.fromkeys(follow, BY_THE_OTHERS)


def validated_choices(values: Mapping[str, Any]) -> dict[str, Any]:
    """Make the choices that are left to the others, and check that all can be meant together.

    Args:
        values: The fields of a `MergeConfig` by name.

    Returns:
        All choices by name, numbers as floats.

    Raises:
        TypeError: If one is of the wrong type.
        ValueError: If one is out of range or not among the choices, or two exclude each other.
    """
    values = {**values, **_validated_numbers(values)}
    made = following(values)
    values |= {name: made[name] for name in made if _is(values[name], BY_THE_OTHERS)}
    for name, choices in _CHOICES.items():
        _validate_choice(name, values[name], choices)
    _validate_use_of_score(values["score"], values["weighting"], values["protect"])
    _validate_use_of_grid(values["pooling"], values["output"])
    return {name: values[name] for name in (*_CHOICES, *_NUMBERS)}


def _validated_numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: validate(values[name])
        for name, validate in _NUMBERS.items()
        if values[name] is not None or name == "protect"  # which has no None
    }


def _is(value: object, choice: str) -> bool:
    """Whether a field is a choice by name; an array is compared element by element."""
    return isinstance(value, str) and value == choice


def _validate_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    if not (value is None or isinstance(value, str)) or value not in choices:
        raise ValueError(f"{name} must be one of {choices}, got {value!r}. Choose one of them.")


def _validate_use_of_score(score: Score | None, weighting: Weighting, protect: float) -> None:
    if protect and score is None:
        raise ValueError(
            f"`protect` must come with a `score`, got {protect} and none. Pass "
            "`score='sharpness'`, or `protect=0`."
        )
    if weighting == "mass" and score is not None and not protect:
        raise ValueError(
            f"`score` must be used, got {score!r} with `weighting='mass'`, which ignores it. Pass "
            "`protect=0.3`, or `score=None`."
        )


def _validate_use_of_grid(pooling: Pooling, output: Output) -> None:
    if (pooling, output) == ("mass", "grid"):
        raise ValueError(
            "pooling must be 'tokens' with output='grid', got 'mass': on the grid every place "
            "counts once. Leave one of them out."
        )
