import json
from pathlib import Path

import pytest
import torch

from vidtldr.evaluate.annotations import read_answers, read_questions, read_retrieval
from vidtldr.evaluate.protocols import RETRIEVAL
from vidtldr.shapes.exam import distinct_clips
from vidtldr.shapes.export import clip_name, export_clips
from vidtldr.shapes.language import ANSWERS, LABELS, caption, label_of, questions
from vidtldr.shapes.world import ShapesWorld
from vidtldr.tasks.classify import parse_labels
from vidtldr.video.decode import read_clip
from vidtldr.video.sampling import Sampling

NUM_CLIPS = 18  # more than are drawn at once


@pytest.fixture(scope="module")
def world() -> ShapesWorld:
    return ShapesWorld(4, "validation")


@pytest.fixture(scope="module")
def exported(
    tmp_path_factory: pytest.TempPathFactory, world: ShapesWorld
) -> tuple[Path, list[int]]:
    directory = tmp_path_factory.mktemp("export") / "clips"
    return directory, export_clips(directory, world, NUM_CLIPS, start=3)


def test_the_frames_sampled_from_a_file_are_the_frames_drawn(
    exported: tuple[Path, list[int]], world: ShapesWorld
) -> None:
    directory, indices = exported
    assert indices == distinct_clips(world, NUM_CLIPS, 3)
    drawn = world.clips(indices).frames.permute(0, 1, 3, 4, 2)
    for index, frames in zip(indices, drawn, strict=True):
        clip = read_clip(directory / clip_name(world, index), Sampling(8))
        assert clip.indices == tuple(range(8))
        assert clip.num_frames_in_file == 8
        assert clip.notes == ()
        assert clip.duration_seconds == pytest.approx(1.0)
        error = (clip.frames.float() - frames.float()).abs()
        others = (clip.frames.float() - frames.roll(1, 0).float()).abs()
        assert error.mean() < 4  # of 255: halved colour, and the little that H.264 takes
        assert error.mean() < others.mean()
        bias = (clip.frames.float() - frames.float()).mean(dim=(0, 1, 2)).abs()
        assert bias.max() < 2  # no other matrix of colours, no other range


def test_annotations_are_read_by_the_evaluation(
    exported: tuple[Path, list[int]], world: ShapesWorld
) -> None:
    directory, indices = exported
    rows, speeds = world.factors(indices).rows(), world.clips(indices).speeds.tolist()
    names = tuple(clip_name(world, index) for index in indices)
    retrieval = read_retrieval(directory / "retrieval.json", RETRIEVAL["msrvtt"])
    assert retrieval.videos == names
    assert retrieval.texts == tuple(caption(row) for row in rows)
    assert len(set(retrieval.texts)) == NUM_CLIPS
    found = read_questions(directory / "questions.json")
    expected = [
        (name, q.question, q.answer)
        for name, row, (one, two) in zip(names, rows, speeds, strict=True)
        for q in questions(row, (one, two))
    ]
    assert [(q.video, q.question, q.answer) for q in found] == expected
    assert [q.id for q in found] == list(range(len(found)))
    assert read_answers(directory / "answers.json") == ANSWERS
    assert parse_labels(str(directory / "labels.txt")) == LABELS
    assert json.loads((directory / "clips.json").read_text()) == [
        {"video": name, "index": index, "label": LABELS[label_of(row)]}
        for name, index, row in zip(names, indices, rows, strict=True)
    ]
    others = {"retrieval.json", "questions.json", "answers.json", "labels.txt", "clips.json"}
    assert {file.name for file in directory.iterdir()} == {*names, *others}


def test_the_same_export_gives_the_same_files(tmp_path: Path, world: ShapesWorld) -> None:
    for name in ("one", "two"):
        export_clips(tmp_path / name, world, 2)
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()


def test_an_empty_directory_is_used_and_steps_are_counted(
    tmp_path: Path, world: ShapesWorld
) -> None:
    steps: list[int] = []
    export_clips(tmp_path, world, 3, on_step=lambda: steps.append(1))
    assert len(steps) == 3
    assert len(list(tmp_path.glob("*.mp4"))) == 3


@pytest.mark.parametrize("exists", [True, False])
def test_an_interruption_leaves_nothing(tmp_path: Path, world: ShapesWorld, exists: bool) -> None:
    directory = tmp_path / "clips"
    if exists:
        directory.mkdir()

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_clips(directory, world, 2, on_step=interrupt)
    assert directory.exists() == exists
    assert not list(tmp_path.rglob("*.mp4"))


def test_files_are_never_mixed_with_others(tmp_path: Path, world: ShapesWorld) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(
        ValueError, match=r"directory must be new or empty, got .*\. Choose another"
    ):
        export_clips(tmp_path, world, 2)
    with pytest.raises(ValueError, match="directory must be new or empty"):
        export_clips(tmp_path / "mine.txt", world, 2)
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"num_clips": 0}, r"num_clips must be at least 1, got 0\. Raise it"),
        ({"num_clips": 1, "start": -1}, r"start must be at least 0, got -1\. Raise it"),
    ],
)
def test_numbers_out_of_range_are_refused(
    tmp_path: Path, world: ShapesWorld, numbers: dict[str, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        export_clips(tmp_path / "clips", world, **numbers)
    assert not (tmp_path / "clips").exists()


def test_small_factors_of_other_seeds_and_sizes_are_written(tmp_path: Path) -> None:
    world = ShapesWorld(9, "unseen", num_frames=4, side=112)
    [index] = export_clips(tmp_path / "clips", world, 1, start=10**7)
    clip = read_clip(tmp_path / "clips" / f"unseen-9-{index}.mp4", Sampling(4))
    assert clip.frames.shape == (4, 112, 112, 3)
    expected = world.clips([index]).frames[0].permute(0, 2, 3, 1)
    assert (clip.frames.float() - expected.float()).abs().mean() < 4
    assert clip.frames.dtype == torch.uint8
