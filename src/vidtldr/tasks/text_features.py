"""Encode texts with UMT's text encoder, stored without padding, and score them against videos.

Letters: `B` texts, `U` unique texts, `L` text tokens, `C` channels, `E` channels of the space
that texts share with videos.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from vidtldr.models.umt.retrieval import UMTRetrieval
from vidtldr.models.umt.tokenizer import TextTokenizer, TextTokens
from vidtldr.models.umt.vision import VideoTokens
from vidtldr.tasks.text_cleaning import clean_text

__all__ = ["EncodedTexts", "encode_texts", "encode_typed", "match_scores", "prompt_tokens"]

MAX_PROMPT_TOKENS = 150  # the longest texts that UMT was evaluated with


@dataclass(frozen=True)
class EncodedTexts:
    """Encoded texts, on the CPU. Texts with the same tokens are stored once.

    Attributes:
        rows: Index of each text among the U unique ones, shape (B,), int64.
        row_embeddings: Unit vectors in the shared space, shape (U, E), float32.
        row_tokens: The real tokens of all unique texts, concatenated, shape (sum of L, C).
        row_ends: Where each unique text ends in `row_tokens`, U + 1 numbers; the first is 0.
    """

    rows: Tensor
    row_embeddings: Tensor
    row_tokens: Tensor
    row_ends: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, indices: Sequence[int], device: torch.device) -> tuple[Tensor, Tensor]:
        """Get the tokens of some texts, padded to the longest of them.

        Returns:
            Tokens (B, L, C) and their mask (B, L), 1 for real ones, on `device`.
        """
        return self.select_rows(self.rows[list(indices)].tolist(), device)

    def select_rows(self, rows: Sequence[int], device: torch.device) -> tuple[Tensor, Tensor]:
        """As `select`, for some of the unique texts."""
        parts = [self.row_tokens[self.row_ends[row] : self.row_ends[row + 1]] for row in rows]
        ones = [torch.ones(len(part), dtype=torch.int64) for part in parts]
        mask = pad_sequence(ones, batch_first=True)
        return pad_sequence(parts, batch_first=True).to(device), mask.to(device)

    def length_of_row(self, row: int) -> int:
        """Number of real tokens of a unique text."""
        return self.row_ends[row + 1] - self.row_ends[row]


@torch.inference_mode()
def encode_texts(
    model: UMTRetrieval,
    tokens: TextTokens,
    *,
    batch_size: int = 64,
    on_step: Callable[[], object] = lambda: None,
) -> EncodedTexts:
    """Encode tokenized texts in batches of similar length, each unique text once.

    Padding is stripped before and after encoding: a masked token has no weight in BERT's
    attention, so the other tokens stay the same up to rounding, and most captions fill only a
    fraction of the protocol's length.

    Args:
        model: The model, on its device.
        tokens: Token ids and mask (B, L), real tokens first; B at least 1.
        batch_size: Texts per batch.
        on_step: Called after every text, to show progress.
    """
    device = next(model.parameters()).device
    different = torch.cat((tokens.input_ids, tokens.attention_mask), dim=1)
    different, rows, counts = torch.unique(
        different, dim=0, return_inverse=True, return_counts=True
    )
    ids, mask = different.tensor_split(2, dim=1)
    lengths: list[int] = mask.sum(dim=1).tolist()
    found: dict[int, tuple[Tensor, Tensor]] = {}
    for batch in _in_batches(range(len(lengths)), lengths.__getitem__, batch_size):
        longest = lengths[batch[-1]]
        text = model.encode_text(ids[batch, :longest].to(device), mask[batch, :longest].to(device))
        parts = zip(batch, text.tokens.cpu(), model.embed_text(text).cpu(), strict=True)
        for row, x, embedding in parts:
            found[row] = (x[: lengths[row]].clone(), embedding)
            for _ in range(int(counts[row])):
                on_step()
    in_order = [found[row] for row in range(len(lengths))]
    return EncodedTexts(
        rows,
        torch.stack([embedding for _, embedding in in_order]),
        torch.cat([x for x, _ in in_order]),
        tuple(accumulate(lengths, initial=0)),
    )


def encode_typed(model: UMTRetrieval, texts: Sequence[str], name: str) -> Tensor:
    """Encode user input to unit vectors (K, E), float32, on the CPU.

    Args:
        model: The model, on its device.
        texts: K texts, as typed.
        name: Name of the argument, for error messages.

    Raises:
        ValueError: As `prompt_tokens`.
    """
    found = encode_texts(model, prompt_tokens(model.tokenizer, texts, name))
    return found.row_embeddings[found.rows]


@torch.inference_mode()
def match_scores(
    model: UMTRetrieval,
    video: VideoTokens,
    texts: EncodedTexts,
    indices: Sequence[int],
    *,
    batch_size: int = 64,
) -> Tensor:
    """Score one video against some texts with the fusion encoder, each unique text once.

    Texts are batched by length; the video's keys and values are computed once per batch.

    Args:
        model: The model, on its device.
        video: Tokens of the video (N, C) and their mass, on any device.
        texts: The encoded texts.
        indices: Indices of the texts to score.
        batch_size: Texts per batch.

    Returns:
        Logits of the "match" class, shape (indices,), float32, on the CPU.
    """
    parameter = next(model.parameters())
    device = parameter.device
    # The dtype converts half-precision tokens kept under autocast.
    video = VideoTokens.stack([video.to(device, parameter.dtype)])
    rows, places = torch.unique(texts.rows[list(indices)], return_inverse=True)
    scores = torch.empty(len(texts.row_ends) - 1)
    for batch in _in_batches(rows.tolist(), texts.length_of_row, batch_size):
        x, mask = texts.select_rows(batch, device)
        scores[batch] = model.rerank_scores(video.x, x, mask, video.mass).float().cpu()
    return scores[rows][places]


def prompt_tokens(tokenizer: TextTokenizer, prompts: Sequence[str], name: str) -> TextTokens:
    """Clean and tokenize user input; nothing is truncated silently.

    Args:
        tokenizer: The model's tokenizer.
        prompts: Texts as typed.
        name: Name of the argument, for error messages.

    Raises:
        ValueError: If a text is empty, empty when cleaned, or too long.
    """
    limit = min(MAX_PROMPT_TOKENS, tokenizer.config.max_position_embeddings)
    cleaned = [clean_text(prompt) for prompt in prompts]
    for prompt, text in zip(prompts, cleaned, strict=True):
        if not text:
            raise ValueError(f"{name} must have a word in it, got {prompt!r}. Write one.")
    lengths = [len(ids) for ids in tokenizer.load()(cleaned)["input_ids"]]
    for prompt, length in zip(prompts, lengths, strict=True):
        if length > limit:
            raise ValueError(
                f"{name} must have at most {limit} tokens, got {length} in {prompt[:40]!r}. "
                "Shorten it."
            )
    return tokenizer(cleaned, max(lengths, default=2))


def _in_batches(
    rows: Iterable[int], length_of: Callable[[int], int], batch_size: int
) -> Iterator[list[int]]:
    """Split rows into batches of similar length, shortest first."""
    order = sorted(rows, key=length_of)
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]
