"""How much a config merges: exactly one of six amounts. Does not import torch."""

from collections.abc import Callable, Mapping
from typing import Any

from vidtldr.presets import PRESETS, validate_preset
from vidtldr.schedule import (
    validate_flop_ratio,
    validate_layers,
    validate_num_tokens,
    validate_r_schedule,
    validate_ratio_schedule,
    validate_speedup,
)

__all__ = ["BUDGETS", "validated_amounts"]

#: Amounts of which the counts depend on the model.
BUDGETS = ("flop_ratio", "num_tokens", "speedup")
_AMOUNTS = ("r", "ratio", *BUDGETS, "preset")
_VALIDATED: dict[str, Callable[[Any], object]] = {
    "r": validate_r_schedule,
    "ratio": validate_ratio_schedule,
    "flop_ratio": validate_flop_ratio,
    "num_tokens": validate_num_tokens,
    "speedup": validate_speedup,
    "layers": validate_layers,
}


def validated_amounts(values: Mapping[str, Any]) -> dict[str, Any]:
    """Check that exactly one amount is given, and `layers` only with a budget.

    Args:
        values: The fields of a `MergeConfig` by name.

    Returns:
        `r`, `ratio` and so on as far as they are given, sequences as tuples; of a preset, its `r`.

    Raises:
        TypeError: If a value is of the wrong type, such as a count where a sequence belongs.
        ValueError: If not exactly one is given, `layers` comes without a budget, or a value is out
            of range.
    """
    amount = _the_one_given(values)
    if values["layers"] is not None and amount not in BUDGETS:
        raise ValueError(
            "`layers` must come with `flop_ratio`, `num_tokens` or `speedup`, got it with "
            f"`{amount}`, which has an entry for each layer. Leave it out."
        )
    preset = values["preset"]
    given = {**values, "r": PRESETS[preset]} if preset is not None else values
    return {
        name: validate(given[name])
        for name, validate in _VALIDATED.items()
        if given[name] is not None
    }


def _the_one_given(values: Mapping[str, Any]) -> str:
    given = [name for name in _AMOUNTS if values[name] is not None]
    preset = values["preset"]
    if preset is not None and values["r"] == PRESETS[validate_preset(preset)]:
        given.remove("r")  # a copy of a config made from a preset
    if len(given) != 1:
        raise ValueError(
            "`r`, `ratio`, `flop_ratio`, `num_tokens`, `speedup` and `preset` must be given one at "
            f"a time, got {' and '.join(given) or 'none'}. Pass `flop_ratio=0.6` or "
            "`r=[600, 200, 100]`."
        )
    return given[0]
