"""Describe what `apply_patch` made of a model."""

from dataclasses import dataclass

from vidtldr.budget.counts import forward_costs, resolved_r, tokens_after_layers
from vidtldr.config import MergeConfig
from vidtldr.hosts.host import Host
from vidtldr.hosts.registry import find_host, module_in
from vidtldr.patch.installing import current_config

__all__ = ["Description", "describe"]


@dataclass(frozen=True)
class Description:
    """A model and how it merges; prints as a few readable lines.

    Attributes:
        family: The model's family.
        num_layers: Its depth.
        num_tokens: Tokens that enter the first layer, prefix tokens included; None if it
            depends on the input.
        config: The config that was passed; None without a patch.
        r: Tokens that each layer removes, as counts; None if they depend on the input.
        tokens_after_layers: Tokens that leave each layer; None if they depend on the input.
        flop_ratio: FLOPs of the merged forward over those of the unmerged one; None if not
            known.
    """

    family: str
    num_layers: int
    num_tokens: int | None
    config: MergeConfig | None
    r: tuple[int, ...] | None
    tokens_after_layers: tuple[int, ...] | None
    flop_ratio: float | None

    def __str__(self) -> str:
        tokens = "the input decides" if self.num_tokens is None else str(self.num_tokens)
        lines = [f"{self.family}: {self.num_layers} layers, tokens: {tokens}"]
        if self.config is None:
            return "\n".join([*lines, "not merging (no patch)"])
        lines.append(f"merging by {self.config!r}")
        if self.r is not None and self.tokens_after_layers is not None:
            lines.append(f"removed in each layer: {_listed(self.r)}")
            lines.append(f"tokens after each layer: {_listed(self.tokens_after_layers)}")
        if self.flop_ratio is not None:
            lines.append(f"FLOPs: {self.flop_ratio:.1%} of the unmerged model's")
        return "\n".join(lines)

    __repr__ = __str__


def describe(model: object) -> Description:
    """Describe a model, whether it merges, and the resulting token counts and cost.

    Args:
        model: As for `apply_patch`, patched or not.

    Raises:
        TypeError: If `model` is neither a module nor a pipeline.
        ValueError: If the family is not known.
        NotImplementedError: If the family is refused.
    """
    host = find_host(model)
    config = current_config(module_in(model))
    r = tokens = None
    if config is not None:
        r = resolved_r(config, host)
        if host.num_tokens is not None:
            tokens = tuple(tokens_after_layers(config, host))
    return Description(
        host.family,
        len(host.blocks),
        host.num_tokens,
        config,
        r,
        tokens,
        None if config is None or r is None else _flop_ratio(host, config, r),
    )


def _flop_ratio(host: Host, config: MergeConfig, r: tuple[int, ...]) -> float | None:
    if host.num_tokens is None:
        return None
    try:
        costs = forward_costs(host, config)
    except NotImplementedError:  # a model whose cost is not known
        return None
    return costs.flops(r) / costs.flops()


def _listed(counts: tuple[int, ...]) -> str:
    return ", ".join(map(str, counts)) or "none"
