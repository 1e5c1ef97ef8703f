"""The linear layers of a model, quantized ones included: their sizes determine its cost."""

from typing import Any

from torch import nn

from vidtldr.hosts.host import full_name, is_a

__all__ = ["linear_layers"]

# Of torch's dynamic and static quantization: no subclass of nn.Linear, and `weight` is a method.
_QUANTIZED = "torch.ao.nn.quantized.modules.linear.Linear"


def linear_layers(*modules: nn.Module) -> list[Any]:
    """List the linear layers of some modules, in the order of `modules()`.

    Args:
        modules: Where to look.

    Returns:
        Modules with `in_features` and `out_features`.

    Raises:
        NotImplementedError: If there is a linear layer of another kind, whose cost is not known.
    """
    layers = []
    for module in (inner for each in modules for inner in each.modules()):
        if isinstance(module, nn.Linear) or is_a(module, _QUANTIZED):
            layers.append(module)
        elif hasattr(module, "in_features") and not any(module.children()):
            raise NotImplementedError(
                "model must have linear layers of torch to count their cost, got "
                f"{full_name(type(module))}. Use `num_tokens`, `ratio` or `r`."
            )
    return layers
