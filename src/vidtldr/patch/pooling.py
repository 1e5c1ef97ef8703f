"""Pooling by mass: what reads merged tokens behind the blocks counts each by its mass.

Letters: `B` clips, `H` heads, `N` tokens now, `C` channels.
"""

from typing import Any

import torch
from torch import Tensor

from vidtldr.hosts.host import Host
from vidtldr.hosts.pooling_step import PoolingStep
from vidtldr.patch.merging_forward import mass_of, mass_on, put_mass_on
from vidtldr.patch.replicas import Replacement
from vidtldr.patch.under_way import UnderWay

__all__ = ["PoolingByMass", "StepByMass"]


class PoolingByMass(Replacement):
    """Replacement for a root's pooling method: each token counts by its mass."""

    def __init__(self, host: Host, under_way: UnderWay | None = None) -> None:
        assert host.pooling_method is not None  # other families are refused
        self.module, self.name = host.root, host.pooling_method
        self.last_layer = len(host.blocks) - 1
        self.under_way = under_way or UnderWay()

    def __call__(self, x: Tensor) -> Any:
        """Pool the last block's tokens (B, N, C).

        Raises:
            RuntimeError: If they do not come from that block.
        """
        pool = getattr(type(self.module), self.name)
        if torch.compiler.is_compiling():
            return pool(self.module, x, mass_of(x, self.name, self.last_layer))
        self.under_way.end()
        if self.under_way.is_over and mass_on(x) is None:
            return pool(self.module, x)
        return pool(self.module, x, mass_of(x, self.name, self.last_layer))


class StepByMass(Replacement):
    """Replacement for the forward of one step from the blocks to a pooled vector.

    The step's own forward runs, with the log mass of the keys as a bias where it attends to tokens.
    """

    def __init__(self, host: Host, step: PoolingStep, under_way: UnderWay) -> None:
        self.module, self.step = step.module, step
        self.last_layer = len(host.blocks) - 1
        self.num_prefix_tokens = host.num_prefix_tokens
        self.under_way = under_way

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the step on merged tokens.

        Raises:
            NotImplementedError: If the bias would be lost in the implementation of attention.
            RuntimeError: If the tokens do not come from the last block.
        """
        forward, out = type(self.module).forward, None
        if self.step.argument is None:
            out = forward(self.module, *args, **kwargs)
            tokens = out.last_hidden_state
        else:
            tokens = args[self.step.argument]
        is_compiling = torch.compiler.is_compiling()
        if not is_compiling and self.under_way.is_over and mass_on(tokens) is None:
            self.under_way.end()
            return forward(self.module, *args, **kwargs) if out is None else out
        mass = mass_of(tokens, type(self.module).__name__, self.last_layer)
        if self.step.bias is not None:
            self._refuse_other_attention()
            kwargs[self.step.bias] = self._bias(mass).to(tokens.dtype)
        if out is not None:
            out.last_hidden_state = self._by_shares(tokens, mass)
        elif self.step.returns == "shares":
            out = self._by_shares(forward(self.module, *args, **kwargs), mass)
        else:
            out = forward(self.module, *args, **kwargs)
        if self.step.returns == "tokens":
            passed_on = out[0] if isinstance(out, tuple) else out
            put_mass_on(passed_on, mass)
            if not is_compiling:
                self.under_way.keep(passed_on)
        elif not is_compiling:
            self.under_way.end()
        return out

    def _bias(self, mass: Tensor) -> Tensor:
        """Log mass of the keys, broadcast over queries: (B, 1, 1, N) or (B * H, 1, N)."""
        if self.step.num_bias_heads is None:
            return mass.log()[:, None, None]
        return mass.log().repeat_interleave(self.step.num_bias_heads, dim=0).unsqueeze(1)

    def _by_shares(self, x: Tensor, mass: Tensor) -> Tensor:
        """Multiply patch tokens by their share of the mass, 1 on average."""
        first, of_patches = self.num_prefix_tokens, mass[:, self.num_prefix_tokens :]
        shares = of_patches / of_patches.mean(dim=1, keepdim=True)
        weighted = x[:, first:] * shares.unsqueeze(-1).to(x.dtype)
        return torch.cat([x[:, :first], weighted], dim=1)

    def _refuse_other_attention(self) -> None:
        config = self.step.config
        if config is not None and config._attn_implementation != "sdpa":
            raise NotImplementedError(
                f"pooling must be 'tokens' with {config._attn_implementation!r} attention, got "
                "'mass', which only 'sdpa' takes as a bias. Call "
                "model.set_attn_implementation('sdpa')."
            )
