"""What stands between the blocks and a pooled vector, for pooling by mass.

Letters: `B` clips, `H` heads, `N` tokens now, `C` channels.
"""

from typing import Any, Literal, NamedTuple

from torch import nn

__all__ = ["PoolingStep"]


class PoolingStep(NamedTuple):
    """A module between the blocks and a pooled vector, and how the mass of tokens enters it.

    Attributes:
        module: It is called with the tokens (B, N, C).
        argument: Which of its positional arguments they are; None for the encoder itself, which
            returns the last block's tokens as `last_hidden_state`.
        bias: The keyword by which it takes a bias of its attention's logits, which becomes the log
            mass of the keys; None if it treats each token by itself.
        num_bias_heads: H where that bias is (B * H, 1, N); None where it is (B, 1, 1, N).
        returns: What it returns, alone or first in a tuple: `"tokens"`; `"shares"`, patch tokens
            to be multiplied by their share of the mass, so that their plain mean is their mean by
            mass; or `"vector"`.
        config: The config of transformers whose attention must be SDPA, where others would drop the
            bias or take it for padding; None where any is right.
    """

    module: nn.Module
    argument: int | None = 0
    bias: str | None = None
    num_bias_heads: int | None = None
    returns: Literal["tokens", "shares", "vector"] = "tokens"
    config: Any = None
