"""The latency model of one model on its device: measured once, cached on disk.

Letters: `B` clips, `N` tokens now, `C` channels.
"""

import hashlib
import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidtldr.budget.latency import Curve, LatencyModel
from vidtldr.budget.linear_layers import linear_layers
from vidtldr.cache import cache_directory
from vidtldr.config import MergeConfig
from vidtldr.files import read_json, write_json
from vidtldr.hosts.host import Host
from vidtldr.hosts.merging import merge_attended
from vidtldr.hosts.token_score import ATTENTION_SCORES
from vidtldr.measure.busyness import BusyReport, busiest
from vidtldr.measure.device_name import device_name
from vidtldr.measure.fork_rng import fork_rng
from vidtldr.measure.source_digest import source_digest
from vidtldr.measure.timing import time_in_turn
from vidtldr.ops.attention import AttentionOutput, attend

__all__ = ["fingerprint", "measured_latency"]

Measured = dict[str, dict[int, float]]

KINDS = ("attention", "weighed", "scored", "merging", "mlp")
# Per process, independent of the files: one budget must always give the same schedule.
_KNOWN: dict[Path, Measured] = {}
NUM_SIZES, NUM_WARMUPS, NUM_ROUNDS = 8, 1, 5


def measured_latency(host: Host, config: MergeConfig, around_ratio: float) -> LatencyModel:
    """Read this device's latency model from the cache, or measure and cache it.

    Measuring takes about as long as thirty forwards and uses random tokens of one clip. If other
    programs run meanwhile, it is measured once more; if they still do, the result is used with a
    warning and not cached.

    Args:
        host: The host of a model with a fixed number of tokens.
        config: Its score, metric, weighting and implementation add costs.
        around_ratio: The cost outside the layers, as a share of the cost inside them.

    Raises:
        NotImplementedError: If the layers are not all of the same sizes.
    """
    asked = fingerprint(host, config)
    file = cache_directory("latency") / f"{_digest(asked)}.json"
    if file not in _KNOWN:
        _KNOWN[file] = _read(file, asked) or _measured_and_kept(host, config, file, asked)
    measured = _KNOWN[file]
    curves = {kind: Curve.fit(measured[kind]) for kind in KINDS}
    assert host.num_mergeable is not None
    num_layers, tokens = len(host.blocks), host.num_extra_tokens + host.num_mergeable
    inside = num_layers * (curves["attention"].at(tokens) + curves["mlp"].at(tokens))
    return LatencyModel(
        **curves,
        num_layers=num_layers,
        num_tokens=tokens,
        num_prefix_tokens=host.num_extra_tokens,
        around=around_ratio * inside,
    )


def fingerprint(host: Host, config: MergeConfig) -> dict[str, Any]:
    """Return everything the times depend on, ready for JSON.

    Raises:
        NotImplementedError: If the layers are not all of the same sizes.
    """
    shapes = [_shapes(block) for block in host.blocks]
    if any(each != shapes[0] for each in shapes):
        raise NotImplementedError(
            "`speedup` must be used on a model whose layers are all of one size, got different "
            "ones. Use `flop_ratio`."
        )
    weight = _floating_weight(host.blocks[0])
    return {
        "device": device_name(weight.device),
        "device_type": weight.device.type,
        "num_threads": torch.get_num_threads() if weight.device.type == "cpu" else None,
        "dtype": str(weight.dtype),
        "torch": torch.__version__,
        "source": source_digest(),
        "family": host.family,
        "layer": shapes[0],
        "num_heads": host.sizes(host.blocks[0]).num_heads,
        "num_tokens": host.num_tokens,
        "num_prefix_tokens": host.num_prefix_tokens,
        "score": config.score,
        "metric": config.metric,
        "linkage": config.linkage,
        "weighting": config.weighting,
        "protects": config.protect > 0,
        "spares": config.spare_norms is not None,
        "impl": config.impl,
    }


def _floating_weight(block: nn.Module) -> nn.Parameter:
    """A weight that is not quantized to integers, whose dtype is that of the tokens."""
    return next(weight for weight in block.parameters() if weight.is_floating_point())


def _shapes(block: nn.Module) -> list[list[Any]]:
    """Shapes of a block's parameters and linear layers; quantized layers have no parameters."""
    parameters = [list(parameter.shape) for parameter in block.parameters()]
    linear = linear_layers(block)
    return parameters + [
        [type(each).__qualname__, each.in_features, each.out_features] for each in linear
    ]


