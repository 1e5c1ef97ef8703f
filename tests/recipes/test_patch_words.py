import pytest
import torch
from patch_words import IGNORED, SWAYS, WORDS, PatchWords, patch_targets
from torch import Tensor, nn

from vidtldr.shapes.language import MOTION_PHRASES, motion_phrase
from vidtldr.shapes.world import ShapesClips, ShapesWorld

PATCH = 12


@pytest.fixture(scope="module")
def clips() -> ShapesClips:
    return ShapesWorld(0, "train").clips(range(24), frames=[2, 5])


def knowing(targets: dict[str, Tensor]) -> tuple[Tensor, PatchWords]:
    """Tokens that name what they show, and heads that read the name."""
    tokens = [
        10.0 * nn.functional.one_hot(targets[name].clamp(min=0), count)
        for name, count in WORDS.items()
    ]
    heads = PatchWords(sum(WORDS.values()), PATCH)
    start = 0
    for name, count in WORDS.items():
        head = heads.heads[name]
        assert isinstance(head, nn.Linear)
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        head.weight.data[:, start : start + count] = torch.eye(count)
        start += count
    return torch.cat(tokens, dim=-1), heads


def test_targets_are_the_factors_of_the_object_of_a_patch(clips: ShapesClips) -> None:
    whose, targets = clips.patch_objects(PATCH), patch_targets(clips, PATCH)
    assert torch.equal(targets["whose"], whose)
    assert set(whose.unique().tolist()) == {0, 1, 2}
    for clip, row in enumerate(clips.factors.rows()):
        first = (row.shape, row.colour, row.size, MOTION_PHRASES.index(motion_phrase(row)))
        second_motion = (MOTION_PHRASES.index("stays"), SWAYS)[row.second_motion]
        second = (row.second_shape, row.second_colour, IGNORED, second_motion)
        for k, expected in enumerate(((IGNORED,) * 4, first, second)):
            found = torch.stack([targets[n][clip] for n in ("shape", "colour", "size", "motion")])
            of_k = found[:, whose[clip] == k]
            assert torch.equal(of_k, torch.tensor(expected)[:, None].expand_as(of_k))


def test_who_knows_every_patch_has_no_loss(clips: ShapesClips) -> None:
    tokens, heads = knowing(patch_targets(clips, PATCH))
    loss, right = heads(tokens, clips)
    assert loss < 0.01
    assert right == {f"patch_{name}": 1.0 for name in WORDS}
    loss, right = heads(tokens.roll(1, dims=0), clips)
    assert loss > 1
    assert all(value < 0.9 for value in right.values())


def test_one_frame_shows_no_motion() -> None:
    clips = ShapesWorld(0, "train").clips(range(6), frames=[3])
    tokens, heads = knowing(patch_targets(clips, PATCH))
    loss, right = heads(tokens, clips)
    assert loss < 0.01
    assert set(right) == {f"patch_{name}" for name in WORDS if name != "motion"}
