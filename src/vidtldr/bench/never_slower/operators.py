"""Count the operators each part of a layer calls: in small models each one costs time."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from vidtldr.hosts.host import Host
from vidtldr.hosts.registry import find_host

__all__ = ["PARTS", "Operators", "count_operators"]

ATTENTION, MERGE, MLP = "attention", "merge", "mlp"
#: Projections, attention and its score; score to weights, matching and merging; the MLP.
PARTS = (ATTENTION, MERGE, MLP)
_HALVES = {"attention_half": ATTENTION, "mlp_half": MLP}


@dataclass(frozen=True)
class Operators:
    """Operators one layer calls, by part; an unpatched layer has all in `attention`.

    Attributes:
        computing: Operators that compute a new tensor, for each of `PARTS`.
        views: Operators that only return a view of a tensor.
    """

    computing: dict[str, int]
    views: dict[str, int]

    @property
    def total(self) -> int:
        """The total of both."""
        return sum(self.computing.values()) + sum(self.views.values())


def count_operators(model: nn.Module, run: Callable[[], object]) -> list[Operators]:
    """Run once and count what each layer calls; a C++ kernel counts as one operator.

    Args:
        model: A model of a known family, merged or not, not compiled.
        run: Calls its forward.

    Returns:
        A count for each layer.
    """
    host = find_host(model)
    watch = _OperatorWatch(len(host.blocks))
    with ExitStack() as stack:
        for layer, block in enumerate(host.blocks):
            stack.enter_context(_told_of_layer(watch, block, layer))
        stack.enter_context(_told_of_halves(watch, type(host)))
        stack.enter_context(watch)
        run()
    return watch.counts


class _OperatorWatch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts operators under the layer and part now running."""

    def __init__(self, num_layers: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts = [
            Operators(dict.fromkeys(PARTS, 0), dict.fromkeys(PARTS, 0)) for _ in range(num_layers)
        ]
        self.layer: int | None = None
        self.part = ATTENTION

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if self.layer is not None:
            found = self.counts[self.layer]
            (found.views if func.is_view else found.computing)[self.part] += 1
        return func(*args, **(kwargs or {}))


@contextmanager
def _told_of_layer(watch: _OperatorWatch, block: nn.Module, layer: int) -> Iterator[None]:
    """Count what a block calls under its layer."""

    def enter(*_: Any) -> None:
        watch.layer, watch.part = layer, ATTENTION

    def leave(*_: Any) -> None:
        watch.layer = None

    hooks = block.register_forward_pre_hook(enter), block.register_forward_hook(leave)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _told_of_halves(watch: _OperatorWatch, family: type[Host]) -> Iterator[None]:
    """Count each half of a walked block under its part, and the rest as merging."""
    own = {name: family.__dict__[name] for name in _HALVES}

    def watched(half: Callable[..., Any], part: str, *args: Any, **kwargs: Any) -> Any:
        watch.part = part
        try:
            return half(*args, **kwargs)
        finally:
            watch.part = MERGE

    try:
        for name, part in _HALVES.items():
            setattr(family, name, staticmethod(partial(watched, getattr(family, name), part)))
        yield
    finally:
        for name, half in own.items():
            setattr(family, name, half)
