"""Triton kernels for attention with mass and score on a GPU, without a map in memory.

There are two kernels. The first is flash attention with two running sums per row, one with mass for
the values and one without for the score; it stores every row's largest logit and plain sum. From
these the second recomputes the head mean of the probabilities, one tile of rows and keys at a time
with a loop over heads inside, and folds each tile into the score at once. One kernel is not enough
because `p log p` of the head mean needs all heads of a tile. Per-head sharpness needs no mean and
comes from the first kernel.

Both work in base 2, for which GPUs have an instruction: logits are scaled by `scale log2(e)`.
No sum uses atomics, so within one process the same input gives the same bits every time; each
process tunes the tiles anew for each size, which may change the last bits.

Letters: `B` clips, `H` heads, `N` tokens now, `D` channels a head.
"""

import math
from typing import Any

import torch
import triton
import triton.language as tl

__all__ = ["attention_kernel", "score_kernel"]

_INTERPRETED = triton.knobs.runtime.interpret
# The interpreter multiplies the bit patterns of bfloat16 as if they were integers (Triton 3.7 to
# 3.9), so there bfloat16 is multiplied as float32, which is exact.
_WIDEN = tl.constexpr(_INTERPRETED)
_LN_2 = tl.constexpr(math.log(2))
_TINY = tl.constexpr(torch.finfo(torch.float32).tiny)

# Candidates (rows, keys, warps, stages). Triton drops those that do not fit the GPU.
_TILES = ((128, 128, 8, 2), (128, 64, 8, 3), (128, 64, 4, 3), (64, 64, 4, 2))
# Without tf32 there are no matrix units for float32, and larger tiles spill kilobytes per thread.
_FLOAT32_TILES = ((64, 32, 8, 1), (32, 32, 8, 2), (32, 16, 4, 2))
_INTERPRETER_TILES = ((32, 16, 4, 1),)  # nothing can be timed there; small, to hit many edges


def _configs() -> list[triton.Config]:
    return [
        triton.Config({"ROWS": rows, "KEYS": keys}, num_warps=warps, num_stages=stages)
        for rows, keys, warps, stages in (
            _INTERPRETER_TILES if _INTERPRETED else _TILES + _FLOAT32_TILES
        )
    ]


def _for_dtype(
    configs: list[triton.Config], arguments: dict[str, Any], **_: Any
) -> list[triton.Config]:
    """Keep the candidates for the queries' dtype; Triton then times each once."""
    is_float32 = arguments["q_ptr"].dtype == torch.float32
    return [c for c in configs if (c.kwargs["ROWS"] * c.kwargs["KEYS"] < 64 * 64) == is_float32]


_PRUNE = {"early_config_prune": _for_dtype}


@triton.jit
def _head_offset(strides, b, h):
    """Offset of the first token of one head of one clip, in 64 bits."""
    return tl.cast(b, tl.int64) * strides[0] + tl.cast(h, tl.int64) * strides[1]


@triton.jit
def _tile(strides, start, N, D: tl.constexpr, SIZE: tl.constexpr, PADDED_D: tl.constexpr):
    """Offsets of tokens from `start` in their head, (SIZE, PADDED_D), and a mask of N and D.

    In 64 bits: N times the token stride exceeds 2**31 for long clips in wide models.
    """
    tokens = tl.arange(0, SIZE)
    channels = tl.arange(0, PADDED_D)
    inside = (start + tokens < N)[:, None] & (channels < D)[None, :]
    offsets = (
        tokens.to(tl.int64)[:, None] * strides[2] + channels.to(tl.int64)[None, :] * strides[3]
    )
    return tl.cast(start, tl.int64) * strides[2] + offsets, inside


@triton.jit
def _load(base, strides, start, N, D: tl.constexpr, SIZE: tl.constexpr, PADDED_D: tl.constexpr):
    """Load tokens from `start` of one head, (SIZE, PADDED_D), with zeros beyond N and D."""
    offsets, inside = _tile(strides, start, N, D, SIZE, PADDED_D)
    return tl.load(base + offsets, mask=inside, other=0.0)


@triton.jit
def _dot(a, b):
    """Product accumulated in float32; float32 inputs are not rounded to tf32."""
    if _WIDEN:
        a = a.to(tl.float32)
        b = b.to(tl.float32)
    return tl.dot(a, b, input_precision="ieee")


