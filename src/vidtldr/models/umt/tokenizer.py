"""Text to token ids; transformers is imported only when the first text is tokenized."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from torch import Tensor

from vidtldr.models.umt.config import TextConfig

__all__ = ["TextTokenizer", "TextTokens", "TokenizerSource"]

TokenizerSource = str | Path | Callable[..., Any]
PUBLISHED_VOCAB_SIZE = 30522
VOCABULARY_FILES = ("vocab.txt", "tokenizer.json")


class TextTokens(NamedTuple):
    """Tokenized texts.

    Attributes:
        input_ids: Token ids, shape (texts, max_tokens), int64.
        attention_mask: 1 for real tokens, 0 for padding, same shape.
    """

    input_ids: Tensor
    attention_mask: Tensor


class TextTokenizer:
    """A tokenizer that is loaded on first use.

    Args:
        source: A directory with BERT's vocabulary, or a Hugging Face tokenizer. None uses the one
            that UMT was trained with, bert-base-uncased or bert-large-uncased, from the Hugging
            Face cache.
        config: Sizes of the text encoder that it serves.

    Raises:
        ValueError: If `source` names a directory that does not exist or has no vocabulary.
    """

    def __init__(self, source: TokenizerSource | None, config: TextConfig) -> None:
        self.config = config
        self._tokenizer = source if callable(source) else None
        self._directory = None if callable(source) or source is None else Path(source)
        if self._directory is not None and not self._directory.is_dir():
            raise ValueError(
                f"tokenizer must be a directory or a tokenizer, got {str(source)!r}. "
                "Save one there with tokenizer.save_pretrained(directory)."
            )
        if self._directory is not None:
            _validate_vocabulary(self._directory)

    def load(self) -> Callable[..., Any]:
        """Return the Hugging Face tokenizer, reading it from disk on the first call.

        Raises:
            ValueError: If none was given and the default one is not cached, or it has too many
                words.
        """
        if self._tokenizer is None:
            self._tokenizer = self._read()
        size = len(cast(Any, self._tokenizer))
        if size > self.config.vocab_size:
            raise ValueError(
                f"tokenizer must have at most vocab_size={self.config.vocab_size} words, "
                f"got {size}. Pass the tokenizer that the model was trained with."
            )
        return self._tokenizer

    def _read(self) -> Callable[..., Any]:
        from transformers import BertTokenizer

        if self._directory is not None:
            return cast(Callable[..., Any], BertTokenizer.from_pretrained(str(self._directory)))
        size = "large" if self.config.num_hidden_layers >= 24 else "base"
        name = f"bert-{size}-uncased"
        remedy = f"Pass `tokenizer=DIRECTORY`, or run `hf download {name}` once."
        if self.config.vocab_size != PUBLISHED_VOCAB_SIZE:
            raise ValueError(
                f"tokenizer must be given for vocab_size={self.config.vocab_size}, got None. "
                "Pass `tokenizer=DIRECTORY`."
            )
        try:
            tokenizer = BertTokenizer.from_pretrained(name, local_files_only=True)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"tokenizer must be given where {name} is not in the Hugging Face cache, "
                f"got None. {remedy}"
            ) from error
        return cast(Callable[..., Any], tokenizer)

    def save(self, directory: str | Path) -> None:
        """Write the tokenizer's files into a directory."""
        cast(Any, self.load()).save_pretrained(str(directory))

    def __call__(self, texts: Sequence[str], max_tokens: int) -> TextTokens:
        """Tokenize texts, truncated and padded to `max_tokens`, [CLS] and [SEP] included.

        Args:
            texts: Texts, already cleaned.
            max_tokens: Tokens per text, at least 2.
        """
        encoded = self.load()(
            list(texts),
            padding="max_length",
            truncation=True,
            max_length=max_tokens,
            return_tensors="pt",
        )
        return TextTokens(encoded["input_ids"], encoded["attention_mask"])


def _validate_vocabulary(directory: Path) -> None:
    """Require a vocabulary; without one, Transformers 5 silently loads an empty one."""
    if not any((directory / file).is_file() for file in VOCABULARY_FILES):
        raise ValueError(
            f"tokenizer must have a vocabulary ({' or '.join(VOCABULARY_FILES)}), got "
            f"{str(directory)!r} without one. Pass `tokenizer=DIRECTORY` of bert-base-uncased or "
            "bert-large-uncased."
        )
