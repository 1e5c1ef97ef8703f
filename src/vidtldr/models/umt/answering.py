"""UMT for answering questions about videos from a list of candidate answers.

Letters: `B` clips, `T` frames, `S` side of a frame, `Q` questions, `A` candidate answers,
`L` text tokens.
"""

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from vidtldr.models.precision import at_least_float32
from vidtldr.models.umt.config import UMTConfig
from vidtldr.models.umt.decoder import AnswerDecoder
from vidtldr.models.umt.text import TextEncoder
from vidtldr.models.umt.tokenizer import TextTokenizer, TokenizerSource
from vidtldr.models.umt.vision import VideoFeatures, VisionEncoder

__all__ = ["RankedAnswers", "UMTAnswering"]

LOGITS_BUDGET_BYTES = 128 * 2**20


class RankedAnswers(NamedTuple):
    """The likeliest answers of each question, best first.

    Attributes:
        ids: Index into the candidate answers, shape (Q, k), int64.
        probabilities: Softmax over these k, shape (Q, k), float32.
    """

    ids: Tensor
    probabilities: Tensor


class UMTAnswering(nn.Module):
    """UMT with a causal decoder that scores the likelihood of each candidate answer.

    Args:
        config: Sizes of the model; `embed_dim` is not used.
        tokenizer: Directory or tokenizer; see `TextTokenizer`.

    Attributes:
        tokenizer: Turns texts into ids; loaded on first use.
        untrained: Names of parts not trained in the loaded file; empty if there are none.
    """

    def __init__(self, config: UMTConfig, tokenizer: TokenizerSource | None = None) -> None:
        super().__init__()
        text = config.text_config()
        self.config = config
        self.tokenizer = TextTokenizer(tokenizer, text)
        self.untrained: tuple[str, ...] = ()
        self.vision_encoder = VisionEncoder(config, pool_norm=False)
        self.text_encoder = TextEncoder(text, config.hidden_size)
        self.text_decoder = AnswerDecoder(text)

    @torch.no_grad()
    def rank_answers(
        self,
        pixel_values: Tensor,
        question_ids: Tensor,
        question_mask: Tensor,
        answer_ids: Tensor,
        answer_mask: Tensor,
        k: int,
    ) -> RankedAnswers:
        """Rank candidate answers to questions about videos.

        The k answers with the likeliest first token are ranked by log likelihood, in which that
        first token counts twice (as in the authors' protocol). Ties between first tokens go to the
        earlier candidates. Candidates are scored in batches whose logits take at most 128 MiB, or
        of one candidate per question.

        Args:
            pixel_values: Normalised clips, shape (Q, T, 3, S, S), or (1, T, 3, S, S) for all
                questions.
            question_ids: Token ids, shape (Q, L).
            question_mask: 1 for real tokens, shape (Q, L).
            answer_ids: Token ids of the candidates, shape (A, L'), L' at least 2; the first is
                [CLS] and each answer ends in [SEP] [SEP], cut to L'.
            answer_mask: 1 for real tokens, shape (A, L').
            k: Answers to rank, in [1, A].

        Raises:
            ValueError: If `k` is out of range or the numbers of videos and questions do not fit.
        """
        if len(pixel_values) not in (1, len(question_ids)):
            raise ValueError(
                f"pixel_values must hold one clip a question ({len(question_ids)}) or one for all, "
                f"got {len(pixel_values)}. Repeat the clips, or call once a clip."
            )
        video: VideoFeatures = self.vision_encoder(pixel_values)
        states = self.encode_questions(video.tokens, question_ids, question_mask, video.mass)
        return self.rank_encoded(states, question_mask, answer_ids, answer_mask, k)

    def encode_questions(
        self,
        video_tokens: Tensor,
        question_ids: Tensor,
        question_mask: Tensor,
        video_mass: Tensor | None = None,
    ) -> Tensor:
        """Fuse questions with videos.

        Args:
            video_tokens: `VideoFeatures.tokens`, shape (G, N, C); `Q / G` consecutive questions are
                about each.
            question_ids: Token ids, shape (Q, L).
            question_mask: 1 for real tokens, shape (Q, L).
            video_mass: `VideoFeatures.mass`, shape (G, N); None if all count alike.

        Returns:
            States, shape (Q, L, C).
        """
        states = self.text_encoder(question_ids, question_mask, video_tokens, video_mass)
        return cast(Tensor, states)

    @torch.no_grad()
    def rank_encoded(
        self,
        question_states: Tensor,
        question_mask: Tensor,
        answer_ids: Tensor,
        answer_mask: Tensor,
        k: int,
    ) -> RankedAnswers:
        """Rank candidate answers to encoded questions, as `rank_answers` does."""
        num_answers = len(answer_ids)
        if not 1 <= k <= num_answers:
            raise ValueError(
                f"k must be in [1, {num_answers}] (the number of candidates), got {k!r}. Lower k."
            )
        first = self.first_token_log_likelihood(question_states, question_mask, answer_ids)
        first, ids = (part[:, :k] for part in first.sort(dim=1, descending=True, stable=True))
        total = first + self.log_likelihood(
            question_states, question_mask, answer_ids[ids], answer_mask[ids]
        )
        total, order = total.sort(dim=1, descending=True, stable=True)
        return RankedAnswers(ids.gather(1, order), total.softmax(dim=1))

    def first_token_log_likelihood(
        self, question_states: Tensor, question_mask: Tensor, answer_ids: Tensor
    ) -> Tensor:
        """Log likelihood of the first token after [CLS] of each candidate, (Q, A), float32."""
        start = answer_ids[:1, :1].expand(len(question_states), 1)
        logits = self.text_decoder(start, torch.ones_like(start), question_states, question_mask)
        return at_least_float32(logits[:, 0]).log_softmax(dim=-1)[:, answer_ids[:, 1]]

    def log_likelihood(
        self,
        question_states: Tensor,
        question_mask: Tensor,
        answer_ids: Tensor,
        answer_mask: Tensor,
    ) -> Tensor:
        """Log likelihood of candidates (Q, k, L) given [CLS], ignoring padding: (Q, k), float32."""
        num_questions, _, length = answer_ids.shape
        bytes_each = num_questions * length * self.text_decoder.vocab_size * 4
        size = max(1, LOGITS_BUDGET_BYTES // bytes_each)
        sums = []
        for start in range(0, answer_ids.shape[1], size):
            part = slice(start, start + size)
            ids, mask = answer_ids[:, part], answer_mask[:, part]
            ids, mask = ids.flatten(0, 1), mask.flatten(0, 1)  # (Q, size, L) -> (Q*size, L)
            logits = self.text_decoder(ids, mask, question_states, question_mask)[:, :-1]
            each = at_least_float32(logits).log_softmax(dim=-1).gather(2, ids[:, 1:, None])[..., 0]
            sums.append((each * (mask[:, 1:] != 0)).sum(dim=1).view(num_questions, -1))
        return torch.cat(sums, dim=1)
