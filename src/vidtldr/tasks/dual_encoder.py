"""Dual encoders of transformers: vectors of clips and of texts in one space.

Letters: `K` texts, `L` tokens of a text, `E` channels of the shared space.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from vidtldr.tasks.model_files import model_source
from vidtldr.tasks.video_encoder import VideoEncoder

__all__ = ["DualEncoder", "load_tokenizer"]

_BATCH = 64
_VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "spiece.model", "tokenizer.model")


@dataclass(frozen=True)
class DualEncoder:
    """A model with a tower for clips and one for texts.

    Attributes:
        encoder: Encodes clips; holds the whole model.
        name: The model as it was named, for its tokenizer.
    """

    encoder: VideoEncoder
    name: str

    @cached_property
    def tokenizer(self) -> Any:
        """The model's own, of transformers; loaded at the first text, as videos need none.

        Raises:
            ImportError, ValueError, OSError: As `load_tokenizer`.
        """
        return load_tokenizer(self.name)

    @property
    def is_sigmoid(self) -> bool:
        """Whether it was trained to judge each pair by itself, as SigLIP was."""
        return hasattr(self.encoder.model, "logit_bias")

    @property
    def scale(self) -> Tensor:
        """What it multiplies cosines by; shape ()."""
        model: Any = self.encoder.model
        scale: Tensor = model.logit_scale.detach().float().exp().squeeze()
        return scale

    @property
    def bias(self) -> Tensor:
        """What it adds then; shape ()."""
        model: Any = self.encoder.model
        if not self.is_sigmoid:
            return torch.zeros_like(self.scale)
        bias: Tensor = model.logit_bias.detach().float().squeeze()
        return bias

    @property
    def max_text_tokens(self) -> int:
        """Tokens of the longest text."""
        config: Any = self.encoder.config
        return int(config.text_config.max_position_embeddings)

    def validate(self, texts: Sequence[str], name: str) -> None:
        """Check user input: nothing that is typed is cut off.

        Args:
            texts: At least one.
            name: Name of the argument, for error messages.

        Raises:
            ValueError: If a text is empty or too long.
        """
        for text in texts:
            if not text.strip():
                raise ValueError(f"{name} must have a word in it, got {text!r}. Write one.")
        ids = self.tokenizer(list(texts))["input_ids"]
        for text, each in zip(texts, ids, strict=True):
            if len(each) > self.max_text_tokens:
                raise ValueError(
                    f"{name} must have at most {self.max_text_tokens} tokens, got {len(each)} in "
                    f"{text[:40]!r}. Shorten it."
                )

    def tokenize(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Tokenize texts as the model was trained, cut at its longest.

        Returns:
            Arguments of the text tower, shape (K, L), on the CPU.
        """
        # SigLIP reads the last place of a full length, padding and all, and has no mask.
        found = self.tokenizer(
            list(texts),
            padding="max_length" if self.is_sigmoid else True,
            truncation=True,
            max_length=self.max_text_tokens,
            return_tensors="pt",
        )
        names = ["input_ids"] if self.is_sigmoid else ["input_ids", "attention_mask"]
        return {name: found[name] for name in names}

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Encode texts, cut at the model's longest, to unit vectors (K, E), float32, on the CPU.

        Raises:
            FloatingPointError: If a vector is not finite.
        """
        model: Any = self.encoder.model
        device = next(model.parameters()).device
        parts = []
        for start in range(0, len(texts), _BATCH):
            tokens = self.tokenize(texts[start : start + _BATCH])
            on_device = {name: x.to(device) for name, x in tokens.items()}
            parts.append(model.get_text_features(**on_device).pooler_output.float().cpu())
        vectors = F.normalize(torch.cat(parts), dim=-1)
        if not vectors.isfinite().all():
            raise FloatingPointError(
                "the model's vectors of texts must be finite, got NaN or inf. Use float32."
            )
        return vectors.clone()  # not an inference tensor

    def encode_typed(self, texts: Sequence[str], name: str) -> Tensor:
        """As `encode_texts`, of user input.

        Raises:
            ValueError: As `validate`.
            FloatingPointError: If a vector is not finite.
        """
        self.validate(texts, name)
        return self.encode_texts(texts)


def load_tokenizer(name: str) -> Any:
    """Load the tokenizer of a dual encoder.

    Args:
        name: A directory, or the id of a model on the hub or in its cache.

    Raises:
        ImportError: If it needs a package that is not installed, such as sentencepiece.
        ValueError, OSError: If it is missing or damaged.
    """
    from transformers import AutoTokenizer
    from transformers.utils.hub import cached_file

    source = model_source(name)
    found = (
        cached_file(source, file, _raise_exceptions_for_missing_entries=False)
        for file in _VOCABULARIES
    )
    if not any(found):  # transformers would make a tokenizer that knows no word
        raise FileNotFoundError(
            f"`model={name}` must have a tokenizer to read texts, got none of "
            f"{', '.join(_VOCABULARIES)}. Copy it there."
        )
    try:
        return AutoTokenizer.from_pretrained(source, trust_remote_code=False)
    except Exception as error:  # a hostile file can raise anything
        words = str(error).replace("`", "'").strip().partition("\n")[0][:200]
        if "sentencepiece" in str(error).lower():
            raise ImportError(
                f"`model={name}` has a tokenizer that needs the package sentencepiece, which is "
                "not installed. Run pip install sentencepiece."
            ) from error
        raise ValueError(
            f"`model={name}` must have a tokenizer that can be read, got one that cannot "
            f"({type(error).__name__}: {words}). Copy its files again."
        ) from error
