"""Load InternVideo2's vision encoder from published files.

Facts: stage 2 and CLIP files hold the encoder under `vision_encoder.`, beside texts and heads; the
other files hold it alone. Distilled and pretrained ones hold what was trained with it: decoders
onto their teachers, with positions of their own. Some hold positions in space and time apart, some
have others for images. Fused and plain published modules share names.

Source: OpenGVLab/InternVideo, InternVideo2: multi_modality/models/internvideo2_clip.py,
internvideo2_stage2.py; single_modality/models/internvideo2_pretrain.py, internvideo2_distill.py.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from vidtldr.models.internvideo2.config import (
    SIZES,
    InternVideo2Config,
    InternVideo2Name,
    resolve_config,
)
from vidtldr.models.internvideo2.positions import fit_to_frames, fit_to_image, join_positions
from vidtldr.models.internvideo2.vision import InternVideo2
from vidtldr.models.weights_file import mismatches, read_tensors

__all__ = ["load_internvideo2"]

CONTAINERS = ("module", "model", "state_dict")
PREFIX = "vision_encoder."
BESIDE_THE_ENCODER = (
    "text_encoder.",
    "vision_proj.",  # into the space that videos and texts share
    "vision_align.",  # the same in the small CLIP models
    "text_proj.",
    "itm_head.",
    "temp",
    "clip_teacher.",
)
TRAINING_ONLY = (
    "clip_decoder.",  # projections onto the teachers, with positions of their own
    "final_clip_decoder.",
    "mae_decoder.",
    "clip_pos_embed",
    "clip_pos_embed_spatial",
    "clip_pos_embed_temporal",
    "clip_pos_embed_cls",
    "clip_img_pos_embed",
    "mae_pos_embed",
    "mae_pos_embed_spatial",
    "mae_pos_embed_temporal",
)
IMAGE_POSITIONS = "img_pos_embed"
APART = ("pos_embed_spatial", "pos_embed_temporal", "pos_embed_cls")


def load_internvideo2(
    weights: str | Path,
    config: InternVideo2Name | InternVideo2Config = "b14",
    *,
    num_frames: int | None = None,
    num_labels: int | None = None,
) -> InternVideo2:
    """Load an encoder; every weight comes from the file, and none is left over.

    What serves only training, and texts beside the encoder, are ignored by an explicit list. The
    file is memory-mapped if its format allows it: do not overwrite it while the model is in use.

    Args:
        weights: A published `.pt`, `.pth` or `.bin` file, or a `.safetensors` file with the same
            names. Code in it is never run.
        config: "b14", "l14", "1b" (8 frames of 224), or custom sizes. `image_size` is that of the
            file: positions are not interpolated in space.
        num_frames: Frames of a clip; positions of another number are interpolated linearly in
            time, as the authors do. 1 is for single images. None for those of `config`, which must
            then be those of the file.
        num_labels: Classes of a fine-tuned classifier; None for an encoder without a head.

    Returns:
        The model in evaluation mode, on the CPU, float32.

    Raises:
        FileNotFoundError: If `weights` does not exist.
        ValueError: If the file is broken or does not fit the model; says what the file looks like.
    """
    wanted = resolve_config(config)
    if num_frames is not None:
        wanted = replace(wanted, num_frames=num_frames)
    found = _encoder_in(read_tensors(Path(weights), CONTAINERS))
    _fit_positions(found, wanted, is_asked=num_frames is not None)
    with torch.device("meta"):
        model = InternVideo2(wanted, num_labels)
    _validate(found, model.state_dict(), wanted, num_labels)
    model.load_state_dict(found, assign=True)
    return model.eval()


def _encoder_in(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights under our names, without those of the lists."""
    if any(name.startswith(PREFIX) for name in state):
        state = {
            name.removeprefix(PREFIX): value
            for name, value in state.items()
            if not _is_listed(name, BESIDE_THE_ENCODER)
        }
    return {name: value for name, value in state.items() if not _is_listed(name, TRAINING_ONLY)}


def _is_listed(name: str, listed: tuple[str, ...]) -> bool:
    """Whether a name is in the list; entries ending in a dot are prefixes."""
    return name in listed or name.startswith(tuple(entry for entry in listed if entry[-1] == "."))


def _fit_positions(found: dict[str, Tensor], config: InternVideo2Config, *, is_asked: bool) -> None:
    """Put positions for the model's frames into the weights, in place of those of the file."""
    of_image = found.pop(IMAGE_POSITIONS, None)
    if all(name in found for name in APART):
        spatial, temporal, of_class = (found.pop(name) for name in APART)
        found["pos_embed"] = join_positions(spatial, temporal, of_class)
        of_image = torch.cat([of_class, spatial], dim=1)
    positions = found.get("pos_embed")
    if positions is None or positions.dim() != 3:
        return  # which is reported with everything else that is missing
    trained_frames, rest = divmod(positions.shape[1] - 1, config.num_patches)
    if rest or trained_frames < 1:
        raise ValueError(
            f"image_size must be that of the file, whose positions are of {positions.shape[1] - 1} "
            f"patches, got {config.image_size}, with {config.num_patches} patches a frame: "
            "positions are not interpolated in space. Pass the sizes that the file was trained "
            "with."
        )
    if trained_frames != config.num_frames and not is_asked:
        raise ValueError(
            f"`num_frames` must be given where the file has positions of another number of frames "
            f"than the config, got a file of {trained_frames} and a config of {config.num_frames}. "
            f"Pass num_frames={trained_frames}, or {config.num_frames} to interpolate."
        )
    if config.num_frames == trained_frames:
        return
    if config.num_frames > 1:
        positions = fit_to_frames(positions, config.num_patches, config.num_frames)
    else:
        positions = fit_to_image(positions, config.num_patches) if of_image is None else of_image
    found["pos_embed"] = positions


def _validate(
    found: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    config: InternVideo2Config,
    num_labels: int | None,
) -> None:
    problems = mismatches(found, expected)
    if problems:
        sizes = _words(config.num_layers, config.hidden_size)
        raise ValueError(
            f"weights must fit the model ({sizes}, num_labels={num_labels}), got {problems}. "
            f"{_likely(found, config, num_labels)}"
        )


def _likely(found: Mapping[str, Tensor], config: InternVideo2Config, num_labels: int | None) -> str:
    """Say in a sentence what the file seems to hold, and what to pass for it."""
    if "patch_embed.proj.weight" not in found:
        return (
            "The file does not look like an InternVideo2 encoder: no name is "
            "'patch_embed.proj.weight'. Use one of the vision encoder."
        )
    num_layers, num_channels = _num_layers(found), found["patch_embed.proj.weight"].shape[0]
    if (num_layers, num_channels) != (config.num_layers, config.hidden_size):
        for name, (channels, layers, _, _) in SIZES.items():
            if (layers, channels) == (num_layers, num_channels):
                return f"The file looks like {name!r}. Pass `config={name!r}`."
        return f"The file has {_words(num_layers, num_channels)}. Pass a `config` of these sizes."
    head = found.get("head.weight")
    labels = None if head is None else len(head)
    if labels != num_labels:
        return f"The file has {labels or 'no'} labels. Pass `num_labels={labels}`."
    return "It may be damaged, or of another model: compare it with the published one."


def _num_layers(names: Iterable[str]) -> int:
    indices = [int(match[1]) for name in names if (match := re.match(r"blocks\.(\d+)\.", name))]
    return max(indices, default=-1) + 1


def _words(num_layers: int, num_channels: int) -> str:
    return f"{num_layers} blocks of {num_channels} channels"
