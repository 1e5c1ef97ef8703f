"""Parse JSON that others wrote: a key given twice is an error, where Python takes the last."""

import json
import re
from typing import Any

__all__ = ["RepeatedKeyError", "parse_json", "unique_keys"]


class RepeatedKeyError(ValueError):
    """An object has a key twice."""

    def __init__(self, key: str) -> None:
        super().__init__(f"key {key!r} twice")
        self.key = key


def parse_json(text: str) -> Any:
    """Parse a JSON text.

    Raises:
        json.JSONDecodeError: If it is no JSON, an object has a key twice, or a whole number has
            more digits than Python reads.
    """
    try:
        return json.loads(text, object_pairs_hook=unique_keys)
    except RepeatedKeyError as error:
        place = text.rfind(json.dumps(error.key))
        raise json.JSONDecodeError(str(error), text, max(place, 0)) from error
    except json.JSONDecodeError:
        raise
    except ValueError as error:
        digits = re.search(r"\d{4301,}", text)
        place = 0 if digits is None else digits.start()
        raise json.JSONDecodeError("a number with too many digits", text, place) from error


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make the dict of an object; for `object_pairs_hook` of a decoder.

    Raises:
        RepeatedKeyError: If a key is there twice.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise RepeatedKeyError(next(key for key in keys if keys.count(key) > 1))
    return found
