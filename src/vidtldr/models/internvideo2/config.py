"""Sizes of an InternVideo2 vision encoder: the published ones by name, or custom ones."""

from dataclasses import dataclass, fields
from typing import Literal, Self, get_args

__all__ = ["InternVideo2Config", "InternVideo2Name", "resolve_config"]

MAX_TOKENS = 2**18
MAX_SIZE = 2**20

InternVideo2Name = Literal["b14", "l14", "1b"]
#: Channels, blocks, heads and channels of the MLP.
SIZES: dict[InternVideo2Name, tuple[int, int, int, int]] = {
    "b14": (768, 12, 12, 3072),
    "l14": (1024, 24, 16, 4096),
    "1b": (1408, 40, 16, 6144),
}


@dataclass(frozen=True)
class InternVideo2Config:
    """Sizes of an InternVideo2 vision encoder.

    Attributes:
        image_size: Side of a square frame, pixels.
        patch_size: Side of a square patch, pixels; divides `image_size`.
        num_frames: Frames of a clip.
        hidden_size: Channels of the tokens.
        num_layers: Blocks.
        num_heads: Attention heads of a block; divides `hidden_size`.
        mlp_size: Channels inside the MLP of a block.
        num_pool_heads: Attention heads of the pool behind the blocks; divides `hidden_size`.
        embed_dim: Channels of the pooled vector.
    """

    image_size: int
    patch_size: int
    num_frames: int
    hidden_size: int
    num_layers: int
    num_heads: int
    mlp_size: int
    num_pool_heads: int = 16
    embed_dim: int = 768

    def __post_init__(self) -> None:
        """Refuse sizes that cannot be built."""
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, int) or not 1 <= value <= MAX_SIZE:
                raise ValueError(
                    f"{field.name} must be an int in [1, {MAX_SIZE}], got {value!r}. See "
                    "InternVideo2Config.named('b14')."
                )
        wholes = (
            ("image_size", "patch_size"),
            ("hidden_size", "num_heads"),
            ("hidden_size", "num_pool_heads"),
        )
        for whole, part in wholes:
            if getattr(self, whole) % getattr(self, part):
                raise ValueError(
                    f"{whole} must be a multiple of {part}={getattr(self, part)}, got "
                    f"{getattr(self, whole)!r}. Change one of the two."
                )
        if self.num_tokens > MAX_TOKENS:
            raise ValueError(
                f"num_frames must be at most {(MAX_TOKENS - 1) // self.num_patches} with "
                f"{self.num_patches} patches a frame, got {self.num_frames}. Correct it."
            )

    @property
    def num_patches(self) -> int:
        """Patches of one frame."""
        return (self.image_size // self.patch_size) ** 2

    @property
    def num_tokens(self) -> int:
        """Tokens of a clip: the class token and the patches of all frames."""
        return 1 + self.num_frames * self.num_patches

    @classmethod
    def named(cls, name: str) -> Self:
        """Return a published configuration: 8 frames of 224, patches of 14.

        Args:
            name: "b14" (12 blocks of 768 channels), "l14" (24 of 1024) or "1b" (40 of 1408).

        Raises:
            ValueError: If the name is none of these.
        """
        if name not in SIZES:
            raise ValueError(
                f"config must be one of {get_args(InternVideo2Name)} or an InternVideo2Config, got "
                f"{name!r}. Pass an InternVideo2Config for other sizes."
            )
        return cls(224, 14, 8, *SIZES[name])


def resolve_config(config: InternVideo2Name | InternVideo2Config) -> InternVideo2Config:
    """Return the configuration of that name, or the one given."""
    return config if isinstance(config, InternVideo2Config) else InternVideo2Config.named(config)
