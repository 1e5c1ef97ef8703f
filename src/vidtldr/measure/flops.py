"""Floating-point operations of a forward, counted by running it; always 1 MAC = 2 FLOPs."""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

import vidtldr.ops.attention  # noqa: F401  (registers the operators counted below)

__all__ = ["count_flops"]


def count_flops(run: Callable[[], object]) -> int:
    """Run once and count the operations of matrix products, convolutions and fused attention.

    Softmax, norms, activations, sorting and gathering count as 0, as is usual in the field.

    Args:
        run: Calls the forward.

    Returns:
        Floating-point operations, two for each multiply-accumulate.
    """
    # PyTorch's counter lacks the fused attention of the CPU (seen in 2.13) and would count it as 0.
    cpu_attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    custom_mapping = {
        cpu_attention: _attention_flops,
        torch.ops.vidtldr.attention_with_score: _attention_flops,
        torch.ops.vidtldr.attention_score: _score_flops,
        torch.ops.vidtldr.native_attention: _attention_flops,
        torch.ops.vidtldr.native_score: _score_flops,
        torch.ops.quantized.linear_dynamic: _linear_flops,
        torch.ops.quantized.linear_dynamic_fp16: _linear_flops,
    }
    counter = FlopCounterMode(display=False, custom_mapping=custom_mapping)
    with counter:
        run()
    return int(counter.get_total_flops())


def _attention_flops(
    q_shape: Sequence[int], k_shape: Sequence[int], v_shape: Sequence[int], *_: Any, **__: Any
) -> int:
    """Count both products of attention; shapes (B, H, N, D)."""
    batch, heads, num_queries, channels = q_shape
    return 2 * batch * heads * num_queries * k_shape[-2] * (channels + v_shape[-1])


def _score_flops(q_shape: Sequence[int], k_shape: Sequence[int], *_: Any, **__: Any) -> int:
    """Count the product of queries and keys once, though the kernels compute it twice."""
    return _attention_flops(q_shape, k_shape, (0,))


def _linear_flops(x_shape: Sequence[int], *_: Any, out_shape: Sequence[int], **__: Any) -> int:
    """Count the product of a quantized linear layer, whose weights are packed."""
    return 2 * prod(x_shape) * out_shape[-1]
