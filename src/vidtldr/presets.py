"""The paper's 18 schedules by name. Does not import torch, for the command line's checks.

Source: Choi et al., CVPR 2024, README of the authors' code.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType

__all__ = ["PRESETS", "validate_preset", "validate_preset_for"]

NUM_TOKENS = 2352  # 12 frames of 224 x 224 in patches of 16
NUM_LAYERS = {"umt-b16": 12, "umt-l16": 24}

_SCHEDULES: dict[str, dict[str, tuple[int, ...]]] = {
    "umt-b16": {
        "msrvtt-retrieval": (600, 200, 100),
        "msvd-retrieval": (450, 250, 200),
        "anet-retrieval": (500,),
        "didemo-retrieval": (250, 150, 150, 150),
        "lsmdc-retrieval": (400, 150, 150),
        "ssv2-label-retrieval": (200, 200, 200, 100),
        "ssv2-template-retrieval": (400, 300),
        "msrvtt-qa": (600, 200),
        "msvd-qa": (600, 200),
    },
    "umt-l16": {
        "msrvtt-retrieval": (550, 400),
        "msvd-retrieval": (600, 200, 100, 100),
        "anet-retrieval": (600, 300),
        "didemo-retrieval": (800, 100),
        "lsmdc-retrieval": (250, 250, 200, 200),
        "ssv2-label-retrieval": (450, 250, 100),
        "ssv2-template-retrieval": (350, 300, 100, 50),
        "msrvtt-qa": (400, 400, 100),
        "msvd-qa": (400, 400, 100),
    },
}

#: Tokens that each layer removes, by name of the schedule, such as `umt-b16/msrvtt-retrieval`.
PRESETS: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        f"{architecture}/{task}": r
        for architecture, schedules in _SCHEDULES.items()
        for task, r in schedules.items()
    }
)


def validate_preset(name: str) -> str:
    """Check the name of a preset before any model is known.

    Returns:
        The name.

    Raises:
        TypeError: If it is not a name.
        ValueError: If it is not one of `PRESETS`; close matches are listed.
    """
    if not isinstance(name, str):
        raise TypeError(f"preset must be a name, got {name!r}. Use one of {', '.join(PRESETS)}.")
    if name not in PRESETS:
        raise ValueError(f"preset must be a known name, got {name!r}. {_near(name)}")
    return name


def validate_preset_for(name: str, num_layers: int, num_tokens: int | None) -> None:
    """Check that a preset fits a model.

    Args:
        name: One of `PRESETS`.
        num_layers: The model's depth.
        num_tokens: Tokens that enter its first layer, prefix tokens left out; None if it
            depends on the input.

    Raises:
        ValueError: If the depth or the number of tokens is not that of the schedule; for another
            number of tokens the message gives the schedule scaled to it.
    """
    _validate_depth(name, num_layers)
    if num_tokens is not None:
        _validate_tokens(name, num_tokens)


def _near(name: str) -> str:
    near = get_close_matches(name, PRESETS, n=4, cutoff=0.5)
    return f"Use one of {', '.join(near or PRESETS)}."


def _validate_depth(name: str, num_layers: int) -> None:
    architecture, task = name.split("/")
    if num_layers == NUM_LAYERS[architecture]:
        return
    others = [f"{other}/{task}" for other, depth in NUM_LAYERS.items() if depth == num_layers]
    remedy = f"Use `preset={others[0]!r}`." if others else "Give a schedule of your own with `r`."
    raise ValueError(
        f"preset {name!r} must be used on {NUM_LAYERS[architecture]} layers, got a model of "
        f"{num_layers}. {remedy}"
    )


def _validate_tokens(name: str, num_tokens: int) -> None:
    if num_tokens == NUM_TOKENS:
        return
    scaled = [r * num_tokens // NUM_TOKENS for r in PRESETS[name]]
    remedy = f"Use `r={scaled}`, the same shares of {num_tokens} tokens."
    if not any(scaled):
        remedy = "There is nothing to merge in so few tokens: use no preset."
    raise ValueError(
        f"preset {name!r} must be used on {NUM_TOKENS} tokens (12 frames of 224 x 224), got a "
        f"model of {num_tokens}. {remedy}"
    )
