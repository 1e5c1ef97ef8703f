"""The answer decoder: a causal BERT that reads a fused question and scores the words of an answer.

Letters: `B` answers, `L` answer tokens, `C` channels, `M` question tokens, `G` questions:
`B / G` consecutive answers belong to each. Modules carry the names of the official checkpoints.
"""

from typing import cast

from torch import Tensor, nn

from vidtldr.models.umt.config import TextConfig
from vidtldr.models.umt.text import Bert, DenseGELU, causal_mask_bias, mask_bias

__all__ = ["AnswerDecoder"]


class PredictionTransform(DenseGELU):
    """The dense layer and norm before the word logits."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__(config.hidden_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        """Transform each token (B, L, C) separately; same shape."""
        return cast(Tensor, self.LayerNorm(super().forward(x)))


class WordPredictions(nn.Module):
    """Logits over the vocabulary."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.transform = PredictionTransform(config)
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, L, C) -> logits (B, L, vocabulary)."""
        return cast(Tensor, self.decoder(self.transform(x)))


class AnswerDecoder(nn.Module):
    """Causal BERT as deep as the fusion encoder; every layer attends to the fused question."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        depth = config.num_hidden_layers - config.fusion_layer
        self.vocab_size = config.vocab_size
        self.bert = Bert(config, depth, 0, config.hidden_size)
        self.cls = nn.ModuleDict({"predictions": WordPredictions(config)})

    def forward(
        self,
        answer_ids: Tensor,
        answer_mask: Tensor,
        question_states: Tensor,
        question_mask: Tensor,
    ) -> Tensor:
        """Score the next token at every position of every answer.

        Args:
            answer_ids: Token ids, shape (B, L).
            answer_mask: 1 for real tokens, shape (B, L).
            question_states: Fused questions, shape (G, M, C); `B / G` consecutive answers belong to
                each.
            question_mask: 1 for real tokens, shape (G, M).

        Returns:
            Logits, shape (B, L, vocabulary).
        """
        x = self.bert.embeddings(answer_ids)
        bias = causal_mask_bias(answer_mask, x.dtype)
        question_bias = mask_bias(question_mask, x.dtype)
        x = self.bert.run_fusion_layers(x, bias, question_states, question_bias)
        return cast(Tensor, self.cls["predictions"](x))
