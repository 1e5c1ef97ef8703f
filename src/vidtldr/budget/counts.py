"""Turn a budget into token counts, from the cost of one model's forward."""

import operator
from dataclasses import replace
from itertools import accumulate

from torch import nn

from vidtldr.budget.costs import (
    ForwardCosts,
    LayerCosts,
    default_layers,
    r_for_flop_ratio,
    r_for_num_tokens,
)
from vidtldr.budget.latency import LatencyModel, r_for_speedup
from vidtldr.budget.linear_layers import linear_layers
from vidtldr.budget.measured_latency import measured_latency
from vidtldr.config import MergeConfig
from vidtldr.hosts.block_classes import validate_block_classes
from vidtldr.hosts.host import Host

__all__ = [
    "forward_costs",
    "latency_model",
    "resolve_budget",
    "resolved_r",
    "tokens_after_layers",
    "validated_layers",
]

_BUDGETS = ("flop_ratio", "num_tokens", "speedup")
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def resolve_budget(config: MergeConfig, host: Host) -> MergeConfig:
    """Turn a budget into counts that meet it on one model; other schedules are unchanged.

    Args:
        config: The requested merging.
        host: The host of the model.

    Returns:
        The same choices with `r` or `ratio`.

    Raises:
        ValueError: If the config was made for another kind of model, the layers do not exist or
            cannot save enough, or the model's number of tokens is unknown.
        NotImplementedError: If the model has parts that cannot be counted.
    """
    config.validate_kind(host.kind)
    if not config.is_budget:
        return config
    name = next(name for name in _BUDGETS if getattr(config, name) is not None)
    if host.num_tokens is None:
        if config.flop_ratio == 1:  # nothing, whatever the input
            return replace(config, r=(), flop_ratio=None, layers=None)
        raise ValueError(
            f"`{name}` must be used on a model of a fixed number of tokens, got one whose input "
            "decides. Use `ratio=[0.25, 0.1]`."
        )
    layers = validated_layers(config, len(host.blocks))
    if config.speedup is not None:
        r = r_for_speedup(latency_model(host, config), config.speedup, layers)
    elif config.flop_ratio is not None:
        validate_block_classes(host, 0)
        r = r_for_flop_ratio(forward_costs(host, config), config.flop_ratio, layers)
    else:
        assert config.num_tokens is not None
        assert host.num_mergeable is not None
        r = r_for_num_tokens(
            host.num_mergeable, config.num_tokens, layers, host.num_extra_tokens, host.tube_length
        )
    return replace(config, r=r, flop_ratio=None, num_tokens=None, speedup=None, layers=None)


def resolved_r(config: MergeConfig, host: Host) -> tuple[int, ...] | None:
    """Resolve any kind of schedule into the token count each layer of one model removes.

    Returns:
        One count per layer of the schedule; None for shares or a FLOP budget of a number of tokens
        that depends on the input.

    Raises:
        ValueError, NotImplementedError: As `resolve_budget`.
    """
    if host.num_tokens is None and config.flop_ratio is not None:
        return None
    schedule = resolve_budget(config, host)
    if host.num_mergeable is None:
        return None if schedule.r is None else tuple(schedule.r)
    tokens, r = host.num_mergeable, []
    for layer in range(len(schedule.schedule)):
        r.append(schedule.num_removed(layer, tokens))
        tokens -= r[-1]
    return tuple(r)


def tokens_after_layers(config: MergeConfig | None, host: Host) -> list[int]:
    """Compute the tokens that leave each layer of one model, extra tokens included.

    A trace reports the same of a forward; this is for compiled models.

    Args:
        config: The merging; None for none.
        host: The host of a model with a fixed number of tokens.

    Raises:
        ValueError, NotImplementedError: As `resolve_budget`.
    """
    assert host.num_mergeable is not None
    r = () if config is None else resolved_r(config, host) or ()
    missing = [0] * (len(host.blocks) - len(r))
    left = accumulate([*r, *missing], operator.sub, initial=host.num_mergeable)
    return list(map(host.tokens_of, left))[1:]


