"""Attention with mass and score, a block of query rows at a time, in plain torch.

The score needs the mean over heads, which does not split over heads, so a block holds the
probabilities of all heads for some query rows. One softmax serves the score and the values: these
are weighed by `P_ij mass_j / Σ_j P_ij mass_j`, so mass goes into `v`, and is one more channel of
it that sums up.

A CPU's threads share a block by its clips and heads, in the products and in the softmax. What
reads it in another way, as one product for all its rows or a plain mean over heads, leaves its
memory in the caches of several cores, and where these do not share one, writing the next logits
there takes twice as long (measured: 94 ms in place of 55 for 2352 tokens of 12 heads, 124 with
both).

Letters: `B` clips, `H` heads, `N` tokens now, `D` channels a head, `R` query rows of a block.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from vidtldr.ops.native_bfloat16 import bfloat16_is_native

__all__ = ["blocked_attention", "blocked_score", "blocked_values", "multiplies_bfloat16"]

_BLOCK_BYTES = 8 << 20
# Logarithms of all heads at once: fewer rows stay in the caches (8192 tokens: 0.74 of the time).
_ENTROPY_ROWS = 16
_CPU_MULTIPLIES_BFLOAT16 = bfloat16_is_native(torch.device("cpu"))


def blocked_attention(
    q: Tensor, k: Tensor, v: Tensor, scale: float, mass: Tensor | None, score: str
) -> tuple[Tensor, Tensor]:
    """`attend` with a score, without the map. No gradient flows through it.

    Args:
        q: Queries, shape (B, H, N, D).
        k: Keys, shape (B, H, N, D).
        v: Values, shape (B, H, N, D).
        scale: Factor of the logits.
        mass: Mass of each key, shape (B, N), positive, or None.
        score: One of `AttentionScore`.

    Returns:
        Attended values, shape (B, H, N, D), dtype of `v`, and the score, shape (B, N).
    """
    # Results are written in place: small ones kept between large temporaries would fragment the
    # heap (measured: twice the peak of resident memory).
    x, total = torch.empty_like(v), _empty_score(q)
    for clips in _clips_at_once(q, _work_dtype(q)):
        values = _weigh(v[clips], mass if mass is None else mass[clips])
        for rows, attn in _blocks_of_attention(q[clips], k[clips], scale, _work_dtype(q)):
            x[clips, :, rows] = _mean_of_values(attn, values, has_mass=mass is not None)
            _add_score_of_rows(total[clips], rows, attn, score)
    return x, total


def blocked_score(q: Tensor, k: Tensor, scale: float, score: str) -> Tensor:
    """The score alone, shape (B, N); arguments as in `blocked_attention`."""
    total = _empty_score(q)
    for clips in _clips_at_once(q, _work_dtype(q)):
        for rows, attn in _blocks_of_attention(q[clips], k[clips], scale, _work_dtype(q)):
            _add_score_of_rows(total[clips], rows, attn, score)
    return total


def blocked_values(q: Tensor, k: Tensor, v: Tensor, scale: float, mass: Tensor | None) -> Tensor:
    """`attend` without a score, where `multiplies_bfloat16`: every product is one of bfloat16.

    The CPU's fused attention takes as long for bfloat16 as for float32. Logits and probabilities
    are rounded as by eager attention, which is about twice the error of the fused one.

    Args:
        q: Queries, shape (B, H, N, D), bfloat16.
        k: Keys, same shape and dtype.
        v: Values, same shape and dtype.
        scale: Factor of the logits.
        mass: Mass of each key, shape (B, N), positive, or None.

    Returns:
        Attended values, shape (B, H, N, D), bfloat16.
    """
    x = torch.empty_like(v)
    for clips in _clips_at_once(q, q.dtype):
        values = _weigh(v[clips], mass if mass is None else mass[clips])
        for rows, attn in _blocks_of_attention(q[clips], k[clips], scale, q.dtype):
            x[clips, :, rows] = _mean_of_values(attn, values, has_mass=mass is not None)
    return x


def multiplies_bfloat16(v: Tensor) -> bool:
    """Whether the device itself multiplies the values' dtype, if that is bfloat16."""
    return v.dtype == torch.bfloat16 and (v.device.type != "cpu" or _CPU_MULTIPLIES_BFLOAT16)


def _blocks_of_attention(
    q: Tensor, k: Tensor, scale: float, work: torch.dtype
) -> Iterator[tuple[slice, Tensor]]:
    """Consecutive query rows and their softmax without mass in dtype `work`, (B, H, R, N).

    Every block is written over the one before: fresh memory for each would cost more time than the
    exponentials do, in page faults. So is the softmax over its logits, which leaves room for twice
    the rows; its kernel reads a row before it writes it.
    """
    batch, heads, num_tokens, channels = q.shape
    queries = q.reshape(batch * heads, num_tokens, channels)
    # Rows of channels by a copy: read from the queries' own stride, bfloat16 takes 1.3 to 1.8 of
    # the time.
    keys = (k.to(work) * scale).transpose(-1, -2).contiguous().view(-1, channels, num_tokens)
    num_rows = min(_rows_per_block(q, work), num_tokens)
    memory = torch.empty(batch * heads * num_rows * num_tokens, dtype=work, device=q.device)
    for start in range(0, num_tokens, num_rows):
        rows = slice(start, min(start + num_rows, num_tokens))
        shape = (batch * heads, rows.stop - start, num_tokens)
        block = memory[: shape[0] * shape[1] * shape[2]].view(shape)
        torch.bmm(queries[:, rows].to(work), keys, out=block)
        torch.softmax(block, dim=-1, out=block)
        yield rows, block.view(batch, heads, shape[1], num_tokens)


