"""The bundled model and the merge chosen for it. Does not import torch."""

import json
from importlib.resources import files
from pathlib import Path

from vidtldr.config import MergeConfig

__all__ = ["BUNDLED", "BUNDLED_PRESET", "CLIP_SIDE", "bundled_merge", "unknown_world_note"]

#: What `load_umt` reads for either task: weights, sizes and vocabulary. `merge.json` is there, too.
BUNDLED = Path(str(files("vidtldr") / "shapes" / "bundled"))
BUNDLED_PRESET = "shapes"
#: Height and width of every clip of the generated world, in pixels.
CLIP_SIDE = 96


def bundled_merge() -> MergeConfig:
    """The merge of the bundled model, chosen on validation clips (preset `"shapes"`)."""
    return MergeConfig.from_dict(json.loads((BUNDLED / "merge.json").read_text(encoding="utf-8")))


def unknown_world_note(height: int, width: int) -> tuple[str, ...]:
    """Return a note for a video on which the bundled model's answers are meaningless.

    Args:
        height: Of the video, in pixels.
        width: Of the video, in pixels.

    Returns:
        The note; nothing for a video of the size of the clips that the model knows.
    """
    if (height, width) == (CLIP_SIDE, CLIP_SIDE):
        return ()
    return (
        "the bundled model only knows generated clips of coloured shapes: what it says of this "
        "video is meaningless",
    )
