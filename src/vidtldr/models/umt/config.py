"""Sizes of a UMT model: the two published ones by name, or custom ones."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, Self, get_args

from vidtldr.files import read_json

__all__ = ["ConfigName", "TextConfig", "UMTConfig", "resolve_config"]

#: Most tokens of a clip, which has a position each: 1337 frames of 224 pixels in patches of 16.
MAX_TOKENS = 2**18
MAX_LAYERS = 1000
MAX_SIZE = 2**20

ConfigName = Literal["b16", "l16"]


@dataclass(frozen=True)
class TextConfig:
    """Sizes of the BERT with fusion layers; names are those of BERT's own configuration file.

    Attributes:
        fusion_layer: Index of the first layer that attends to the video, in [0, num_hidden_layers).
    """

    fusion_layer: int
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    vocab_size: int = 30522
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    hidden_act: str = "gelu"

    def __post_init__(self) -> None:
        """Refuse sizes that cannot be built."""
        for name, value in asdict(self).items():
            if isinstance(value, int):
                limit = MAX_LAYERS if name == "num_hidden_layers" else MAX_SIZE
                _validate_at_most(f"text['{name}']", value, limit)
        if not 0 <= self.fusion_layer < self.num_hidden_layers:
            raise ValueError(
                f"text['fusion_layer'] must be in [0, {self.num_hidden_layers}), "
                f"got {self.fusion_layer!r}. Published models use 9 of 12 or 19 of 24."
            )
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"text['hidden_size'] must be a multiple of num_attention_heads="
                f"{self.num_attention_heads}, got {self.hidden_size!r}. Change one of the two."
            )
        if self.hidden_act != "gelu":
            raise NotImplementedError(
                f"text['hidden_act'] must be 'gelu', got {self.hidden_act!r}. "
                "UMT was trained with no other."
            )

    @classmethod
    def from_dict(cls, text: Mapping[str, Any]) -> Self:
        """Read a BERT configuration; missing keys default to BERT-base's, unknown ones are ignored.

        Raises:
            ValueError: If `fusion_layer` is missing.
        """
        if "fusion_layer" not in text:
            raise ValueError(
                "text must hold 'fusion_layer', the first layer that attends to the video, "
                f"got keys {sorted(text)}. Published models use 9 of 12 or 19 of 24."
            )
        return cls(**{field.name: text[field.name] for field in fields(cls) if field.name in text})


@dataclass(frozen=True)
class UMTConfig:
    """Sizes of a UMT model.

    Positions are a fixed table over `num_frames`; a clip with another number of frames gets it
    interpolated in time. Fine-tuned checkpoints were trained with 12 frames, the pretrained
    (zero-shot) ones with 4.

    Attributes:
        image_size: Side of a square frame, pixels.
        patch_size: Side of a square patch, pixels; divides `image_size`.
        num_frames: Frames the weights were trained with, of at most `MAX_TOKENS` patches together.
        hidden_size: Channels of the vision encoder.
        num_layers: Blocks of the vision encoder.
        num_heads: Attention heads of the vision encoder; divides `hidden_size`.
        embed_dim: Channels of the space that videos and texts share.
        text: BERT configuration with `fusion_layer`, see `TextConfig`; unknown keys are accepted.
    """

    image_size: int
    patch_size: int
    num_frames: int
    hidden_size: int
    num_layers: int
    num_heads: int
    embed_dim: int
    text: dict[str, Any]

    def __post_init__(self) -> None:
        """Refuse sizes that cannot be built."""
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name != "text" and (not isinstance(value, int) or value < 1):
                raise ValueError(
                    f"{field.name} must be a positive int, got {value!r}. "
                    "See UMTConfig.named('b16')."
                )
            if isinstance(value, int) and field.name != "num_frames":
                limit = MAX_LAYERS if field.name == "num_layers" else MAX_SIZE
                _validate_at_most(field.name, value, limit)
        for whole, part in (("image_size", "patch_size"), ("hidden_size", "num_heads")):
            if getattr(self, whole) % getattr(self, part):
                raise ValueError(
                    f"{whole} must be a multiple of {part}={getattr(self, part)}, "
                    f"got {getattr(self, whole)!r}. Change one of the two."
                )
        num_patches = (self.image_size // self.patch_size) ** 2
        if self.num_frames * num_patches > MAX_TOKENS:
            limit = MAX_TOKENS // num_patches
            raise ValueError(
                f"num_frames must be at most {limit} with {num_patches} patches a frame, got "
                f"{self.num_frames}. Correct it."
            )
        self.text_config()

    def text_config(self) -> TextConfig:
        """Return the sizes in `text` that UMT uses."""
        return TextConfig.from_dict(self.text)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote.

        Raises:
            ValueError: If a key is missing or unknown.
        """
        names = {field.name for field in fields(cls)}
        if set(values) != names:
            raise ValueError(
                f"config must hold exactly {sorted(names)}, "
                f"got missing {sorted(names - set(values))} "
                f"and unknown {sorted(set(values) - names)}. Correct the file."
            )
        return cls(**values)

    @classmethod
    def from_file(cls, path: str | Path) -> Self:
        """Read a JSON file with what `to_dict` returns."""
        return cls.from_dict(read_json(path))

    @classmethod
    def named(cls, name: str) -> Self:
        """Return a published configuration: 12 frames of 224, patches of 16.

        Args:
            name: "b16" (12 layers of 768, BERT-base) or "l16" (24 layers of 1024, BERT-large).

        Raises:
            ValueError: If the name is neither.
        """
        if name not in get_args(ConfigName):
            raise ValueError(
                f"config must be one of {get_args(ConfigName)} or a UMTConfig, got {name!r}. "
                "Read another size from a file with UMTConfig.from_file."
            )
        large = name == "l16"
        hidden_size, num_layers, num_heads = (1024, 24, 16) if large else (768, 12, 12)
        text = {
            "hidden_size": hidden_size,
            "num_hidden_layers": num_layers,
            "num_attention_heads": num_heads,
            "intermediate_size": 4 * hidden_size,
            "vocab_size": 30522,
            "max_position_embeddings": 512,
            "type_vocab_size": 2,
            "layer_norm_eps": 1e-12,
            "hidden_act": "gelu",
            "fusion_layer": 19 if large else 9,
        }
        embed_dim = 768 if large else 512
        return cls(224, 16, 12, hidden_size, num_layers, num_heads, embed_dim, text)


def _validate_at_most(name: str, value: int, limit: int) -> None:
    """Refuse a number before anything is made of it: a file may hold any."""
    if value > limit:
        raise ValueError(f"{name} must be at most {limit}, got {value}. Correct it.")


def resolve_config(config: ConfigName | UMTConfig) -> UMTConfig:
    """Return the configuration of that name, or the one given."""
    return config if isinstance(config, UMTConfig) else UMTConfig.named(config)
