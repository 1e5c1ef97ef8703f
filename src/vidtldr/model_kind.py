"""Which kind of model a schedule was made for. Does not import torch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

__all__ = ["ModelKind", "as_json_object", "as_model_kind"]


@dataclass(frozen=True)
class ModelKind:
    """What a schedule depends on: two models of one kind can take the same.

    Attributes:
        family: The model's family, as `describe` names it.
        num_layers: Its depth.
        num_tokens: Tokens that enter the first layer, prefix tokens included; None if the input
            decides.

    Raises:
        TypeError: If a value is of the wrong type.
        ValueError: If the family is empty or a number is not positive.
    """

    family: str
    num_layers: int
    num_tokens: int | None

    def __post_init__(self) -> None:
        if not isinstance(self.family, str):
            raise TypeError(f"`family` must be a name, got {self.family!r}. {_REMEDY}")
        if not self.family:
            raise ValueError(f"`family` must be a name, got ''. {_REMEDY}")
        _validate_count("num_layers", self.num_layers)
        if self.num_tokens is not None:
            _validate_count("num_tokens", self.num_tokens)

    def __str__(self) -> str:
        tokens = "any number of" if self.num_tokens is None else self.num_tokens
        return f"{self.family} with {self.num_layers} layers and {tokens} tokens"

    def validate_same(self, found: "ModelKind") -> None:
        """Check that a model is of this kind.

        Args:
            found: The model's kind.

        Raises:
            ValueError: If it is not; the message says what differs.
        """
        what = {"family": "family", "num_layers": "depth", "num_tokens": "number of tokens"}
        differs = [
            f"another {what[name]}" for name in what if vars(self)[name] != vars(found)[name]
        ]
        if differs:
            raise ValueError(
                f"made_for must match the model, {found}, got {self}: {', '.join(differs)}. Choose "
                "a schedule for this model with vidtldr tune, or leave out made_for to use this "
                "one all the same."
            )


_REMEDY = "Save the schedule with its model, or leave out made_for."


def as_model_kind(value: object) -> ModelKind:
    """Turn the object of a file into a kind; a kind is returned as it is.

    Raises:
        TypeError, ValueError: If it is neither, or as `ModelKind`.
    """
    if isinstance(value, ModelKind):
        return value
    known = [field.name for field in fields(ModelKind)]
    if not isinstance(value, Mapping):
        raise TypeError(f"`made_for` must have {', '.join(known)}, got {value!r}. {_REMEDY}")
    if set(value) != set(known):
        raise ValueError(
            f"`made_for` must have the keys {', '.join(known)} and no others, got {list(value)}. "
            f"{_REMEDY}"
        )
    return ModelKind(**value)


def as_json_object(value: object) -> dict[str, Any]:
    """Copy what was measured.

    Raises:
        TypeError: If it is not a mapping.
        ValueError: If it holds what JSON cannot say, such as NaN.
    """
    if not isinstance(value, Mapping):
        raise TypeError(
            f"`measured` must map names to figures, got {value!r}. Write {{'drift': 0.02}}."
        )
    try:
        copy: dict[str, Any] = json.loads(json.dumps(dict(value), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"`measured` must hold what JSON can say, got {type(error).__name__}: {error}. Leave "
            "the value out."
        ) from error
    return copy


def _validate_count(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"`{name}` must be an int, got {value!r}. {_REMEDY}")
    if value < 1:
        raise ValueError(f"`{name}` must be at least 1, got {value}. {_REMEDY}")
