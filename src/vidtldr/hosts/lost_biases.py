"""Versions of transformers that lose biases of published VideoMAE checkpoints.

Published files call them `q_bias` and `v_bias`; transformers 5.6 made them biases of the
projections, but renames them while loading only since 5.18. In between they stay zero, and
transformers only mentions it in one warning among others.
"""

import re
import warnings
from collections.abc import Iterable
from functools import cache

from torch import Tensor, nn

__all__ = ["name_lost_biases", "warn_about_lost_biases"]

_LOST_FROM, _FOUND_FROM = (5, 6), (5, 18)
_LOST_KEY = re.compile(r"attention\.attention\.(query|value)\.bias$")


def name_lost_biases(missing_keys: Iterable[str]) -> str | None:
    """Explain missing weights that this version of transformers lost; None otherwise.

    Args:
        missing_keys: Keys reported missing while loading a VideoMAE.
    """
    if not _loses_biases() or not any(map(_LOST_KEY.search, missing_keys)):
        return None
    return (
        f"transformers {_version()} loads published VideoMAE checkpoints without the "
        "biases of queries and values"
    )


def warn_about_lost_biases(queries: Iterable[nn.Module]) -> None:
    """Warn once if a VideoMAE's biases may have been lost.

    Args:
        queries: The projections of its layers. Their biases are all zero if they were lost, and in
            an untrained model; of those without a parameter of that name (quantized, or an adapter
            around the layer) nothing is known.
    """
    if _loses_biases() and all(map(_has_lost_bias, queries)):
        _warn()


def _has_lost_bias(query: nn.Module) -> bool:
    bias = getattr(query, "bias", None)
    return isinstance(bias, Tensor) and not bias.is_meta and not bias.any().item()


@cache
def _warn() -> None:
    warnings.warn(
        f"the biases of queries are all zero in this VideoMAE, and transformers "
        f"{_version()} loads published checkpoints without them, with wrong answers. "
        "Install transformers 5.18 or later and load it again; an untrained model is as it should "
        "be.",
        stacklevel=5,
    )


def _loses_biases() -> bool:
    return _LOST_FROM <= _numbers_of(_version()) < _FOUND_FROM


def _version() -> str:
    import transformers  # already imported: it made the model

    found: str = transformers.__version__
    return found


def _numbers_of(text: str) -> tuple[int, ...]:
    """Major and minor."""
    return tuple(int(number) for number in re.findall(r"\d+", text)[:2])
