"""From a budget to counts: what one model's forward costs, and the schedule that fits."""

import operator
from dataclasses import replace
from itertools import accumulate

from torch import nn

from vidtldr.hosts.config import MergeConfig
from vidtldr.hosts.host import Host
from vidtldr.hosts.measured_latency import measured_latency
from vidtldr.hosts.refusals import validate_block_classes
from vidtldr.hosts.token_score import ATTENTION_SCORES
from vidtldr.method.budget import (
    ForwardCosts,
    LayerCosts,
    default_layers,
    r_for_flop_ratio,
    r_for_num_tokens,
)
from vidtldr.method.latency import LatencyModel, r_for_speedup
from vidtldr.ops.attention import scores_by_fused_call

__all__ = [
    "forward_costs",
    "latency_model",
    "resolve_budget",
    "resolved_r",
    "tokens_after_layers",
]

_BUDGETS = ("flop_ratio", "num_tokens", "speedup")
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def resolve_budget(config: MergeConfig, host: Host) -> MergeConfig:
    """Turn a budget into the counts that meet it on one model; other schedules stay as they are.

    Args:
        config: What was asked for.
        host: The host of the model.

    Returns:
        The same choices with `r` or `ratio`.

    Raises:
        ValueError: If the layers are not there or cannot save so much, or the model's number of
            tokens is not known.
        NotImplementedError: If the model is not built of what can be counted.
    """
    if not config.is_budget:
        return config
    name = next(name for name in _BUDGETS if getattr(config, name) is not None)
    if host.num_tokens is None:
        raise ValueError(
            f"{name} must be used on a model of a fixed number of tokens, got one whose input "
            "decides. Use ratio=[0.25, 0.1]."
        )
    layers = _validated_layers(config, len(host.blocks))
    if config.speedup is not None:
        r = r_for_speedup(latency_model(host, config), config.speedup, layers)
    elif config.flop_ratio is not None:
        validate_block_classes(host, 0)
        r = r_for_flop_ratio(forward_costs(host, config), config.flop_ratio, layers)
    else:
        assert config.num_tokens is not None
        prefix = host.num_prefix_tokens
        r = r_for_num_tokens(host.num_tokens - prefix, config.num_tokens, layers, prefix)
    return replace(config, r=r, flop_ratio=None, num_tokens=None, speedup=None, layers=None)


def resolved_r(config: MergeConfig, host: Host) -> tuple[int, ...] | None:
    """Tokens that each layer of one model removes, as counts whatever was given.

    Returns:
        One count a layer of the schedule; None for shares of a number of tokens that only the
        input decides.

    Raises:
        ValueError, NotImplementedError: As `resolve_budget`.
    """
    schedule = resolve_budget(config, host)
    if host.num_tokens is None:
        return None if schedule.r is None else tuple(schedule.r)
    tokens, r = host.num_tokens - host.num_prefix_tokens, []
    for layer in range(len(schedule.schedule)):
        r.append(schedule.num_removed(layer, tokens))
        tokens -= r[-1]
    return tuple(r)


def tokens_after_layers(config: MergeConfig | None, host: Host) -> list[int]:
    """Tokens that leave each layer of one model, prefix tokens included, worked out.

    A trace says the same of a forward; this is for models that are compiled.

    Args:
        config: What is merged; None for nothing.
        host: Of a model with a fixed number of tokens.

    Raises:
        ValueError, NotImplementedError: As `resolve_budget`.
    """
    assert host.num_tokens is not None
    r = () if config is None else resolved_r(config, host) or ()
    missing = [0] * (len(host.blocks) - len(r))
    left = accumulate([*r, *missing], operator.sub, initial=host.num_tokens)
    return list(left)[1:]


def latency_model(host: Host, config: MergeConfig) -> LatencyModel:
    """Seconds of the host's root on its device, from times of its layers.

    Args:
        host: Of a model with a fixed number of tokens.
        config: Its score, metric, weighting and implementation have costs of their own.

    Raises:
        NotImplementedError: As `forward_costs`, or if the layers are not all of the same sizes.
    """
    validate_block_classes(host, 0)
    costs = forward_costs(host, config, "speedup")
    inside = sum(costs.flops_per_layer())
    return measured_latency(host, config, around_ratio=(costs.flops() - inside) / inside)


def forward_costs(host: Host, config: MergeConfig, name: str = "flop_ratio") -> ForwardCosts:
    """FLOPs of the host's root, that is, the transformer itself, without what is around it.

    Args:
        host: Of a model with a fixed number of tokens.
        config: Its score and metric have costs of their own.
        name: The budget that asks, for the message.

    Raises:
        NotImplementedError: If there is a convolution besides the one that embeds patches.
    """
    convolutions = [module for module in host.root.modules() if isinstance(module, _CONVOLUTIONS)]
    if len(convolutions) != 1:
        raise NotImplementedError(
            f"{name} must be used on a model with one convolution, which embeds patches, got "
            f"{len(convolutions)}: what they cost is not known here. Use num_tokens or ratio."
        )
    assert host.num_tokens is not None
    (embedding,) = convolutions
    every_token = _linear_flops(*host.reads_every_token())
    num_patches = host.num_tokens - host.num_prefix_tokens
    head = _linear_flops(host.root) - _linear_flops(*host.blocks) - every_token
    channels = embedding.out_channels
    return ForwardCosts(
        layers=tuple(_layer_costs(host, block, config, channels) for block in host.blocks),
        num_tokens=host.num_tokens,
        num_prefix_tokens=host.num_prefix_tokens,
        constant=num_patches * 2 * embedding.weight.numel() + head,
        per_final_token=every_token,
    )


def _layer_costs(
    host: Host, block: nn.Module, config: MergeConfig, num_channels: int
) -> LayerCosts:
    num_heads, head_channels, mlp = host.sizes(block)
    mlp_per_token = _linear_flops(*mlp)
    shifts = config.score == "representation-shift"
    asked = None if config.score is None else ATTENTION_SCORES.get(config.score)
    device = next(block.parameters()).device
    calls_twice = scores_by_fused_call(asked, config.impl, device, head_channels)
    attention_per_pair = 4 * num_heads * head_channels
    return LayerCosts(
        attention_per_token=_linear_flops(block) - mlp_per_token,
        attention_per_pair=attention_per_pair,
        mlp_per_token=mlp_per_token,
        match_per_pair=2 * (head_channels if config.metric == "keys" else num_channels),
        score_per_token=mlp_per_token if shifts else 0,
        score_per_pair=attention_per_pair if calls_twice else 0,
        # Attention that also scores sums the mass up in a channel of its own.
        mass_per_pair=0 if asked is None or calls_twice else 2 * num_heads,
    )


def _linear_flops(*modules: nn.Module) -> int:
    """FLOPs of all linear layers inside for one token."""
    layers = [m for module in modules for m in module.modules() if isinstance(m, nn.Linear)]
    return sum(2 * layer.in_features * layer.out_features for layer in layers)


def _validated_layers(config: MergeConfig, num_layers: int) -> tuple[int, ...]:
    if config.layers is None:
        return default_layers(num_layers)
    if config.layers[-1] >= num_layers:
        raise ValueError(
            f"layers must be in [0, {num_layers - 1}] (the model's layers), got "
            f"{config.layers[-1]}. They count from 0."
        )
    return tuple(config.layers)