@triton.jit
def _below(products, scale_log2e, row_max):
    """Base-2 logits minus their row's maximum, rounded once, the same in both kernels.

    Left to the compiler, only one of the kernels might fuse the product with the subtraction: with
    a logit of a million that is an error of a tenth in the probabilities.
    """
    return tl.fma(products, scale_log2e, -row_max[:, None])


@triton.autotune(_configs(), key=["D", "size_class"], prune_configs_by=_PRUNE)
@triton.jit(do_not_specialize=["N", "size_class"])
def attention_kernel(
    q_ptr,
    q_strides,
    k_ptr,
    k_strides,
    v_ptr,
    v_strides,
    mass_ptr,
    x_ptr,
    x_strides,
    row_max_ptr,
    row_sum_ptr,
    entropy_ptr,
    scale_log2e,
    H,
    N,
    size_class,
    D: tl.constexpr,
    PADDED_D: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
):
    """One program: some rows of one head of one clip, against all keys.

    A pointer of None skips its work: `mass_ptr` (all 1), `x_ptr` with `v_ptr` (no values),
    `entropy_ptr` (no negative entropy of the rows, in nats). `size_class` is only for the tuner:
    tiles that suit one short clip do not suit a batch.
    """
    num_tiles = tl.cdiv(N, ROWS)
    program = tl.program_id(0)
    head = (program // num_tiles).to(tl.int64)  # among B * H
    b, h = head // H, head % H
    first_row = (program % num_tiles) * ROWS
    rows = first_row + tl.arange(0, ROWS)

    q_ptr += _head_offset(q_strides, b, h)
    k_ptr += _head_offset(k_strides, b, h)
    q = _load(q_ptr, q_strides, first_row, N, D, ROWS, PADDED_D)
    row_max = tl.full((ROWS,), float("-inf"), tl.float32)
    row_sum = tl.zeros((ROWS,), tl.float32)
    if x_ptr is not None:
        v_ptr += _head_offset(v_strides, b, h)
        x_ptr += _head_offset(x_strides, b, h)
        mass_sum = tl.zeros((ROWS,), tl.float32)
        x = tl.zeros((ROWS, PADDED_D), tl.float32)
    if entropy_ptr is not None:
        moment = tl.zeros((ROWS,), tl.float32)  # sum of e log2 e

    for first_key in range(0, N, KEYS):
        keys = first_key + tl.arange(0, KEYS)
        inside = (keys < N)[None, :]
        k = _load(k_ptr, k_strides, first_key, N, D, KEYS, PADDED_D)
        products = _dot(q, tl.trans(k))
        logits = tl.where(inside, products * scale_log2e, float("-inf"))
        new_max = tl.maximum(row_max, tl.max(logits, 1))
        shrink = tl.exp2(row_max - new_max)
        log2_e = _below(products, scale_log2e, new_max)
        e = tl.where(inside, tl.exp2(log2_e), 0.0)
        if entropy_ptr is not None:
            # The old terms are e log2 e relative to the old maximum: each gains e (old - new).
            # Before the first there are none, and old is -inf: avoid 0 times infinity.
            rise = tl.where(row_sum > 0, row_max - new_max, 0.0)
            moment = (moment + row_sum * rise) * shrink + tl.sum(e * log2_e, 1)
        row_sum = row_sum * shrink + tl.sum(e, 1)
        if x_ptr is not None:
            weights = e
            if mass_ptr is not None:
                weights = e * tl.load(mass_ptr + b * N + keys, mask=keys < N, other=0.0)[None, :]
                mass_sum = mass_sum * shrink + tl.sum(weights, 1)
            v = _load(v_ptr, v_strides, first_key, N, D, KEYS, PADDED_D)
            # Rounded to the values' dtype for the tensor cores, as in fused attention.
            x = x * shrink[:, None] + _dot(weights.to(v.dtype), v)
        row_max = new_max

    if x_ptr is not None:
        if mass_ptr is None:
            mass_sum = row_sum
        offsets, inside = _tile(x_strides, first_row, N, D, ROWS, PADDED_D)
        tl.store(x_ptr + offsets, (x / mass_sum[:, None]).to(x_ptr.dtype.element_ty), mask=inside)
    if entropy_ptr is not None:
        entropy = (moment / row_sum - tl.log2(row_sum)) * _LN_2  # to nats
        tl.store(entropy_ptr + head * N + rows, entropy, mask=rows < N)
    else:
        tl.store(row_max_ptr + head * N + rows, row_max, mask=rows < N)
        tl.store(row_sum_ptr + head * N + rows, row_sum, mask=rows < N)


@triton.jit
def _head_mean(
    q_ptr,
    q_strides,
    k_ptr,
    k_strides,
    row_max_ptr,
    row_sum_ptr,
    scale_log2e,
    b,
    first_row,
    first_key,
    H,
    N,
    D: tl.constexpr,
    PADDED_D: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
):
    """Probabilities of a tile averaged over heads, (ROWS, KEYS), with zeros beyond N."""
    rows = first_row + tl.arange(0, ROWS)
    total = tl.zeros((ROWS, KEYS), tl.float32)
    for h in range(H):
        q_head = q_ptr + _head_offset(q_strides, b, h)
        k_head = k_ptr + _head_offset(k_strides, b, h)
        q = _load(q_head, q_strides, first_row, N, D, ROWS, PADDED_D)
        k = _load(k_head, k_strides, first_key, N, D, KEYS, PADDED_D)
        at = (b * H + h) * N + rows
        row_max = tl.load(row_max_ptr + at, mask=rows < N, other=0.0)
        row_sum = tl.load(row_sum_ptr + at, mask=rows < N, other=1.0)
        # Largest logit and sum are stored separately, not as one log-sum-exp: next to a logit of a
        # million, float32 has no digits left for the log of the sum.
        e = tl.exp2(_below(_dot(q, tl.trans(k)), scale_log2e, row_max))
        total += e * (1 / row_sum)[:, None]
    keys = first_key + tl.arange(0, KEYS)
    return tl.where((rows < N)[:, None] & (keys < N)[None, :], total / H, 0.0)


@triton.autotune(_configs(), key=["D", "size_class", "SHARPNESS"], prune_configs_by=_PRUNE)
@triton.jit(do_not_specialize=["N", "num_parts", "size_class"])
def score_kernel(
    q_ptr,
    q_strides,
    k_ptr,
    k_strides,
    row_max_ptr,
    row_sum_ptr,
    parts_ptr,
    num_parts,
    scale_log2e,
    H,
    N,
    size_class,
    D: tl.constexpr,
    PADDED_D: tl.constexpr,
    SHARPNESS: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
):
    """One program: one part of the score of some tokens of one clip, into parts (B, num_parts, N).

    SHARPNESS keeps a block of rows and loops over some keys, summing `p log p`; otherwise it
    keeps a block of keys and loops over some rows, summing the attention they pay.
    """
    KEPT: tl.constexpr = ROWS if SHARPNESS else KEYS
    WALKED: tl.constexpr = KEYS if SHARPNESS else ROWS
    num_tiles = tl.cdiv(N, KEPT)
    program = tl.program_id(0)
    part = program % num_parts
    first = ((program // num_parts) % num_tiles) * KEPT
    b = (program // (num_parts * num_tiles)).to(tl.int64)
    length = tl.cdiv(tl.cdiv(N, WALKED), num_parts) * WALKED
    total = tl.zeros((KEPT,), tl.float32)
    for other in range(part * length, tl.minimum(N, (part + 1) * length), WALKED):
        p = _head_mean(
            q_ptr,
            q_strides,
            k_ptr,
            k_strides,
            row_max_ptr,
            row_sum_ptr,
            scale_log2e,
            b,
            first if SHARPNESS else other,
            other if SHARPNESS else first,
            H,
            N,
            D,
            PADDED_D,
            ROWS,
            KEYS,
        )
        if SHARPNESS:
            # log of at least the smallest normal number: 0 log tiny = 0, and hardware that
            # flushes subnormal numbers to 0 gives no infinity.
            total += tl.sum(p * tl.log2(tl.maximum(p, _TINY)), 1)
        else:
            total += tl.sum(p, 0)
    tokens = first + tl.arange(0, KEPT)
    tl.store(parts_ptr + (b * num_parts + part) * N + tokens, total, mask=tokens < N)
