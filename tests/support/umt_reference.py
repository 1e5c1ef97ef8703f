"""A slow UMT for tests, written from the description alone.

Every softmax is spelled out, one clip, one head, one answer at a time. Weights are a dict with the
official names; no module of ours is used.
"""

import math

import torch


def layer_norm(x, weights, name, eps):
    mean = x.mean(-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(-1, keepdim=True)
    return (x - mean) / (variance + eps).sqrt() * weights[f"{name}.weight"] + weights[
        f"{name}.bias"
    ]


def linear(x, weights, name):
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def gelu(x):
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


def attention(q, k, v, num_heads, allowed):
    """One sequence: q (L, C), k and v (M, C), allowed (L, M) of bool."""
    size = q.shape[1] // num_heads
    out = torch.zeros_like(q)
    for head in range(num_heads):
        part = slice(head * size, (head + 1) * size)
        for i in range(len(q)):
            logits = k[:, part] @ q[i, part] / math.sqrt(size)
            weights = (logits - logits[allowed[i]].max()).exp() * allowed[i]
            out[i, part] = weights / weights.sum() @ v[:, part]
    return out


def positions(num_positions, num_channels):
    table = torch.zeros(num_positions, num_channels, dtype=torch.float64)
    for position in range(num_positions):
        for channel in range(num_channels):
            angle = position / 10000 ** (2 * (channel // 2) / num_channels)
            table[position, channel] = math.cos(angle) if channel % 2 else math.sin(angle)
    return table


def interpolated_positions(table, num_patches, num_frames):
    """Linear in time between frame centres, ends held; a single frame takes the first rows."""
    if num_frames == 1:
        return table[:num_patches]
    trained = len(table) // num_patches
    rows = []
    for frame in range(num_frames):
        at = min(max((frame + 0.5) * trained / num_frames - 0.5, 0), trained - 1)
        low = int(at)
        high, part = min(low + 1, trained - 1), at - low
        for patch in range(num_patches):
            before, after = table[low * num_patches + patch], table[high * num_patches + patch]
            rows.append((1 - part) * before + part * after)
    return torch.stack(rows)


def vision(weights, config, pixel_values):
    """Clips (B, T, 3, S, S) -> tokens (B, N, C) and pooled (B, C), in the dtype of the weights."""
    dtype = next(iter(weights.values())).dtype
    outputs = [_vision_one(weights, config, clip.to(dtype)) for clip in pixel_values]
    tokens = torch.stack(outputs)
    mean = tokens.mean(1)
    if "vision_encoder.pool_norm.weight" in weights:
        mean = layer_norm(mean, weights, "vision_encoder.pool_norm", 1e-6)
    return tokens, mean


def _vision_one(weights, config, clip):
    prefix, size = "vision_encoder.encoder", config.patch_size
    kernel = weights[f"{prefix}.patch_embed.proj.weight"].flatten(1)
    patches = [
        kernel @ frame[:, top : top + size, left : left + size].flatten()
        for frame in clip
        for top in range(0, config.image_size, size)
        for left in range(0, config.image_size, size)
    ]
    x = torch.stack(patches) + weights[f"{prefix}.patch_embed.proj.bias"]
    per_frame = len(x) // len(clip)
    table = positions(config.num_frames * per_frame, config.hidden_size)
    x = x + interpolated_positions(table, per_frame, len(clip)).to(x.dtype)
    allowed = torch.ones(len(x), len(x), dtype=torch.bool)
    for i in range(config.num_layers):
        block = f"{prefix}.blocks.{i}"
        y = layer_norm(x, weights, f"{block}.norm1", 1e-6)
        q, k, v = (y @ weights[f"{block}.attn.qkv.weight"].T).split(config.hidden_size, 1)
        q, v = q + weights[f"{block}.attn.q_bias"], v + weights[f"{block}.attn.v_bias"]
        out = attention(q, k, v, config.num_heads, allowed)
        x = x + linear(out, weights, f"{block}.attn.proj")
        y = layer_norm(x, weights, f"{block}.norm2", 1e-6)
        x = x + linear(gelu(linear(y, weights, f"{block}.mlp.fc1")), weights, f"{block}.mlp.fc2")
    return layer_norm(x, weights, f"{prefix}.norm", 1e-6)


def embed_text(weights, prefix, ids, eps):
    x = weights[f"{prefix}.embeddings.word_embeddings.weight"][ids]
    x = x + weights[f"{prefix}.embeddings.position_embeddings.weight"][: len(ids)]
    x = x + weights[f"{prefix}.embeddings.token_type_embeddings.weight"][0]
    return layer_norm(x, weights, f"{prefix}.embeddings.LayerNorm", eps)


def text_attention(weights, name, x, context, text, allowed):
    projected = [linear(x, weights, f"{name}.self.query")]
    projected += [linear(context, weights, f"{name}.self.{part}") for part in ("key", "value")]
    out = attention(*projected, text.num_attention_heads, allowed)
    out = linear(out, weights, f"{name}.output.dense") + x
    return layer_norm(out, weights, f"{name}.output.LayerNorm", text.layer_norm_eps)


def text_layers(weights, prefix, x, text, allowed, layers, context=None, context_allowed=None):
    """One text (L, C) through some layers; `context` (M, C') is attended to where it is given."""
    for i in layers:
        name = f"{prefix}.encoder.layer.{i}"
        x = text_attention(weights, f"{name}.attention", x, x, text, allowed)
        if context is not None:
            x = text_attention(weights, f"{name}.crossattention", x, context, text, context_allowed)
        y = linear(
            gelu(linear(x, weights, f"{name}.intermediate.dense")), weights, f"{name}.output.dense"
        )
        x = layer_norm(y + x, weights, f"{name}.output.LayerNorm", text.layer_norm_eps)
    return x


def read_text(weights, text, ids, mask):
    x = embed_text(weights, "text_encoder", ids, text.layer_norm_eps)
    allowed = (mask != 0).expand(len(ids), -1)
    return text_layers(weights, "text_encoder", x, text, allowed, range(text.fusion_layer))


def fuse(weights, text, x, mask, video_tokens):
    layers = range(text.fusion_layer, text.num_hidden_layers)
    allowed = (mask != 0).expand(len(x), -1)
    everything = torch.ones(len(x), len(video_tokens), dtype=torch.bool)
    return text_layers(weights, "text_encoder", x, text, allowed, layers, video_tokens, everything)


def next_word_log_probabilities(weights, text, ids, states, question_mask):
    """Log probability of every word after each prefix of one answer, (L, vocabulary)."""
    prefix, head = "text_decoder.bert", "text_decoder.cls.predictions"
    x = embed_text(weights, prefix, ids, text.layer_norm_eps)
    causal = torch.tensor([[j <= i for j in range(len(ids))] for i in range(len(ids))])
    seen = (question_mask != 0).expand(len(ids), -1)
    layers = range(text.num_hidden_layers - text.fusion_layer)
    x = text_layers(weights, prefix, x, text, causal, layers, states, seen)
    x = gelu(linear(x, weights, f"{head}.transform.dense"))
    x = layer_norm(x, weights, f"{head}.transform.LayerNorm", text.layer_norm_eps)
    logits = linear(x, weights, f"{head}.decoder")
    return logits - logits.exp().sum(-1, keepdim=True).log()


def rank_answers(weights, text, states, question_mask, answer_ids, answer_mask, k):
    """One question: indices of the best k answers and their probabilities, best first."""
    start = next_word_log_probabilities(weights, text, answer_ids[0, :1], states, question_mask)[0]
    first = [start[ids[1]].item() for ids in answer_ids]
    chosen = sorted(range(len(first)), key=lambda i: -first[i])[:k]
    totals = {}
    for i in chosen:
        ids = answer_ids[i][answer_mask[i] != 0]
        logs = next_word_log_probabilities(weights, text, ids, states, question_mask)
        totals[i] = first[i] + sum(logs[j, ids[j + 1]].item() for j in range(len(ids) - 1))
    order = sorted(chosen, key=lambda i: -totals[i])
    scores = torch.tensor([totals[i] for i in order], dtype=torch.float64)
    return order, scores.softmax(0)
