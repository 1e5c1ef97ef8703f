"""The forward of a block from the first merging layer on.

Letters: `B` clips, `N` tokens now, `C` channels.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from vidtldr.hosts.config import MergeConfig, Metric
from vidtldr.hosts.host import Attended, Host
from vidtldr.hosts.token_score import ATTENTION_SCORES, WEIGHTINGS, token_score
from vidtldr.hosts.trace import active_traces_of
from vidtldr.method.matching import match_tokens
from vidtldr.method.merging import merge_tokens
from vidtldr.ops.attention import AttentionOutput, AttentionScore, attend

__all__ = ["MergingForward", "PoolingByMass"]

# Mass travels from block to block on the tokens it belongs to. So a forward keeps no state anywhere
# else: threads, exceptions, recomputation under gradient checkpointing and compilation need no
# care, and tokens that something exchanged on the way are noticed instead of being weighed by
# another forward's mass.
_MASS = "_vidtldr_mass"


class MergingForward:
    """Stands in as `block.forward`: attention in proportion to mass, merging, then the MLP.

    It sits in the block's instance dictionary, where hooks, `state_dict`, `deepcopy`, `pickle`,
    gradient checkpointing and the hooks of accelerate leave it alone or take it along.

    Attributes:
        config: The schedule that it follows, a budget turned into counts.
        asked: The config as it was given.
    """

    def __init__(self, host: Host, layer: int, config: MergeConfig, asked: MergeConfig) -> None:
        self.block: Any = host.blocks[layer]
        self.walk = type(host)
        self.num_prefix_tokens = host.num_prefix_tokens
        self.layer = layer
        self.is_first = layer == config.first_merging_layer
        # Tokens take their mass along to whoever asks for it.
        self.hands_on_mass = layer < len(host.blocks) - 1 or config.pooling == "mass"
        self.config = config
        self.asked = asked

    def __call__(self, x: Tensor | None = None, *args: Any, **kwargs: Any) -> Tensor:
        """Run the block on tokens (B, N, C) and return (B, N - r, C).

        Raises:
            NotImplementedError: If an attention mask or attention maps are asked for, or attention
                dropout.
            ValueError: If the layer is asked to remove more than half of its tokens.
            RuntimeError: If the tokens do not come from the block before.
        """
        x = kwargs["hidden_states"] if x is None else x  # transformers' name for it
        self._refuse_what_cannot_work(args, kwargs)
        mass = None if self.is_first else self._mass_of(x)
        if self.block.training and getattr(self.block, "gradient_checkpointing", False):
            # As the class's own forward of transformers does, which this one stands in for.
            x, mass = self.block._gradient_checkpointing_func(self._run, x, mass)
        else:
            x, mass = self._run(x, mass)
        if self.hands_on_mass:
            setattr(x, _MASS, mass)
        return x

    def _run(self, x: Tensor, mass: Tensor | None) -> tuple[Tensor, Tensor]:
        r = self.config.num_removed(self.layer, x.shape[1] - self.num_prefix_tokens)
        score: AttentionScore | None = None
        if r and self.config.score is not None:
            score = ATTENTION_SCORES.get(self.config.score)

        attend_here = partial(self._attend, mass=mass, score=score)
        attended = self.walk.attention_half(self.block, x, attend_here)
        x = attended.x
        if mass is None:
            mass = torch.ones(
                x.shape[:2], dtype=torch.promote_types(x.dtype, torch.float32), device=x.device
            )
        if r:
            x, mass = self.merge(attended, mass, r)
        del attended  # its keys keep queries, keys and values alive, which the MLP has no use for
        return self.walk.mlp_half(self.block, x), mass

    def _attend(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        *,
        scale: float,
        mass: Tensor | None,
        score: AttentionScore | None,
    ) -> AttentionOutput:
        return attend(q, k, v, scale=scale, mass=mass, score=score, impl=self.config.impl)

    def merge(self, attended: Attended, mass: Tensor, r: int) -> tuple[Tensor, Tensor]:
        """Score, match and merge tokens between attention and MLP.

        Args:
            attended: The block half way.
            mass: Of each token, shape (B, N).
            r: Tokens to remove.

        Returns:
            Tokens, shape (B, N - r, C), and their mass, shape (B, N - r).
        """
        prefix = self.num_prefix_tokens
        score = token_score(
            self.config.score, attended.x, attended.score, partial(self.walk.mlp_half, self.block)
        )
        score = None if score is None else score[:, prefix:]
        weights = None if score is None else WEIGHTINGS[self.config.weighting](score)
        match = match_tokens(_metric(self.config.metric, attended), r, prefix)
        x, mass = merge_tokens(attended.x, mass, match, weights)
        for recorded in active_traces_of(self.block):
            recorded.record_merge(self.layer, match, mass, score, weights)
        return x, mass

    def _mass_of(self, x: Tensor) -> Tensor:
        return _mass_of(x, f"layer {self.layer}", self.layer - 1)

    def _refuse_what_cannot_work(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        masks = [*args, kwargs.get("attention_mask"), kwargs.get("attn_mask")]
        if any(mask is not None for mask in masks) or kwargs.get("is_causal"):
            raise NotImplementedError(
                "attention_mask must be None where tokens merge, got a mask: it is made for "
                "tokens that are merged away. Run clips without padding, or remove_patch(model) "
                "first."
            )
        if self.block.training and self.walk.attention_dropout(self.block) > 0:
            raise NotImplementedError(
                "attention dropout must be 0 to train where tokens merge, got "
                f"{self.walk.attention_dropout(self.block)}. Set it to 0 in the model's config, "
                "or call model.eval()."
            )


class PoolingByMass:
    """Stands in for the method of a root that pools tokens: each counts by its mass."""

    def __init__(self, host: Host) -> None:
        assert host.pooling_method is not None  # others are refused
        self.root, self.name = host.root, host.pooling_method
        self.last_layer = len(host.blocks) - 1

    def __call__(self, x: Tensor) -> Any:
        """Pool the last block's tokens (B, N, C).

        Raises:
            RuntimeError: If they do not come from that block.
        """
        mass = _mass_of(x, self.name, self.last_layer)
        return getattr(type(self.root), self.name)(self.root, x, mass)


def _mass_of(x: Tensor, reader: str, writer_layer: int) -> Tensor:
    mass: Tensor | None = getattr(x, _MASS, None)
    if mass is None or mass.shape != x.shape[:2]:
        raise RuntimeError(
            f"the input of {reader} must be the output of layer {writer_layer} itself, got another "
            "tensor: a hook, a device boundary or re-entrant checkpointing exchanged it, and its "
            "mass is lost. Remove the hook, keep the model on one device, use use_reentrant=False."
        )
    return mass


def _metric(metric: Metric, attended: Attended) -> Tensor:
    """What is compared to pair tokens: shape (B, N, C), or (B, N, D) of keys."""
    if metric == "random":
        return torch.randn(attended.x.shape, device=attended.x.device)
    return attended.x if metric == "x" else attended.keys.mean(dim=1)


def merging_forward_of(module: nn.Module) -> MergingForward | None:
    """The forward that stands in for a module's own, also behind a hook of accelerate, or None."""
    for name in ("forward", "_old_forward"):
        forward = vars(module).get(name)
        if isinstance(forward, MergingForward):
            return forward
    return None
