"""Dual encoders of transformers: vectors of clips and of texts in one space.

Letters: `K` texts, `L` tokens of a text, `E` channels of the shared space.
"""

from collections.abc import Sequence
from dataclasses import dataclass
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
        tokenizer: The model's own, of transformers.
    """

    encoder: VideoEncoder
    tokenizer: Any

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

    def encode_clips(self, pixel_values: Tensor) -> Tensor:
        """Encode clips (B, T, 3, S, S), on the model's device, to unit vectors (B, E), float32."""
        return F.normalize(self.encoder(pixel_values).float(), dim=-1)

    def tokenize(self, texts: Sequence[str], name: str = "text") -> dict[str, Tensor]:
        """Tokenize user input as the model was trained; nothing is cut off.

        Args:
            texts: At least one.
            name: Name of the argument, for error messages.

        Returns:
            Arguments of the text tower, shape (K, L), on the CPU.

        Raises:
            ValueError: If a text is empty or too long.
        """
        config: Any = self.encoder.config
        limit = int(config.text_config.max_position_embeddings)
        for text in texts:
            if not text.strip():
                raise ValueError(f"{name} must have a word in it, got {text!r}. Write one.")
        ids = self.tokenizer(list(texts))["input_ids"]
        for text, each in zip(texts, ids, strict=True):
            if len(each) > limit:
                raise ValueError(
                    f"{name} must have at most {limit} tokens, got {len(each)} in {text[:40]!r}. "
                    "Shorten it."
                )
        if not self.is_sigmoid:
            found = self.tokenizer(list(texts), padding=True, return_tensors="pt")
            return {key: found[key] for key in ("input_ids", "attention_mask")}
        # SigLIP reads the last place of a full length, padding and all, and has no mask.
        found = self.tokenizer(
            list(texts), padding="max_length", max_length=limit, return_tensors="pt"
        )
        return {"input_ids": found["input_ids"]}

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str], name: str = "text") -> Tensor:
        """Encode texts to unit vectors, shape (K, E), float32, on the CPU.

        Raises:
            ValueError: As `tokenize`, or if a vector is not finite.
        """
        model: Any = self.encoder.model
        device = next(model.parameters()).device
        tokens = self.tokenize(texts, name)
        parts = []
        for start in range(0, len(texts), _BATCH):
            part = {key: x[start : start + _BATCH].to(device) for key, x in tokens.items()}
            parts.append(model.get_text_features(**part).pooler_output.float().cpu())
        vectors = F.normalize(torch.cat(parts), dim=-1)
        if not vectors.isfinite().all():
            raise ValueError("the model's vectors of texts must be finite, got NaN. Use float32.")
        return vectors.clone()


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
