"""The latency model of one model on the device it is on: measured once, kept on disk.

Letters: `B` clips, `N` tokens now, `C` channels.
"""

import hashlib
import json
import os
import uuid
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidtldr.hosts.config import MergeConfig
from vidtldr.hosts.device_name import device_name
from vidtldr.hosts.fork_rng import fork_rng
from vidtldr.hosts.host import Host
from vidtldr.hosts.merging_forward import MergingForward
from vidtldr.hosts.source_digest import source_digest
from vidtldr.hosts.timing import time_in_turn
from vidtldr.hosts.token_score import ATTENTION_SCORES
from vidtldr.method.latency import Curve, LatencyModel
from vidtldr.ops.attention import AttentionOutput, attend

__all__ = ["cache_directory", "fingerprint", "measured_latency"]

Measured = dict[str, dict[int, float]]

KINDS = ("attention", "weighed", "scored", "merging", "mlp")
# Of this process, whatever becomes of the files: it must not find two schedules for one budget.
_KNOWN: dict[Path, Measured] = {}
NUM_SIZES, NUM_WARMUPS, NUM_ROUNDS = 8, 1, 5


def measured_latency(host: Host, config: MergeConfig, around_ratio: float) -> LatencyModel:
    """Read the model of this device from disk, or measure it and keep it there.

    Measuring takes about as long as thirty forwards. It is done on random tokens of one clip.

    Args:
        host: Of a model with a fixed number of tokens.
        config: Its score, metric, weighting and implementation have costs of their own.
        around_ratio: What is around the layers, as a share of what is in them.

    Raises:
        NotImplementedError: If the layers are not all of the same sizes.
    """
    asked = fingerprint(host, config)
    file = cache_directory() / f"{_digest(asked)}.json"
    if file not in _KNOWN:
        _KNOWN[file] = _read(file, asked) or _measured_and_kept(host, config, file, asked)
    measured = _KNOWN[file]
    curves = {kind: Curve.fit(measured[kind]) for kind in KINDS}
    assert host.num_tokens is not None
    num_layers, tokens = len(host.blocks), host.num_tokens
    inside = num_layers * (curves["attention"].at(tokens) + curves["mlp"].at(tokens))
    return LatencyModel(
        **curves,
        num_layers=num_layers,
        num_tokens=tokens,
        num_prefix_tokens=host.num_prefix_tokens,
        around=around_ratio * inside,
    )


def cache_directory() -> Path:
    """Where latency models are kept: below `VIDTLDR_CACHE`, or the user's own cache."""
    own = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("VIDTLDR_CACHE") or Path(own) / "vidtldr") / "latency"


def fingerprint(host: Host, config: MergeConfig) -> dict[str, Any]:
    """Everything that decides the times, ready for JSON.

    Raises:
        NotImplementedError: If the layers are not all of the same sizes.
    """
    shapes = [[list(p.shape) for p in block.parameters()] for block in host.blocks]
    if any(each != shapes[0] for each in shapes):
        raise NotImplementedError(
            "speedup must be used on a model whose layers are all of one size, got different "
            "ones. Use flop_ratio."
        )
    weight = next(host.blocks[0].parameters())
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
        "weighting": config.weighting,
        "impl": config.impl,
    }


def _measured_and_kept(
    host: Host, config: MergeConfig, file: Path, asked: Mapping[str, Any]
) -> Measured:
    measured = _measure(host, config)
    if meanwhile := _read(file, asked):  # of another process: both are to find one schedule
        return meanwhile
    _write(file, {"fingerprint": asked, "seconds": measured})
    return measured


def _measure(host: Host, config: MergeConfig) -> Measured:
    """Seconds of each half of the first layer at several numbers of tokens."""
    assert host.num_tokens is not None
    prefix = host.num_prefix_tokens
    mergeable = host.num_tokens - prefix
    places = {prefix + max(2, mergeable * part // NUM_SIZES) for part in range(1, NUM_SIZES + 1)}
    measured: Measured = {kind: {} for kind in KINDS}
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
    return measured


def _runs(host: Host, config: MergeConfig, num_tokens: int) -> dict[str, Callable[[], object]]:
    block = host.blocks[0]
    linear = next(module for module in block.modules() if isinstance(module, nn.Linear))
    weight = linear.weight
    x = torch.randn(1, num_tokens, linear.in_features, device=weight.device).to(weight.dtype)
    mass = 1 + torch.rand(1, num_tokens, device=weight.device)
    score = None if config.score is None else ATTENTION_SCORES.get(config.score)
    weighed = partial(attend, mass=mass, impl=config.impl)
    scored = partial(attend, mass=mass, score=score, impl=config.impl)
    r = max(1, (num_tokens - host.num_prefix_tokens) // 4)
    # A schedule that merges in this layer; the budget itself is not resolved yet.
    one = MergeConfig(
        r=[r],
        score=config.score,
        metric=config.metric,
        weighting=config.weighting,
        impl=config.impl,
    )
    forward = MergingForward(host, 0, one, one)
    attended = host.attention_half(block, x, scored)
    return {
        "attention": lambda: host.attention_half(block, x, _unmerged_attention),
        "weighed": lambda: host.attention_half(block, x, weighed),
        "scored": lambda: host.attention_half(block, x, scored),
        "merging": lambda: forward.merge(attended, mass, r),
        "mlp": lambda: host.mlp_half(block, x),
    }


def _unmerged_attention(q: Tensor, k: Tensor, v: Tensor, *, scale: float) -> AttentionOutput:
    """As the host itself attends; `attend` without a score need not be fused attention."""
    return AttentionOutput(F.scaled_dot_product_attention(q, k, v, scale=scale), None)


def _read(file: Path, asked: Mapping[str, Any]) -> Measured | None:
    """What is kept for the same fingerprint; None if nothing is, or it is damaged."""
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
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
    partial_file = file.with_name(f".{uuid.uuid4().hex}.partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial_file.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
        os.replace(partial_file, file)
    except OSError as error:
        warnings.warn(
            f"the latency of this device is not kept and will be measured again: {error}. Set "
            "VIDTLDR_CACHE to a directory that can be written to.",
            stacklevel=2,
        )
    finally:
        with suppress(OSError):
            partial_file.unlink(missing_ok=True)


def _digest(asked: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:32]
