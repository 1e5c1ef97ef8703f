"""The shapes model: one small UMT that searches, labels and answers.

Letters: `B` clips, `T` frames, `S` side of a frame.
"""

import torch
from torch import Tensor

from vidtldr.bundled import BUNDLED
from vidtldr.models.umt.answering import UMTAnswering
from vidtldr.models.umt.config import UMTConfig
from vidtldr.models.umt.decoder import AnswerDecoder
from vidtldr.models.umt.retrieval import UMTRetrieval
from vidtldr.models.umt.tokenizer import TokenizerSource
from vidtldr.shapes.language import vocabulary
from vidtldr.tasks.clip_reader import IMAGENET_MEAN, IMAGENET_STD

__all__ = ["ShapesUMT", "normalise", "shapes_config"]


def shapes_config() -> UMTConfig:
    """Sizes of the bundled model: 8 frames of 96, patches of 12, so 512 tokens per clip."""
    text = {
        "hidden_size": 192,
        "num_hidden_layers": 4,
        "num_attention_heads": 3,
        "intermediate_size": 768,
        "vocab_size": len(vocabulary()),
        "max_position_embeddings": 32,
        "fusion_layer": 2,
    }
    return UMTConfig(
        image_size=96,
        patch_size=12,
        num_frames=8,
        hidden_size=192,
        num_layers=6,
        num_heads=3,
        embed_dim=128,
        text=text,
    )


class ShapesUMT(UMTRetrieval):
    """A `UMTRetrieval` with the answer decoder of `UMTAnswering`, to train both at once.

    Its `state_dict` is a checkpoint that `load_umt` reads for either task.

    Args:
        config: Sizes of the model.
        tokenizer: As for `UMTRetrieval`; None takes the bundled vocabulary.
    """

    def __init__(self, config: UMTConfig, tokenizer: TokenizerSource | None = None) -> None:
        super().__init__(config, BUNDLED if tokenizer is None else tokenizer)
        self.text_decoder = AnswerDecoder(config.text_config())

    def answering(self) -> UMTAnswering:
        """The same weights as a model that answers questions."""
        with torch.device("meta"):
            model = UMTAnswering(self.config)
        model.tokenizer = self.tokenizer
        model.vision_encoder = self.vision_encoder
        model.text_encoder = self.text_encoder
        model.text_decoder = self.text_decoder
        return model


def normalise(frames: Tensor) -> Tensor:
    """Turn pixels of the world into model input.

    Args:
        frames: Shape (B, T, 3, S, S), uint8.

    Returns:
        Pixels normalised by ImageNet's mean and standard deviation, same shape, float32.
    """
    mean = torch.tensor(IMAGENET_MEAN, device=frames.device)[:, None, None] * 255
    std = torch.tensor(IMAGENET_STD, device=frames.device)[:, None, None] * 255
    return (frames.float() - mean) / std
