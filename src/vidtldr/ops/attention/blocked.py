"""Attention with mass and score, a block of query rows at a time, in plain torch.

It runs everywhere and is the fallback of `auto`. The score needs the mean over heads, so a block
holds the probabilities of all heads for some query rows. One softmax serves both the score and the
values, which are weighted by `P_ij mass_j / Σ_j P_ij mass_j`.

Letters: `B` clips, `H` heads, `N` tokens now, `D` channels a head, `R` query rows of a block.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from vidtldr.ops.processor import bfloat16_is_native

__all__ = ["blocked_attention", "blocked_score", "multiplies_bfloat16"]

# Logits are clamped to this many nats below their row's largest: 4e-31 of its probability, which
# changes no sum over keys. Lower ones would give subnormal numbers, which make softmax and product
# hundreds of times slower on some processors.
_DEPTH = 70.0

_BLOCK_BYTES = 8 << 20
_CPU_MULTIPLIES_BFLOAT16 = bfloat16_is_native(torch.device("cpu"))


def blocked_attention(
    q: Tensor, k: Tensor, v: Tensor, scale: float, mass: Tensor | None, score: str | None
) -> tuple[Tensor, Tensor | None]:
    """Compute `attend` without storing the map. No gradient flows through it.

    In bfloat16 without a score, on a device with bfloat16 products, every product is in bfloat16;
    logits and probabilities are then rounded as in eager attention.

    Args:
        q: Queries, shape (B, H, N, D).
        k: Keys, shape (B, H, N, D).
        v: Values, shape (B, H, N, D).
        scale: Factor of the logits.
        mass: Mass of each key, shape (B, N), positive, or None.
        score: One of `AttentionScore`, or None.

    Returns:
        Attended values, shape (B, H, N, D), dtype of `v`, and the score, shape (B, N), or None.

    Raises:
        NotImplementedError: Inside `torch.vmap`.
    """
    # Results are written in place: small ones kept between large temporaries would fragment the
    # heap (measured: twice the peak of resident memory).
    x = torch.empty_like(v)
    total = None if score is None else _empty_score(q)
    work = _work_dtype(q) if score is not None or not multiplies_bfloat16(q) else q.dtype
    for clips in _clips_at_once(q, work):
        # Values keep their dtype if the device multiplies it: else every block would be rounded.
        values = (v[clips] if multiplies_bfloat16(v) else v[clips].to(_work_dtype(v))).contiguous()
        weights = None if mass is None else mass[clips].to(work)[:, None, None, :]
        for rows, attn in _blocks_of_attention(q[clips], k[clips], scale, work):
            if total is not None:
                _add_score_of_rows(total[clips], rows, attn, str(score))
            x[clips, :, rows] = _mean_of_values(attn, values, weights)
    return x, total


def blocked_score(q: Tensor, k: Tensor, scale: float, score: str) -> Tensor:
    """Compute the score only, shape (B, N); arguments as in `blocked_attention`."""
    total = _empty_score(q)
    for clips in _clips_at_once(q, _work_dtype(q)):
        for rows, attn in _blocks_of_attention(q[clips], k[clips], scale, _work_dtype(q)):
            _add_score_of_rows(total[clips], rows, attn, score)
    return total


def multiplies_bfloat16(v: Tensor) -> bool:
    """Whether the values are bfloat16 and the device multiplies bfloat16 in hardware."""
    return v.dtype == torch.bfloat16 and (v.device.type != "cpu" or _CPU_MULTIPLIES_BFLOAT16)


def _blocks_of_attention(
    q: Tensor, k: Tensor, scale: float, work: torch.dtype
) -> Iterator[tuple[slice, Tensor]]:
    """Yield consecutive query rows and their softmax without mass in dtype `work`, (B, H, R, N).

    Every block overwrites the previous one: fresh memory would cost more time in page faults than
    the exponentials take. The softmax overwrites its logits, which leaves room for twice the rows;
    its kernel reads a row before writing it.
    """
    _refuse_vmap(q)
    batch, heads, num_tokens, channels = q.shape
    queries = q.reshape(batch * heads, num_tokens, channels)
    # A transposed copy, one row per channel: with the original strides bfloat16 takes 1.3 to 1.8
    # times as long.
    keys = (k.to(work) * scale).transpose(-1, -2).contiguous().view(-1, channels, num_tokens)
    num_rows = min(_rows_per_block(q, work), num_tokens)
    memory = torch.empty(batch * heads * num_rows * num_tokens, dtype=work, device=q.device)
    for start in range(0, num_tokens, num_rows):
        rows = slice(start, min(start + num_rows, num_tokens))
        shape = (batch * heads, rows.stop - start, num_tokens)
        block = memory[: shape[0] * shape[1] * shape[2]].view(shape)
        torch.bmm(queries[:, rows].to(work), keys, out=block)
        torch.maximum(block, block.amax(dim=-1, keepdim=True).sub_(_DEPTH), out=block)
        torch.softmax(block, dim=-1, out=block)
        yield rows, block.view(batch, heads, shape[1], num_tokens)


def _refuse_vmap(q: Tensor) -> None:
    if not torch.compiler.is_compiling() and torch._C._functorch.is_batchedtensor(q):
        raise NotImplementedError(
            'impl="blocked" must run outside torch.vmap, which cannot batch what it writes in '
            'place. Pass all clips as one batch, or impl="reference".'
        )


def _clips_at_once(q: Tensor, work: torch.dtype) -> Iterator[slice]:
    """Yield consecutive clips whose block takes about 8 MB: one clip, except for short sequences.

    More at once are no faster, and each needs its own copy of keys and values. A compiled or
    exported graph takes all, so that it serves any number of clips.
    """
    if torch.compiler.is_compiling():
        yield slice(None)
        return
    batch, heads, num_tokens, _ = q.shape
    of_one = heads * min(_rows_per_block(q, work), num_tokens) * num_tokens * work.itemsize
    num_clips = max(1, _BLOCK_BYTES // max(of_one, 1))
    for start in range(0, batch, num_clips):
        yield slice(start, start + num_clips)


def _rows_per_block(q: Tensor, work: torch.dtype) -> int:
    """Rows per block that take 3/2 of the queries' memory, whatever N is: 3/2 D for one dtype.

    More rows are no faster (2352 tokens, 12 heads of 64 channels, time relative to fused attention
    without a score: 1.9 with 16 rows, 1.65 with 32, 1.47 with 64, 1.43 with 96 and with 128), and
    the layer's peak memory stays in the MLP.
    """
    return max(1, 3 * q.shape[-1] * q.element_size() // (2 * work.itemsize))


def _mean_of_values(attn: Tensor, values: Tensor, weights: Tensor | None) -> Tensor:
    """Mean of values weighted by probability times mass of their keys, (B, H, R, D).

    Overwrites `attn`.
    """
    if weights is None:
        return attn.to(values.dtype) @ values
    total = attn.mul_(weights).sum(dim=-1, keepdim=True)
    return (attn.to(values.dtype) @ values) / total.to(values.dtype)


def _work_dtype(q: Tensor) -> torch.dtype:
    """The dtype of scored logits and probabilities: float32, or float64 for float64."""
    return torch.promote_types(q.dtype, torch.float32)


def _empty_score(q: Tensor) -> Tensor:
    return torch.zeros(q.shape[0], q.shape[2], dtype=_work_dtype(q), device=q.device)


def _add_score_of_rows(total: Tensor, rows: slice, attn: Tensor, score: str) -> None:
    """Add a block to the score: sharpness of its rows, or the attention they pay to every key."""
    if score == "sharpness-per-head":
        total[:, rows] = _negative_entropy(attn).mean(dim=1)
    elif score == "sharpness":
        total[:, rows] = _negative_entropy(attn.mean(dim=1))
    else:
        total += attn.mean(dim=1).sum(dim=1) / total.shape[1]


def _negative_entropy(attn: Tensor) -> Tensor:
    """Sum of p log p over the last axis, nats."""
    # Same as xlogy, which is not vectorised on a CPU: 0 log tiny = 0.
    log = attn.clamp_min(torch.finfo(attn.dtype).tiny).log_()
    return log.mul_(attn).sum(dim=-1)
