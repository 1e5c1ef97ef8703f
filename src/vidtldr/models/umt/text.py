"""BERT whose last layers also attend to a context: a video, or a question.

Letters: `B` texts, `L` text tokens, `C` channels, `H` heads, `D` channels per head,
`M` tokens attended to, `G` groups: `B / G` consecutive texts share one context. Modules carry the
names of the official checkpoints.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidtldr.models.umt.config import TextConfig

__all__ = ["Bert", "DenseGELU", "TextEncoder", "causal_mask_bias", "mask_bias", "mass_bias"]

MASKED_LOGIT = (
    -10000.0
)  # as in BERT's training; finite, so that a text without tokens does not give NaN


def mask_bias(attention_mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Turn a mask (B, M), 1 for real tokens, into a bias of the logits, (B, 1, 1, M)."""
    return (attention_mask[:, None, None, :] == 0).to(dtype) * MASKED_LOGIT


def causal_mask_bias(attention_mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Like `mask_bias`, but also hide later tokens from earlier ones, (B, 1, L, L)."""
    length = attention_mask.shape[1]
    seen = torch.ones(length, length, dtype=torch.bool, device=attention_mask.device).tril()
    return (~(seen & (attention_mask[:, None, None, :] != 0))).to(dtype) * MASKED_LOGIT


def mass_bias(mass: Tensor) -> Tensor:
    """Turn mass (B, M), positive, into a bias of the logits, (B, 1, 1, M), in its dtype.

    A token of mass m is then attended to like m equal tokens of mass 1.
    """
    return mass.log()[:, None, None, :]


class QueryKeyValue(nn.Module):
    """The three projections of one attention."""

    def __init__(self, hidden_size: int, context_size: int) -> None:
        super().__init__()
        self.query = nn.Linear(hidden_size, hidden_size)
        self.key = nn.Linear(context_size, hidden_size)
        self.value = nn.Linear(context_size, hidden_size)


class ResidualNorm(nn.Module):
    """`LayerNorm(dense(y) + x)`, the end of each half of a post-norm layer."""

    def __init__(self, in_features: int, config: TextConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(in_features, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, y: Tensor, x: Tensor) -> Tensor:
        """Project `y` (B, L, in_features) and add it to `x` (B, L, C)."""
        return cast(Tensor, self.LayerNorm(self.dense(y) + x))


class DenseGELU(nn.Module):
    """A linear layer with exact GELU."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.dense = nn.Linear(in_features, out_features)

    def forward(self, x: Tensor) -> Tensor:
        """Transform each token (B, L, in_features) separately."""
        return F.gelu(self.dense(x))


class TextAttention(nn.Module):
    """Attention with its residual and norm, to the text itself or to another context."""

    def __init__(self, config: TextConfig, context_size: int) -> None:
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.self = QueryKeyValue(config.hidden_size, context_size)
        self.output = ResidualNorm(config.hidden_size, config)

    def split_heads(self, x: Tensor, num_groups: int) -> Tensor:
        """(B, L, C) -> (G, H, B/G*L, D): texts that share a context are concatenated."""
        return x.reshape(num_groups, -1, self.num_heads, x.shape[-1] // self.num_heads).transpose(
            1, 2
        )

    def forward(self, x: Tensor, context: Tensor, bias: Tensor | None) -> Tensor:
        """Let texts attend to contexts.

        Queries do not see each other, so texts that share a context need its keys and values only
        once.

        Args:
            x: Text tokens, shape (B, L, C).
            context: What is attended to, shape (G, M, C'); `G` divides `B`. For the text itself,
                `G = B`.
            bias: Bias of the logits, broadcastable to (G, H, B/G*L, M), or None.

        Returns:
            Text tokens, shape (B, L, C).
        """
        num_groups = context.shape[0]
        q = self.split_heads(self.self.query(x), num_groups)
        k = self.split_heads(self.self.key(context), num_groups)
        v = self.split_heads(self.self.value(context), num_groups)
        bias = None if bias is None else bias.to(q.dtype)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return cast(Tensor, self.output(out.transpose(1, 2).reshape(x.shape), x))


class TextLayer(nn.Module):
    """One post-norm layer: self-attention, attention to a context if it has one, then the MLP."""

    def __init__(self, config: TextConfig, context_size: int | None) -> None:
        super().__init__()
        self.attention = TextAttention(config, config.hidden_size)
        if context_size is not None:
            self.crossattention = TextAttention(config, context_size)
        self.intermediate = DenseGELU(config.hidden_size, config.intermediate_size)
        self.output = ResidualNorm(config.intermediate_size, config)

    def forward(
        self, x: Tensor, bias: Tensor, context: Tensor | None, context_bias: Tensor | None
    ) -> Tensor:
        """Run the layer on (B, L, C); `context` is None exactly if it has no cross-attention."""
        x = self.attention(x, x, bias)
        if context is not None:
            x = self.crossattention(x, context, context_bias)
        return cast(Tensor, self.output(self.intermediate(x), x))


class TextEmbeddings(nn.Module):
    """Word, position and segment embeddings; every text is one segment."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.word_embeddings = nn.Embedding(config.vocab_size, size)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, size)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, size)
        self.LayerNorm = nn.LayerNorm(size, eps=config.layer_norm_eps)

    def forward(self, input_ids: Tensor) -> Tensor:
        """Embed token ids (B, L) as (B, L, C).

        Raises:
            ValueError: If a text is longer than there are positions.
        """
        length, limit = input_ids.shape[1], self.position_embeddings.num_embeddings
        if length > limit:
            raise ValueError(
                f"input_ids must have at most {limit} tokens a text, got {length}. Cut the text."
            )
        places = torch.arange(length, device=input_ids.device)
        positions = self.position_embeddings(places)
        positions = positions + self.token_type_embeddings(torch.zeros_like(places))
        return cast(Tensor, self.LayerNorm(self.word_embeddings(input_ids) + positions))


class LayerStack(nn.Module):
    """Container that gives the layers their official name."""

    def __init__(self, layers: list[TextLayer]) -> None:
        super().__init__()
        self.layer = nn.ModuleList(layers)


class Bert(nn.Module):
    """BERT whose layers from `fusion_layer` on attend to a context.

    Args:
        config: Sizes.
        num_layers: Number of layers.
        fusion_layer: First layer with attention to a context.
        context_size: Channels of the context.
    """

    def __init__(
        self, config: TextConfig, num_layers: int, fusion_layer: int, context_size: int
    ) -> None:
        super().__init__()
        self.fusion_layer = fusion_layer
        self.embeddings = TextEmbeddings(config)
        sizes = [context_size if i >= fusion_layer else None for i in range(num_layers)]
        self.encoder = LayerStack([TextLayer(config, size) for size in sizes])

    def run_text_layers(self, x: Tensor, bias: Tensor) -> Tensor:
        """Run the layers before fusion on (B, L, C)."""
        for layer in self.encoder.layer[: self.fusion_layer]:
            x = layer(x, bias, None, None)
        return x

    def run_fusion_layers(
        self, x: Tensor, bias: Tensor, context: Tensor, context_bias: Tensor | None = None
    ) -> Tensor:
        """Run the fusion layers on (B, L, C), attending to a context (G, M, C')."""
        for layer in self.encoder.layer[self.fusion_layer :]:
            x = layer(x, bias, context, context_bias)
        return x


class TextEncoder(Bert):
    """UMT's text encoder: its first layers read the text, the rest fuse it with the video."""

    def __init__(self, config: TextConfig, video_size: int) -> None:
        super().__init__(config, config.num_hidden_layers, config.fusion_layer, video_size)

    def encode_text(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Encode texts alone: ids and mask (B, L) -> tokens (B, L, C)."""
        x = self.embeddings(input_ids)
        return self.run_text_layers(x, mask_bias(attention_mask, x.dtype))

    def fuse(
        self,
        text_tokens: Tensor,
        attention_mask: Tensor,
        video_tokens: Tensor,
        video_mass: Tensor | None = None,
    ) -> Tensor:
        """Let encoded texts attend to videos.

        Args:
            text_tokens: From `encode_text`, shape (B, L, C).
            attention_mask: 1 for real tokens, shape (B, L).
            video_tokens: Shape (G, N, C'); `B / G` consecutive texts attend to each.
            video_mass: What each video token counts for, shape (G, N), positive; None if all count
                alike. With plain merging the result is that of the tokens unmerged.

        Returns:
            Fused text tokens, shape (B, L, C).

        Raises:
            ValueError: If the mass is not one number per video token.
        """
        if video_mass is not None and video_mass.shape != video_tokens.shape[:2]:
            raise ValueError(
                f"video_mass must be {tuple(video_tokens.shape[:2])}, a number for each video "
                f"token, got {tuple(video_mass.shape)}. Take both from the same VideoFeatures."
            )
        bias = mask_bias(attention_mask, text_tokens.dtype)
        video_bias = None if video_mass is None else mass_bias(video_mass)
        return self.run_fusion_layers(text_tokens, bias, video_tokens, video_bias)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        video_tokens: Tensor,
        video_mass: Tensor | None = None,
    ) -> Tensor:
        """Encode texts and fuse them with videos, all of BERT: (B, L, C)."""
        text_tokens = self.encode_text(input_ids, attention_mask)
        return self.fuse(text_tokens, attention_mask, video_tokens, video_mass)
