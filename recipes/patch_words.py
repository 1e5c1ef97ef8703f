"""What each patch shows: the teacher of every token, in place of UMT's CLIP.

UMT learns from the tokens of an image model that knows words. There is none for this world, but
the truth about every pixel is known: linear heads, dropped after training, name the object that
fills each patch.

Letters: `B` clips, `N` patches of a clip, `C` channels.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidtldr.shapes.factors import COLOURS, SECOND_MOTIONS, SHAPES, SIZES
from vidtldr.shapes.language import MOTION_PHRASES, motion_index
from vidtldr.shapes.world import ShapesClips

__all__ = ["PatchWords"]

IGNORED = -100
WORDS = {
    "whose": 3,  # the background's, the first object's or the second's
    "shape": len(SHAPES),
    "colour": len(COLOURS),
    "size": len(SIZES),
    "motion": len(MOTION_PHRASES) + 1,
}
STAYS = MOTION_PHRASES.index("stays")
SWAYS = len(MOTION_PHRASES)


class PatchWords(nn.Module):
    """A linear head for each factor.

    Args:
        hidden_size: `C`.
        patch_size: Side of a patch, pixels.
    """

    def __init__(self, hidden_size: int, patch_size: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.heads = nn.ModuleDict({name: nn.Linear(hidden_size, n) for name, n in WORDS.items()})

    def forward(self, tokens: Tensor, clips: ShapesClips) -> tuple[Tensor, dict[str, float]]:
        """Compare what tokens (B, N, C) say with what is true.

        Returns:
            The sum of the factors' cross-entropies, motion left out where one frame is all there
            is, and the share of right patches for each factor.
        """
        targets = patch_targets(clips, self.patch_size)
        if clips.frames.shape[1] == 1:
            del targets["motion"]
        losses, right = [], {}
        for name, target in targets.items():
            logits = self.heads[name](tokens).float()
            every = F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=IGNORED)
            losses.append(every)
            hits = logits.argmax(dim=-1) == target
            right[f"patch_{name}"] = (hits.sum() / (target != IGNORED).sum()).item()
        return torch.stack(losses).sum(), right


def patch_targets(clips: ShapesClips, patch_size: int) -> dict[str, Tensor]:
    """The truth about every patch, int64, shape (B, N) each; -100 where a word does not apply."""
    factors = clips.factors
    whose = clips.patch_objects(patch_size)
    motion = torch.tensor([motion_index(row) for row in factors.rows()], device=whose.device)
    second_motion = torch.tensor([STAYS, SWAYS], device=whose.device)[factors.second_motion]
    assert SECOND_MOTIONS == ("stays", "sways")
    of_both = {
        "shape": (factors.shape, factors.second_shape),
        "colour": (factors.colour, factors.second_colour),
        "size": (factors.size, torch.full_like(factors.size, IGNORED)),
        "motion": (motion, second_motion),
    }
    of_patches = {
        name: torch.stack((torch.full_like(first, IGNORED), first, second), dim=1).gather(1, whose)
        for name, (first, second) in of_both.items()
    }
    return {"whose": whose, **of_patches}
