"""A FLOP budget of a model whose input decides the number of tokens."""

from dataclasses import dataclass, field, replace

from vidtldr.budget.costs import ForwardCosts, r_for_flop_ratio
from vidtldr.budget.counts import forward_costs, validated_layers
from vidtldr.config import MergeConfig
from vidtldr.hosts.host import Host, validate_block_classes

__all__ = ["BudgetBySize", "budget_by_size"]


@dataclass
class BudgetBySize:
    """Resolves a budget at the first forward of each number of tokens.

    Attributes:
        config: The budget.
        costs: Of a forward; their number of tokens means nothing.
        layers: The layers that may merge.
    """

    config: MergeConfig
    costs: ForwardCosts
    layers: tuple[int, ...]
    _found: dict[int, tuple[int, ...]] = field(default_factory=dict, repr=False)

    @property
    def first_merging_layer(self) -> int:
        """The first layer that may merge."""
        return self.layers[0]

    def resolved_for(self, num_mergeable: int) -> MergeConfig:
        """The same choices with counts for so many tokens, or tubes, that may merge.

        Raises:
            ValueError: If the layers cannot save enough of them.
        """
        return replace(self.config, r=self._r_for(num_mergeable), flop_ratio=None, layers=None)

    def _r_for(self, num_mergeable: int) -> tuple[int, ...]:
        if num_mergeable not in self._found:
            assert self.config.flop_ratio is not None
            costs = replace(self.costs, num_tokens=self.costs.num_prefix_tokens + num_mergeable)
            r = r_for_flop_ratio(costs, self.config.flop_ratio, self.layers)
            self._found[num_mergeable] = r
        return self._found[num_mergeable]

    # What `torch.compiler.assume_constant_result` does; that would import the compiler, and Triton.
    _r_for._dynamo_marked_constant = True  # type: ignore[attr-defined]


def budget_by_size(config: MergeConfig, host: Host) -> BudgetBySize | None:
    """The budget to resolve in forwards; None where the schedule is known before.

    Raises:
        ValueError: If the layers do not exist.
        NotImplementedError: If the model has parts that cannot be counted.
    """
    if host.num_tokens is not None or config.flop_ratio in (None, 1):
        return None
    validate_block_classes(host, 0)
    costs = forward_costs(host, config, num_mergeable=0)
    return BudgetBySize(config, costs, validated_layers(config, len(host.blocks)))
