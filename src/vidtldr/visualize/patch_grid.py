"""Where each token's patch lies in the clip.

Letters: `B` clips, `S` side of a frame; here `T` frames after the tubelet embedding, `R` rows and
`K` columns of patches.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from vidtldr.hosts.registry import find_host

__all__ = ["PatchGrid", "find_patch_grid"]


@dataclass(frozen=True)
class PatchGrid:
    """The patches of a clip: T times R rows of K columns.

    Attributes:
        num_frames: T, frames after the tubelet embedding.
        num_rows: R.
        num_columns: K.
        frames_per_token: Frames of the video that one token spans.
        num_prefix_tokens: Class and register tokens before the patches.
        is_per_frame: Whether the model sees every frame by itself, as one of a batch; else all
            tokens of a clip are one sequence.
        is_tube_major: Whether the T tokens of one place are neighbours in the sequence; else the
            patches of one frame are.
    """

    num_frames: int
    num_rows: int
    num_columns: int
    frames_per_token: int = 1
    num_prefix_tokens: int = 0
    is_per_frame: bool = False
    is_tube_major: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """(T, R, K)."""
        return self.num_frames, self.num_rows, self.num_columns

    @property
    def num_sequences(self) -> int:
        """Sequences of tokens that the model sees: one a frame, or one."""
        return self.num_frames if self.is_per_frame else 1

    @property
    def num_patches(self) -> int:
        """T * R * K."""
        return self.num_frames * self.num_rows * self.num_columns

    def lay_out(self, values: Tensor) -> Tensor:
        """Lay out one value a patch, in the order of the tokens: (N0, ...) to (T, R, K, ...)."""
        rest = values.shape[1:]
        if not self.is_tube_major:
            return values.reshape(*self.shape, *rest)
        by_place = values.reshape(self.num_rows, self.num_columns, self.num_frames, *rest)
        return by_place.movedim(2, 0)


def find_patch_grid(model: nn.Module, pixel_values: Tensor) -> PatchGrid:
    """Work out the grid from the convolution that embeds patches.

    Args:
        model: A model of a known family.
        pixel_values: Model input, shape (B, T, 3, S, S).

    Raises:
        ValueError: If the family is unknown or the shape does not fit.
        NotImplementedError: If the family is not supported, or the model does not embed patches
            with a single convolution, of frames or of clips.
    """
    host = find_host(model)
    if host.is_packed:
        raise NotImplementedError(
            f"model must take clips to be drawn, got {host.family}, which takes packed patches. "
            "Use another model."
        )
    convolutions = [m for m in host.root.modules() if isinstance(m, nn.Conv2d | nn.Conv3d)]
    if len(convolutions) != 1:
        raise NotImplementedError(
            "model must embed patches by one convolution to be drawn, got "
            f"{len(convolutions)}. Use another model."
        )
    is_tube_major = host.tube_length > 1
    is_per_frame = isinstance(convolutions[0], nn.Conv2d) and not is_tube_major
    *tubelet, height, width = (int(side) for side in convolutions[0].kernel_size)
    depth = tubelet[0] if tubelet else 1
    shape = tuple(pixel_values.shape)
    if len(shape) != 5 or shape[1] % depth or shape[3] % height or shape[4] % width:
        raise ValueError(
            f"pixel_values must be (B, T, 3, S, S) in whole patches of {depth} x {height} x "
            f"{width}, got {shape}. Pass what the model's transform gives."
        )
    return PatchGrid(
        shape[1] // depth,
        shape[3] // height,
        shape[4] // width,
        frames_per_token=depth,
        num_prefix_tokens=host.num_prefix_tokens,
        is_per_frame=is_per_frame,
        is_tube_major=is_tube_major,
    )
