"""The sets of layers that merging is compared in, for the benchmarks of the default."""

from math import ceil

__all__ = ["DEFAULT_LAYERS", "layer_sets"]

DEFAULT_LAYERS = "three quarters"


def layer_sets(num_layers: int) -> dict[str, tuple[int, ...]]:
    """Return the sets of layers to compare, by name.

    Args:
        num_layers: Number of layers of the model.
    """
    shares = {"quarter": 1 / 4, "half": 1 / 2, DEFAULT_LAYERS: 3 / 4, "all": 1.0}
    found = {name: tuple(range(ceil(share * num_layers))) for name, share in shares.items()}
    found["from the second layer"] = found[DEFAULT_LAYERS][1:]
    found["every second layer"] = found["all"][::2]
    return found
