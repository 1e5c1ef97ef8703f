"""A FLOP budget of a model whose input decides the number of tokens."""

from dataclasses import dataclass, field, replace

from vidtldr.budget.costs import ForwardCosts, r_for_flop_ratio
from vidtldr.budget.counts import forward_costs, validated_layers
from vidtldr.config import MergeConfig
from vidtldr.hosts.block_classes import validate_block_classes
from vidtldr.hosts.host import Host

__all__ = ["BudgetBySize", "budget_by_size"]


@dataclass
class BudgetBySize:
    """Resolves a budget at the first forward with each number of tokens.

    Attributes:
        flop_ratio: The budget.
        costs: Of a forward; their number of tokens means nothing.
        layers: The layers that may merge.
    """

    flop_ratio: float
    costs: ForwardCosts
    layers: tuple[int, ...]
    _found: dict[int, tuple[int, ...]] = field(default_factory=dict, repr=False)

    @property
    def first_merging_layer(self) -> int:
        """The first layer that may merge."""
        return self.layers[0]

    def r_for(self, num_mergeable: int) -> tuple[int, ...]:
        """Tokens that each layer removes; missing layers remove none.

        Args:
            num_mergeable: Tokens, or tubes, of the first block that may merge.

        Raises:
            ValueError: If the layers cannot save enough of them.
        """
        if num_mergeable not in self._found:
            costs = replace(self.costs, num_tokens=self.costs.num_prefix_tokens + num_mergeable)
            r = r_for_flop_ratio(costs, self.flop_ratio, self.layers)
            self._found[num_mergeable] = r
        return self._found[num_mergeable]

    # What `torch.compiler.assume_constant_result` does; that would import the compiler, and Triton.
    r_for._dynamo_marked_constant = True  # type: ignore[attr-defined]


def budget_by_size(config: MergeConfig, host: Host) -> BudgetBySize | None:
    """The budget to resolve during forwards; None if the schedule is known beforehand.

    Raises:
        ValueError: If the layers do not exist.
        NotImplementedError: If the model has parts that cannot be counted.
    """
    if host.num_tokens is not None or config.flop_ratio is None or config.flop_ratio == 1:
        return None
    validate_block_classes(host, 0)
    costs = forward_costs(host, config, num_mergeable=0)
    return BudgetBySize(config.flop_ratio, costs, validated_layers(config, len(host.blocks)))
