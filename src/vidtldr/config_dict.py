"""Configs as dicts, as indexes and results keep them, and what dicts of older versions mean."""

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["PROVENANCE", "as_dict", "fields_of"]

#: Fields that say where a config comes from, not what it merges.
PROVENANCE = ("made_for", "measured")
#: Fields that older dicts lack, and what was done then.
_MEANT_BEFORE = {"output": "auto", "linkage": "cosine", "protect": 0.0}


def as_dict(values: Mapping[str, Any]) -> dict[str, Any]:
    """Keep those fields of a config that say what it merges, as `MergeConfig.to_dict` does."""
    return {
        name: value
        for name, value in values.items()
        if (value is not None or name == "score")
        and name not in ("preset", *PROVENANCE)
        and not (name in _MEANT_BEFORE and _MEANT_BEFORE[name] == value)
    }


def fields_of(values: Mapping[str, Any], known: Sequence[str]) -> dict[str, Any]:
    """Return the fields of a config that a dict means, as `MergeConfig.from_dict` reads it.

    Args:
        values: The dict.
        known: Names of all fields.

    Raises:
        TypeError: If `values` is not a mapping.
        ValueError: If a key is not a field.
    """
    if not isinstance(values, Mapping):
        raise TypeError(
            f"values must map fields of MergeConfig to values, got {values!r}. Write "
            '{"r": [600, 200, 100]}.'
        )
    unknown = sorted(set(values) - set(known), key=repr)
    if unknown:
        raise ValueError(
            f"keys must be fields of MergeConfig ({', '.join(known)}), got {unknown}. Check the "
            "name."
        )
    # Whoever names the score but no linkage wrote before there was another.
    implied = {"linkage": _MEANT_BEFORE["linkage"]} if "score" in values else {}
    return {**implied, **values}
