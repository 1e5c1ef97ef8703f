"""A record of what one forward merged.

Letters: `B` clips, `N0` tokens at first, `N` tokens now.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vidtldr.method.matching import Match
from vidtldr.method.saliency import saliency
from vidtldr.method.source import update_source

__all__ = ["LayerTrace", "Trace", "activated", "active_traces_of"]


@dataclass(frozen=True)
class LayerTrace:
    """The record of one merging layer.

    Attributes:
        mass: Mass of each token after the merge, shape (B, N), prefix tokens included.
        source: Index of the token that holds each original token after this layer, shape (B, N0),
            int64.
        source_weight: What each original token still counts for, shape (B, N0), in [0, 1]: the
            product of the weights it was merged with; 0 for a dropped token.
        saliency: Eq. 5 of the tokens before the merge, without the prefix, shape (B, N); None
            without a score.
        weights: What each of the same tokens counts for if it merges, by the config's `weighting`
            (Eq. 9 by default); None without a score, where all weights are 1.
    """

    mass: Tensor
    source: Tensor
    source_weight: Tensor
    saliency: Tensor | None
    weights: Tensor | None


class Trace:
    """The last forward that ran inside `with vidtldr.trace(model) as trace`.

    Attributes:
        blocks: The traced blocks, first layer first.
        layers: The merging layers by 0-based index.
    """

    def __init__(self, blocks: Sequence[nn.Module]) -> None:
        self.blocks = tuple(blocks)
        self.layers: dict[int, LayerTrace] = {}
        self._tokens: dict[int, int] = {}
        self._start: Tensor | None = None  # (B, N0) ones on the device of the tokens

    def __repr__(self) -> str:
        """Summary of what has been recorded so far."""
        if len(self._tokens) < len(self.blocks):
            return f"Trace({len(self.blocks)} layers, no whole forward yet)"
        return f"Trace(num_tokens={self.num_tokens}, merged in layers {sorted(self.layers)})"

    @property
    def num_tokens(self) -> list[int]:
        """Tokens after each layer, prefix tokens included."""
        self._finished()
        return [self._tokens[layer] for layer in sorted(self._tokens)]

    @property
    def mass(self) -> Tensor:
        """Mass of each token at the end, shape (B, N); prefix tokens have 1."""
        start = self._finished()
        return self.layers[max(self.layers)].mass if self.layers else start

    @property
    def source(self) -> Tensor:
        """Index of the final token that holds each original token, shape (B, N0), int64."""
        self._finished()
        return self._source_before(None)

    @property
    def source_weight(self) -> Tensor:
        """What each original token still counts for at the end, shape (B, N0); 0 if dropped."""
        self._finished()
        return self._source_weight_before(None)

    @property
    def saliency(self) -> dict[int, Tensor]:
        """Eq. 5 of the mergeable tokens of each merging layer, shape (B, N of that layer)."""
        self._finished()
        return {i: layer.saliency for i, layer in self.layers.items() if layer.saliency is not None}

    def start(self, x: Tensor) -> None:
        """Discard the previous forward; `x` (B, N0, C) enters the first block."""
        self.layers.clear()
        self._tokens.clear()
        self._start = torch.ones(
            x.shape[:2], dtype=torch.promote_types(x.dtype, torch.float32), device=x.device
        )

    def record_tokens(self, layer: int, num_tokens: int) -> None:
        """Record how many tokens leave a layer."""
        self._tokens[layer] = num_tokens

    def record_merge(
        self, layer: int, match: Match, mass: Tensor, score: Tensor | None, weights: Tensor | None
    ) -> None:
        """Record a merge: mass after it (B, N), score and weights of the mergeable tokens."""
        before = self._source_before(layer)
        merge_weight = mass.new_ones(mass.shape[0], match.num_tokens)
        if weights is not None:
            of_src = weights.to(mass.dtype).gather(1, match.src - match.num_prefix_tokens)
            merge_weight = merge_weight.scatter(1, match.src, of_src)
        self.layers[layer] = LayerTrace(
            mass=mass,
            source=update_source(before, match),
            source_weight=self._source_weight_before(layer) * merge_weight.gather(1, before),
            saliency=None if score is None else saliency(score),
            weights=weights,
        )

    def _source_before(self, layer: int | None) -> Tensor:
        earlier = self._last_before(layer)
        if earlier is not None:
            return earlier.source
        start = self._started()
        return torch.arange(start.shape[1], device=start.device).expand(start.shape)

    def _source_weight_before(self, layer: int | None) -> Tensor:
        earlier = self._last_before(layer)
        return self._started() if earlier is None else earlier.source_weight

    def _last_before(self, layer: int | None) -> LayerTrace | None:
        earlier = [i for i in self.layers if layer is None or i < layer]
        return self.layers[max(earlier)] if earlier else None

    def _finished(self) -> Tensor:
        if len(self._tokens) < len(self.blocks):
            raise RuntimeError(
                f"trace must be read after a whole forward, got {len(self._tokens)} of "
                f"{len(self.blocks)} layers. Run model(...) inside the with, in the same thread."
            )
        return self._started()

    def _started(self) -> Tensor:
        assert self._start is not None  # the first block's hook runs before any merge
        return self._start


class _Active(threading.local):
    """Traces open in this thread."""

    def __init__(self) -> None:
        self.traces: list[Trace] = []


_ACTIVE = _Active()


@contextmanager
def activated(recorded: Trace) -> Iterator[None]:
    """Let a trace record what this thread runs; traces may be nested."""
    _ACTIVE.traces.append(recorded)
    try:
        yield
    finally:
        _ACTIVE.traces.remove(recorded)


def active_traces_of(block: nn.Module) -> list[Trace]:
    """Traces open in this thread that include a block."""
    if torch.compiler.is_compiling():  # a compiled model cannot be traced
        return []
    return [recorded for recorded in _ACTIVE.traces if any(block is b for b in recorded.blocks)]
