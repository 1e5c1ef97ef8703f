"""Per-patch supervision: the truth about each patch, in place of UMT's CLIP teacher.

UMT learns from the tokens of an image model trained with text. None exists for this world, but
the truth about every pixel is known: linear heads, dropped after training, name the object that
fills each patch and point to where it is. Without the pointing, whatever depends on position
(circling or bouncing, left or right) is hardly learnt.

Letters: `B` clips, `T` frames, `P` patches of a frame, `N` = T * P patches of a clip, `C` channels,
`K` objects (2).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidtldr.shapes.factors import COLOURS, SECOND_MOTIONS, SHAPES, SIZES
from vidtldr.shapes.language import MOTION_PHRASES, PLACES, motion_index
from vidtldr.shapes.world import ShapesClips

__all__ = ["PatchWords"]

IGNORED = -100
WORDS = {
    "whose": 3,  # background, first object or second object
    "shape": len(SHAPES),
    "colour": len(COLOURS),
    "size": len(SIZES),
    "motion": len(MOTION_PHRASES) + 1,
    "relation": len(PLACES),  # where the second object is, seen from the first
}
VECTORS = (
    "centre",  # from the patch to the middle of its object
    "way",  # from that middle's mean over the frames to the middle itself
    "other",  # from the middle of its object to that of the other one
)
STAYS = MOTION_PHRASES.index("stays")
SWAYS = len(MOTION_PHRASES)


class PatchWords(nn.Module):
    """A linear head for each factor, and one for each vector.

    Args:
        hidden_size: `C`.
        patch_size: Side of a patch, pixels.
    """

    def __init__(self, hidden_size: int, patch_size: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.words = nn.ModuleDict({name: nn.Linear(hidden_size, n) for name, n in WORDS.items()})
        self.vectors = nn.ModuleDict({name: nn.Linear(hidden_size, 2) for name in VECTORS})

    def forward(
        self, tokens: Tensor, clips: ShapesClips, *, points: bool
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Compare the predictions from tokens (B, N, C) with the truth.

        Args:
            tokens: The encoder's tokens.
            clips: The clips they encode.
            points: Whether to compare vectors as well.

        Returns:
            The sum of the factors' cross-entropies and that of the vectors' losses; and for each
            factor the share of patches predicted correctly, for each vector its mean error in
            pixels. Motion and way are left out for a single frame, as is whatever applies to no
            patch.
        """
        losses: dict[str, list[Tensor]] = {"words": [], "vectors": []}
        scores = {}
        without = ("motion", "way") if clips.frames.shape[1] == 1 else ()
        for name, target in word_targets(clips, self.patch_size).items():
            num_true = (target != IGNORED).sum()
            if name in without or num_true == 0:
                continue
            logits = self.words[name](tokens).float()  # (B, N, words)
            losses["words"].append(F.cross_entropy(logits.mT, target, ignore_index=IGNORED))
            scores[f"patch_{name}"] = ((logits.argmax(dim=-1) == target).sum() / num_true).item()
        vectors = vector_targets(clips, self.patch_size) if points else {}
        for name, (target, applies) in vectors.items():
            if name in without or not applies.any():
                continue
            found, true = self.vectors[name](tokens).float()[applies], target[applies]  # (.., 2)
            losses["vectors"].append(2 * F.smooth_l1_loss(found, true))
            off = (found.detach() - true).norm(dim=-1) * self.patch_size
            scores[f"patch_{name}_pixels"] = off.mean().item()
        return {name: torch.stack(each).sum() for name, each in losses.items() if each}, scores


def word_targets(clips: ShapesClips, patch_size: int) -> dict[str, Tensor]:
    """The words of every patch, int64, shape (B, N) each; -100 where a word does not apply."""
    factors = clips.factors
    whose = clips.patch_objects(patch_size)
    motion = torch.tensor([motion_index(row) for row in factors.rows()], device=whose.device)
    second_motion = torch.tensor([STAYS, SWAYS], device=whose.device)[factors.second_motion]
    assert SECOND_MOTIONS == ("stays", "sways")
    relation = factors.relation.masked_fill(factors.num_objects == 1, IGNORED)
    of_both = {
        "shape": (factors.shape, factors.second_shape),
        "colour": (factors.colour, factors.second_colour),
        "size": (factors.size, torch.full_like(factors.size, IGNORED)),
        "motion": (motion, second_motion),
        "relation": (relation, relation),
    }
    of_patches = {
        name: torch.stack((torch.full_like(first, IGNORED), first, second), dim=1).gather(1, whose)
        for name, (first, second) in of_both.items()
    }
    return {"whose": whose, **of_patches}


def vector_targets(clips: ShapesClips, patch_size: int) -> dict[str, tuple[Tensor, Tensor]]:
    """The vectors of every patch, in patch sides, (B, N, 2) each, and where each applies."""
    whose = clips.patch_objects(patch_size)
    num_frames, side = clips.frames.shape[1], clips.frames.shape[-1] // patch_size
    middles = (torch.arange(side, device=whose.device) + 0.5) * patch_size
    patches = torch.cartesian_prod(middles, middles).flip(1).repeat(num_frames, 1)  # (N, 2), x, y
    centres = clips.centres  # (B, T, K, 2)
    of_patch = {
        "centre": centres,
        "way": centres - centres.mean(dim=1, keepdim=True),
        "other": centres.flip(2) - centres,
    }
    is_object = whose > 0
    which = (whose - 1).clamp(min=0).view(*whose.shape, 1, 1)
    found = {}
    for name, vectors in of_patch.items():
        of_both = vectors.repeat_interleave(side**2, dim=1)  # (B, N, K, 2)
        mine = of_both.gather(2, which.expand(-1, -1, 1, 2)).squeeze(2)
        if name == "centre":
            mine = mine - patches
        has_two = clips.factors.num_objects[:, None] == 2
        found[name] = (mine / patch_size, is_object & has_two if name == "other" else is_object)
    return found