def _measured_and_kept(
    host: Host, config: MergeConfig, file: Path, asked: Mapping[str, Any]
) -> Measured:
    measured, busy = _measure(host, config)
    if busy.is_busy:
        measured, busy = _measure(host, config)
    if meanwhile := _read(file, asked):  # from another process: both must find the same schedule
        return meanwhile
    if busy.is_busy:
        _warn_of_busy(busy)
    else:
        _write(file, {"fingerprint": asked, "seconds": measured})
    return measured


def _warn_of_busy(busy: BusyReport) -> None:
    warnings.warn(
        "the latency of this device is not kept and serves this process alone: other programs "
        f"used {100 * busy.other_share:.0f} % of the processor while it was measured, twice. Run "
        "it again on an idle machine.",
        stacklevel=2,
    )


def _measure(host: Host, config: MergeConfig) -> tuple[Measured, BusyReport]:
    """Measure each half of the first layer, in seconds, at several numbers of tokens or tubes.

    Returns:
        The seconds, and the CPU time other programs took meanwhile.
    """
    mergeable, extra = host.num_mergeable, host.num_extra_tokens
    assert mergeable is not None
    places = {extra + max(2, mergeable * part // NUM_SIZES) for part in range(1, NUM_SIZES + 1)}
    measured: Measured = {kind: {} for kind in KINDS}
    reports: list[BusyReport] = []
    device = next(host.blocks[0].parameters()).device
    with torch.no_grad(), fork_rng(device):
        for place in sorted(places):
            timings = time_in_turn(
                _runs(host, config, place),
                num_repeats=NUM_ROUNDS,
                num_warmups=NUM_WARMUPS,
                device=device,
            )
            for kind, timing in timings.items():
                measured[kind][place] = timing.median_ms / 1e3
            reports += [timing.busy for timing in timings.values()]
    return measured, busiest(reports)


def _runs(host: Host, config: MergeConfig, num_places: int) -> dict[str, Callable[[], object]]:
    num_mergeable = num_places - host.num_extra_tokens
    num_clips, num_tokens = host.batch_multiple, host.tokens_of(num_mergeable)
    block = host.blocks[0]
    weight = _floating_weight(block)
    num_channels = linear_layers(block)[0].in_features
    x = torch.randn(num_clips, num_tokens, num_channels, device=weight.device).to(weight.dtype)
    mass = 1 + torch.rand(num_clips, num_tokens, device=weight.device)
    of_keys = host.mass_of_keys(block, mass)
    score = None if config.score is None else ATTENTION_SCORES.get(config.score)
    weighed = partial(attend, mass=of_keys, impl=config.impl)
    scored = partial(attend, mass=of_keys, score=score, impl=config.impl)
    r = max(1, num_mergeable // 4)
    # A schedule that merges in this layer; the budget itself is not resolved yet.
    one = replace(
        config, r=[r], ratio=None, flop_ratio=None, num_tokens=None, speedup=None, layers=None
    )
    merge = partial(
        merge_attended,
        num_prefix_tokens=host.num_prefix_tokens,
        mlp_half=partial(host.mlp_half, block),
        num_suffix_tokens=host.num_suffix_tokens,
        tube_length=host.tube_length,
    )
    attended = host.attention_half(block, x, scored)
    return {
        "attention": lambda: host.attention_half(block, x, _unmerged_attention),
        "weighed": lambda: host.attention_half(block, x, weighed),
        "scored": lambda: host.attention_half(block, x, scored),
        "merging": lambda: merge(attended, mass, r, one),
        "mlp": lambda: host.mlp_half(block, x),
    }


def _unmerged_attention(q: Tensor, k: Tensor, v: Tensor, *, scale: float) -> AttentionOutput:
    """Attend as the host does; `attend` without a score need not be fused attention."""
    return AttentionOutput(F.scaled_dot_product_attention(q, k, v, scale=scale), None)


def _read(file: Path, asked: Mapping[str, Any]) -> Measured | None:
    """Read the cache entry of this fingerprint; None if it is missing or damaged."""
    try:
        kept = read_json(file)
        if kept["fingerprint"] != asked:
            return None
        measured = {
            kind: {int(place): float(seconds) for place, seconds in kept["seconds"][kind].items()}
            for kind in KINDS
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    is_whole = all(points and min(points.values()) > 0 for points in measured.values())
    return measured if is_whole else None


def _write(file: Path, kept: Mapping[str, Any]) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, kept, indent=1)
    except OSError as error:
        warnings.warn(
            f"the latency of this device is not kept and will be measured again: {error}. Set "
            "VIDTLDR_CACHE to a directory that can be written to.",
            stacklevel=2,
        )


def _digest(asked: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:32]
