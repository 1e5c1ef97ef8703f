"""UMT for text-to-video and video-to-text retrieval.

Letters: `B` clips or texts, `T` frames, `S` side of a frame, `N` video tokens, `L` text tokens,
`C` channels.
"""

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidtldr.models.precision import at_least_float32
from vidtldr.models.umt.config import UMTConfig
from vidtldr.models.umt.text import TextEncoder
from vidtldr.models.umt.tokenizer import TextTokenizer, TokenizerSource
from vidtldr.models.umt.vision import VideoFeatures, VisionEncoder

__all__ = ["TextFeatures", "UMTRetrieval"]

INITIAL_TEMPERATURE = 0.07


class TextFeatures(NamedTuple):
    """Output of the text encoder for a batch of texts, before fusion with a video.

    Attributes:
        tokens: Tokens after the text layers, shape (B, L, C).
        pooled: First token of each text, before projection, shape (B, C).
        attention_mask: 1 for real tokens, shape (B, L).
    """

    tokens: Tensor
    pooled: Tensor
    attention_mask: Tensor


class UMTRetrieval(nn.Module):
    """UMT with a fast dual-encoder score, and a slow one that fuses video and text.

    Args:
        config: Sizes of the model.
        tokenizer: Directory or tokenizer; see `TextTokenizer`.

    Attributes:
        tokenizer: Turns texts into ids; loaded on first use.
        temp: Temperature of the dual scores in training, a scalar parameter; the scores do not use
            it.
        untrained: Names of parts not trained in the loaded file; empty if there are none.
    """

    def __init__(self, config: UMTConfig, tokenizer: TokenizerSource | None = None) -> None:
        super().__init__()
        text = config.text_config()
        self.config = config
        self.tokenizer = TextTokenizer(tokenizer, text)
        self.untrained: tuple[str, ...] = ()
        self.vision_encoder = VisionEncoder(config)
        self.text_encoder = TextEncoder(text, config.hidden_size)
        self.vision_proj = nn.Linear(config.hidden_size, config.embed_dim)
        self.text_proj = nn.Linear(text.hidden_size, config.embed_dim)
        self.itm_head = nn.Linear(text.hidden_size, 2)
        self.temp = nn.Parameter(torch.tensor(INITIAL_TEMPERATURE))

    def encode_video(self, pixel_values: Tensor) -> VideoFeatures:
        """Encode normalised clips (B, T, 3, S, S); T of 1 is an image."""
        return cast(VideoFeatures, self.vision_encoder(pixel_values))

    def encode_text(self, input_ids: Tensor, attention_mask: Tensor) -> TextFeatures:
        """Encode texts: token ids and mask (1 for real tokens), both (B, L)."""
        tokens = self.text_encoder.encode_text(input_ids, attention_mask)
        return TextFeatures(tokens, tokens[:, 0], attention_mask)

    def embed_video(self, video: VideoFeatures) -> Tensor:
        """Project pooled clips into the shared space: unit vectors (B, embed_dim), float32."""
        return F.normalize(at_least_float32(self.vision_proj(video.pooled)), dim=-1)

    def embed_text(self, text: TextFeatures) -> Tensor:
        """Project pooled texts into the shared space: unit vectors (B, embed_dim), float32."""
        return F.normalize(at_least_float32(self.text_proj(text.pooled)), dim=-1)

    def dual_scores(self, video: VideoFeatures, text: TextFeatures) -> Tensor:
        """Score every video against every text by the cosine of their projections.

        Returns:
            Cosines in [-1, 1], not divided by the temperature, shape (videos, texts), float32.
        """
        return self.embed_video(video) @ self.embed_text(text).T

    def rerank_scores(
        self,
        video_tokens: Tensor,
        text_tokens: Tensor,
        attention_mask: Tensor,
        video_mass: Tensor | None = None,
    ) -> Tensor:
        """Score pairs with the fusion encoder: the logit of "they match".

        One video against many texts is cheapest as a batch of one video: its keys and values are
        then computed once.

        Args:
            video_tokens: `VideoFeatures.tokens`, shape (pairs, N, C), or (1, N, C) for all pairs.
            text_tokens: `TextFeatures.tokens`, shape (pairs, L, C), or (1, L, C) for all pairs.
            attention_mask: Mask of the texts, shape (pairs, L) or (1, L).
            video_mass: `VideoFeatures.mass`, shape (pairs, N) or (1, N); None if all count alike.

        Returns:
            Logits, shape (pairs,), float32.

        Raises:
            ValueError: If the numbers of videos and texts differ and neither is 1, or the mass is
                not one number per video token.
        """
        counts = (len(video_tokens), len(text_tokens), len(attention_mask))
        num_pairs = max(counts)
        if any(count not in (1, num_pairs) for count in counts):
            raise ValueError(
                "video_tokens, text_tokens and attention_mask must have one row a pair, or one "
                f"for all, got {counts}. Index them with the pairs wanted."
            )
        text_tokens = text_tokens.expand(num_pairs, -1, -1)
        attention_mask = attention_mask.expand(num_pairs, -1)
        fused = self.text_encoder.fuse(text_tokens, attention_mask, video_tokens, video_mass)
        return at_least_float32(self.itm_head(fused[:, 0])[:, 1])