def latency_model(host: Host, config: MergeConfig) -> LatencyModel:
    """Build the latency model of the host's root on its device, from layer times.

    Args:
        host: The host of a model with a fixed number of tokens.
        config: Its score, metric, weighting and implementation add costs.

    Raises:
        NotImplementedError: As `forward_costs`, or if the layers are not all of the same sizes.
    """
    validate_block_classes(host, 0)
    costs = forward_costs(host, config, "speedup")
    inside = sum(costs.flops_per_layer())
    return measured_latency(host, config, around_ratio=(costs.flops() - inside) / inside)


def forward_costs(
    host: Host, config: MergeConfig, name: str = "flop_ratio", num_mergeable: int | None = None
) -> ForwardCosts:
    """Count the FLOPs of the host's root, that is, the transformer alone.

    Args:
        host: The host.
        config: Its score and metric add costs.
        name: The budget that needs the costs, for the message.
        num_mergeable: Tokens, or tubes, of the first block that may merge; None for those of the
            model's config.

    Raises:
        NotImplementedError: If there is a convolution besides the one that embeds patches, or a
            linear layer whose cost is not known.
    """
    convolutions = [module for module in host.root.modules() if isinstance(module, _CONVOLUTIONS)]
    if len(convolutions) != 1:
        raise NotImplementedError(
            f"`{name}` must be used on a model with one convolution, which embeds patches, got "
            f"{len(convolutions)}: what they cost is not known here. Use `num_tokens` or `ratio`."
        )
    num_mergeable = host.num_mergeable if num_mergeable is None else num_mergeable
    assert num_mergeable is not None
    (embedding,) = convolutions
    every_token = _linear_flops(*host.reads_every_token())
    per_patch = 2 * embedding.weight.numel()
    head = _linear_flops(host.root) - _linear_flops(*host.blocks) - every_token
    probe = host.probe()
    if probe is not None:  # keys, values and both products for each token, and one query
        every_token += 4 * probe.embed_dim**2 + 4 * probe.embed_dim
        head += 2 * probe.embed_dim**2
    once, each = host.readout_flops()
    head, every_token = head + once, every_token + each
    # What follows the blocks meets every place of the grid.
    if host.output_of(config.output, config.pooling) == "grid":
        head, per_patch = head + host.num_extra_tokens * every_token, per_patch + every_token
        every_token = 0
    channels = embedding.out_channels
    return ForwardCosts(
        layers=tuple(_layer_costs(host, block, config, channels) for block in host.blocks),
        num_tokens=host.num_extra_tokens + num_mergeable,
        num_prefix_tokens=host.num_extra_tokens,
        constant=head,
        per_final_token=every_token,
        per_place=host.tube_length * per_patch,
    )


def _layer_costs(
    host: Host, block: nn.Module, config: MergeConfig, num_channels: int
) -> LayerCosts:
    _, head_channels, mlp = host.sizes(block)
    attention = host.attention_flops(block, _linear_flops)
    mlp_per_token = _linear_flops(*mlp)
    mlp_per_tube = host.tube_length * mlp_per_token
    extra_tubes = (mlp_per_token - mlp_per_tube) * host.num_extra_tokens  # extras are none
    shifts = config.score == "representation-shift"
    return LayerCosts(
        attention_per_token=attention.per_token,
        attention_per_pair=attention.per_pair,
        mlp_per_token=mlp_per_tube,
        match_per_pair=2 * (head_channels if config.metric == "keys" else num_channels),
        score_per_token=mlp_per_tube if shifts else 0,
        constant=attention.constant + extra_tubes,
    )


def _linear_flops(*modules: nn.Module) -> int:
    """Count the FLOPs of all linear layers inside, per token."""
    return sum(2 * layer.in_features * layer.out_features for layer in linear_layers(*modules))


def validated_layers(config: MergeConfig, num_layers: int) -> tuple[int, ...]:
    """The layers that a budget may use.

    Raises:
        ValueError: If one does not exist.
    """
    if config.layers is None:
        return default_layers(num_layers, config.linkage)
    if config.layers[-1] >= num_layers:
        raise ValueError(
            f"`layers` must be in [0, {num_layers - 1}] (the model's layers), got "
            f"{config.layers[-1]}. They count from 0."
        )
    return tuple(config.layers)