def _clips_at_once(q: Tensor, work: torch.dtype) -> Iterator[slice]:
    """Consecutive clips for which a block is of some 8 MB: one, but for short sequences.

    More at once are no faster, and each takes its copy of keys and values.
    """
    batch, heads, num_tokens, _ = q.shape
    of_one = heads * min(_rows_per_block(q, work), num_tokens) * num_tokens * work.itemsize
    num_clips = max(1, _BLOCK_BYTES // of_one)
    for start in range(0, batch, num_clips):
        yield slice(start, start + num_clips)


def _rows_per_block(q: Tensor, work: torch.dtype) -> int:
    """Rows of a block that take 3/2 of the queries' memory, whatever N is: 3/2 D of one dtype.

    More rows are no faster (2352 tokens of 12 heads of 64 channels, times that of fused attention
    without a score: 1.9 with 16 rows, 1.65 with 32, 1.47 with 64, 1.43 with 96 and with 128), and
    the layer's peak of memory stays where it was, in the MLP.
    """
    return max(1, 3 * q.shape[-1] * q.element_size() // (2 * work.itemsize))


def _weigh(v: Tensor, mass: Tensor | None) -> Tensor:
    """Contiguous values, (B, H, N, D), or values times mass and mass as a row, (B, H, D + 1, N).

    They keep their dtype if the device multiplies it: else every block would be rounded to it.
    """
    values = v if multiplies_bfloat16(v) else v.to(_work_dtype(v))
    if mass is None:
        return values.contiguous()  # or every block's product would copy them
    weights = mass.to(values.dtype)[:, None, None, :]
    rows = values.transpose(-1, -2)
    return torch.cat([rows * weights, weights.expand_as(rows[:, :, :1])], dim=-2)


def _mean_of_values(attn: Tensor, values: Tensor, *, has_mass: bool) -> Tensor:
    """Mean of what `_weigh` returns by the probability of its keys, (B, H, R, D)."""
    attn = attn.to(values.dtype)
    if not has_mass:
        return attn @ values
    # As columns of a product 65 channels would take a fifth more time than 64, as rows they do not.
    x = (values @ attn.transpose(-1, -2)).transpose(-1, -2)
    return x[..., :-1] / x[..., -1:]


def _work_dtype(q: Tensor) -> torch.dtype:
    """Of logits and probabilities that are scored: float32, or float64 for float64."""
    return torch.promote_types(q.dtype, torch.float32)


def _empty_score(q: Tensor) -> Tensor:
    return torch.zeros(q.shape[0], q.shape[2], dtype=_work_dtype(q), device=q.device)


def _add_score_of_rows(total: Tensor, rows: slice, attn: Tensor, score: str) -> None:
    """Put in what a block tells: sharpness of its own rows, or what they give to every key."""
    if score == "sharpness-per-head":
        pieces = torch.split(attn, _ENTROPY_ROWS, dim=2)
        total[:, rows] = torch.cat([_negative_entropy(each).mean(dim=1) for each in pieces], dim=1)
    elif score == "sharpness":
        total[:, rows] = _negative_entropy(_mean_over_heads(attn))
    else:
        total += _mean_over_heads(attn).sum(dim=1) / total.shape[1]


def _mean_over_heads(attn: Tensor) -> Tensor:
    """Of shape (B, R, N). On a CPU each thread first sums the heads that it has made itself."""
    batch, heads, num_rows, num_tokens = attn.shape
    shares = math.gcd(heads, _num_threads(attn.device) // max(batch, 1))
    if shares in (1, heads):  # one does it all, or none has a second head
        return attn.mean(dim=1)
    # A product takes 0.8 of the time of a sum.
    weights = attn.new_full((batch * shares, 1, heads // shares), 1 / heads)
    own = torch.bmm(weights, attn.view(batch * shares, heads // shares, num_rows * num_tokens))
    return own.view(batch, shares, num_rows, num_tokens).sum(dim=1)


def _num_threads(device: torch.device) -> int:
    """Threads of the CPU that share an operator; 1 on other devices."""
    return torch.get_num_threads() if device.type == "cpu" else 1


# As `torch.compiler.assume_constant_result` does, which would load torch._dynamo.
_num_threads._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _negative_entropy(attn: Tensor) -> Tensor:
    """Sum of p log p over the last axis, nats."""
    # The same as xlogy, which has no vector code on a CPU: 0 log tiny = 0.
    log = attn.clamp_min(torch.finfo(attn.dtype).tiny).log_()
    return log.mul_(attn).sum(dim=-1)
