import pytest
import torch
from patch_words import IGNORED, SWAYS, VECTORS, WORDS, PatchWords, vector_targets, word_targets
from torch import Tensor, nn

from vidtldr.shapes.language import MOTION_PHRASES, motion_phrase
from vidtldr.shapes.world import ShapesClips, ShapesWorld

PATCH = 12
SIDE = 8  # patches
WITH_TIME = ("motion", "way_pixels")


@pytest.fixture(scope="module")
def clips() -> ShapesClips:
    return ShapesWorld(0, "train").clips(range(24), frames=[2, 5])


def knowing(clips: ShapesClips) -> tuple[Tensor, PatchWords]:
    """Tokens that say all that is true of their patch, and heads that read it."""
    words, vectors = word_targets(clips, PATCH), vector_targets(clips, PATCH)
    tokens = [
        10.0 * nn.functional.one_hot(words[name].clamp(min=0), count)
        for name, count in WORDS.items()
    ]
    tokens += [vectors[name][0] for name in VECTORS]
    widths = [*WORDS.values(), *(2 for _ in VECTORS)]
    heads = PatchWords(sum(widths), PATCH)
    start = 0
    for width, head in zip(widths, [*heads.words.values(), *heads.vectors.values()], strict=True):
        assert isinstance(head, nn.Linear)
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        head.weight.data[:, start : start + width] = torch.eye(width)
        start += width
    return torch.cat(tokens, dim=-1), heads


def test_words_are_the_factors_of_the_object_of_a_patch(clips: ShapesClips) -> None:
    whose, targets = clips.patch_objects(PATCH), word_targets(clips, PATCH)
    assert torch.equal(targets["whose"], whose)
    assert set(whose.unique().tolist()) == {0, 1, 2}
    names = ("shape", "colour", "size", "motion", "relation")
    for clip, row in enumerate(clips.factors.rows()):
        relation = row.relation if row.num_objects == 2 else IGNORED
        motion = MOTION_PHRASES.index(motion_phrase(row))
        first = (row.shape, row.colour, row.size, motion, relation)
        second_motion = (MOTION_PHRASES.index("stays"), SWAYS)[row.second_motion]
        second = (row.second_shape, row.second_colour, IGNORED, second_motion, relation)
        for k, expected in enumerate(((IGNORED,) * 5, first, second)):
            found = torch.stack([targets[name][clip] for name in names])
            of_k = found[:, whose[clip] == k]
            assert torch.equal(of_k, torch.tensor(expected)[:, None].expand_as(of_k))


def test_vectors_point_from_each_patch_to_its_object_and_on(clips: ShapesClips) -> None:
    whose, targets = clips.patch_objects(PATCH), vector_targets(clips, PATCH)
    for clip, token in whose.nonzero().tolist():
        frame, place = divmod(token, SIDE * SIDE)
        row, column = divmod(place, SIDE)
        k = int(whose[clip, token]) - 1
        path = clips.centres[clip, :, k]
        patch = torch.tensor([(column + 0.5) * PATCH, (row + 0.5) * PATCH])
        expected = {
            "centre": path[frame] - patch,
            "way": path[frame] - path.mean(dim=0),
            "other": clips.centres[clip, frame, 1 - k] - path[frame],
        }
        for name, vector in expected.items():
            torch.testing.assert_close(targets[name][0][clip, token] * PATCH, vector)
    has_two = clips.factors.num_objects == 2
    assert torch.equal(targets["centre"][1], whose > 0)
    assert torch.equal(targets["way"][1], whose > 0)
    assert torch.equal(targets["other"][1], (whose > 0) & has_two[:, None])
    assert has_two.any()
    assert not has_two.all()


def test_who_knows_every_patch_has_no_loss(clips: ShapesClips) -> None:
    tokens, heads = knowing(clips)
    losses, scores = heads(tokens, clips, points=True)
    assert losses["words"] < 0.01
    assert losses["vectors"] < 1e-6
    assert {f"patch_{name}": 1.0 for name in WORDS}.items() <= scores.items()
    assert all(scores[f"patch_{name}_pixels"] < 1e-3 for name in VECTORS)
    losses, scores = heads(tokens.roll(1, dims=0), clips, points=True)
    assert losses["words"] > 1
    assert losses["vectors"] > 1
    assert all(scores[f"patch_{name}"] < 0.9 for name in WORDS)
    assert all(scores[f"patch_{name}_pixels"] > 2 for name in VECTORS)


def test_vectors_can_be_left_out(clips: ShapesClips) -> None:
    tokens, heads = knowing(clips)
    losses, scores = heads(tokens, clips, points=False)
    assert losses.keys() == {"words"}
    assert scores.keys() == {f"patch_{name}" for name in WORDS}


def test_one_frame_shows_no_motion() -> None:
    clips = ShapesWorld(0, "train").clips(range(6), frames=[3])
    tokens, heads = knowing(clips)
    losses, scores = heads(tokens, clips, points=True)
    assert losses["words"] < 0.01
    names = (*WORDS, *(f"{name}_pixels" for name in VECTORS))
    assert set(scores) == {f"patch_{name}" for name in names if name not in WITH_TIME}


def test_a_batch_without_a_second_object_teaches_no_relation() -> None:
    world = ShapesWorld(0, "train")
    alone = (world.factors(range(40)).num_objects == 1).nonzero().flatten()[:3]
    tokens, heads = knowing(world.clips(alone, frames=[1, 6]))
    losses, scores = heads(tokens, world.clips(alone, frames=[1, 6]), points=True)
    assert torch.stack(list(losses.values())).isfinite().all()
    assert not {"patch_relation", "patch_other_pixels"} & scores.keys()
