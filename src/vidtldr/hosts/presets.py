"""The paper's 18 schedules by name. No torch here: the command line checks with it, too."""

from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import TYPE_CHECKING

from vidtldr.hosts.config import MergeConfig

if TYPE_CHECKING:
    from torch import nn

__all__ = ["PRESETS", "preset", "preset_for"]

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

#: The paper's schedules by name, such as `umt-b16/msrvtt-retrieval`; read-only.
PRESETS: Mapping[str, MergeConfig] = MappingProxyType(
    {
        f"{architecture}/{task}": MergeConfig(r=r)
        for architecture, schedules in _SCHEDULES.items()
        for task, r in schedules.items()
    }
)


def preset(
    name: str, *, num_layers: int | None = None, num_tokens: int | None = None
) -> MergeConfig:
    """Return a schedule of the paper, checked against the model that it is meant for.

    Args:
        name: One of `PRESETS`: `<umt-b16 or umt-l16>/<set>-<retrieval or qa>`.
        num_layers: The model's depth; None leaves it unchecked.
        num_tokens: Tokens that enter the model's first layer, prefix tokens left out; None leaves
            them unchecked.

    Raises:
        ValueError: If the name is unknown (near ones are listed), or the depth or the number of
            tokens is not the one that the schedule was chosen for; for another number of tokens
            the message has the schedule scaled to it.

    Source: Choi et al., CVPR 2024, README of the authors' program.
    """
    if name not in PRESETS:
        raise ValueError(f"preset must be a known name, got {name!r}. {_near(name)}")
    if num_layers is not None:
        _validate_depth(name, num_layers)
    if num_tokens is not None:
        _validate_tokens(name, num_tokens)
    return PRESETS[name]


def preset_for(model: "nn.Module", name: str) -> MergeConfig:
    """Return a schedule of the paper, checked against a loaded model.

    Args:
        model: A model of a known family.
        name: As for `preset`.

    Raises:
        ValueError: As `preset`, or if the family is not known.
        NotImplementedError: If the family is refused.
    """
    if name not in PRESETS:
        return preset(name)
    from vidtldr.hosts.registry import find_host  # needs torch

    host = find_host(model)
    num_tokens = None if host.num_tokens is None else host.num_tokens - host.num_prefix_tokens
    return preset(name, num_layers=len(host.blocks), num_tokens=num_tokens)


def _near(name: str) -> str:
    near = get_close_matches(name, PRESETS, n=4, cutoff=0.5)
    return f"Use one of {', '.join(near or PRESETS)}."


def _validate_depth(name: str, num_layers: int) -> None:
    architecture, task = name.split("/")
    if num_layers == NUM_LAYERS[architecture]:
        return
    others = [f"{other}/{task}" for other, depth in NUM_LAYERS.items() if depth == num_layers]
    remedy = f"Use preset {others[0]!r}." if others else "Give a schedule of your own with r."
    raise ValueError(
        f"preset {name!r} must be used on {NUM_LAYERS[architecture]} layers, got a model of "
        f"{num_layers}. {remedy}"
    )


def _validate_tokens(name: str, num_tokens: int) -> None:
    if num_tokens == NUM_TOKENS:
        return
    scaled = [r * num_tokens // NUM_TOKENS for r in PRESETS[name].r or ()]
    remedy = f"Use r={scaled}, the same shares of {num_tokens} tokens."
    if not any(scaled):
        remedy = "There is nothing to merge in so few tokens: use no preset."
    raise ValueError(
        f"preset {name!r} must be used on {NUM_TOKENS} tokens (12 frames of 224 x 224), got a "
        f"model of {num_tokens}. {remedy}"
    )
