"""Limits of the sizes in a config.json, checked before transformers makes anything of them."""

from collections.abc import Mapping
from typing import Any

__all__ = ["MAX_TOKENS", "validate_sizes"]

_MAX_SIZE = 2**20
_MAX_LAYERS = 1000
#: Tokens of a clip; transformers makes positions in Python, one by one.
MAX_TOKENS = 2**16


def validate_sizes(config: Mapping[str, Any]) -> None:
    """Refuse sizes that no known model has and that would take all memory or hours.

    Args:
        config: The content of a config.json.

    Raises:
        ValueError: If a size is too large, or a clip would have more than 65,536 tokens.
    """
    for name, value in config.items():
        if isinstance(value, dict) and name.endswith("_config"):  # a tower's
            validate_sizes(value)
        limit = _MAX_LAYERS if name.endswith("_layers") else _MAX_SIZE
        sizes = value if isinstance(value, list) else [value]
        too_large = [size for size in sizes if isinstance(size, int) and size > limit]
        if too_large:
            raise ValueError(f"{name} must be at most {limit}, got {too_large[0]}")
    num_tokens = _num_tokens(config)
    if num_tokens > MAX_TOKENS:
        raise ValueError(
            f"a clip must have at most {MAX_TOKENS} tokens, got {num_tokens} from its num_frames, "
            "image_size and patch_size"
        )


def _num_tokens(config: Mapping[str, Any]) -> int:
    """Tokens of a clip; one patch a frame where the config leaves sizes to their defaults."""
    tubelet = config.get("tubelet_size")
    depth, *sides = tubelet if isinstance(tubelet, list) and tubelet else [tubelet]
    depth, side = _whole(depth), _whole(config.get("patch_size", sides[-1] if sides else None))
    patches_a_side = max(1, _whole(config.get("image_size")) // side)
    return -(-_whole(config.get("num_frames")) // depth) * patches_a_side**2


def _whole(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 1
