import importlib.metadata
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.tune_films import pretrained_videomae
from torch import Tensor
from torch.nn import functional as F

from vidtldr.baselines.baseline import Merging, RandomDropping
from vidtldr.config import MergeConfig
from vidtldr.measure.result_store import ResultStore
from vidtldr.patch.patching import patched
from vidtldr.tune import trials as trials_module
from vidtldr.tune.clips import TunedClip, read_clips
from vidtldr.tune.subject import Subject, label_subject, pretrained_subject
from vidtldr.tune.trials import Trials

MERGING = Merging(MergeConfig(r=[10, 5], score="received"))


def test_drift_is_that_of_the_patched_model(subject: Subject, tuned_clips: list[TunedClip]) -> None:
    trials = Trials(subject, tuned_clips, ResultStore())
    found = trials.run(MERGING, 3)
    drifts = []
    for clip in tuned_clips:
        x = trials.pixel_values(clip)
        before = subject.read(subject.model, x)[0]
        with patched(subject.model, MERGING.config):
            after = subject.read(subject.model, x)[0]
        drifts.append(1 - F.cosine_similarity(before.double(), after.double(), dim=0).item())
    assert found.mean == pytest.approx(sum(drifts) / 3)
    assert found.highest == pytest.approx(max(drifts))
    assert found.kept is None
    assert min(drifts) > 1e-4
    assert len({round(drift, 6) for drift in drifts}) == 3  # the videos differ


def test_what_was_tried_is_not_run_again_and_more_clips_add_only_themselves(
    subject: Subject, tuned_clips: list[TunedClip], tmp_path: Path
) -> None:
    file = tmp_path / "tried.jsonl"
    first = Trials(subject, tuned_clips[:2], ResultStore(file))
    first.run(MERGING, 1)
    two = first.run(MERGING, 2)
    assert first.num_forwards == 2
    again = Trials(subject, tuned_clips, ResultStore(file))
    assert again.run(MERGING, 2) == two
    assert again.num_forwards == 0
    again.run(MERGING, 3)
    assert again.num_forwards == 1
    assert len(file.read_text().splitlines()) == 3


def other_weights(subject: Subject) -> Subject:
    with torch.no_grad():
        subject.model.classifier.bias[0] += 1
    return subject


def other_dtype(subject: Subject) -> Subject:
    subject.model.to(torch.bfloat16)
    return subject


def other_reader(subject: Subject) -> Subject:
    return replace(subject, reader=replace(subject.reader, max_seconds=0.2))


def other_labels(_: Subject) -> Subject:
    return label_subject(replace(pretrained_videomae(), labels=tuple("hijklmn")), 60.0)


def other_heads(_: Subject) -> Subject:
    return pretrained_subject(pretrained_videomae(num_attention_heads=6), 60.0)


@pytest.mark.parametrize(
    "change", [other_weights, other_dtype, other_reader, other_labels, other_heads]
)
def test_anything_else_that_decides_a_drift_starts_anew(
    change: Callable[[Subject], Subject], tuned_clips: list[TunedClip], tmp_path: Path
) -> None:
    file = tmp_path / "tried.jsonl"
    make = label_subject if change is other_labels else pretrained_subject
    Trials(make(pretrained_videomae(), 60.0), tuned_clips, ResultStore(file)).run(MERGING, 1)
    same = Trials(make(pretrained_videomae(), 60.0), tuned_clips, ResultStore(file))
    same.run(MERGING, 1)
    assert same.num_forwards == 0
    other = Trials(change(make(pretrained_videomae(), 60.0)), tuned_clips, ResultStore(file))
    other.run(MERGING, 1)
    assert other.num_forwards == 1
    contexts = {json.loads(line)["key"]["context"] for line in file.read_text().splitlines()}
    assert len(contexts) == 2


@pytest.mark.parametrize("package", ["transformers", "av"])
def test_another_version_of_what_computes_starts_anew(
    subject: Subject, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = Trials(subject, [], ResultStore()).context
    monkeypatch.setattr(
        trials_module,
        "version",
        lambda name: "0" if name == package else importlib.metadata.version(name),
    )
    assert Trials(subject, [], ResultStore()).context != before


def test_chance_is_the_same_in_every_run_and_leaves_the_callers_alone(
    subject: Subject, tuned_clips: list[TunedClip]
) -> None:
    dropping = RandomDropping((20,))
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    found = [Trials(subject, tuned_clips, ResultStore()).run(dropping, 2) for _ in range(2)]
    assert found[0] == found[1]
    assert torch.equal(before, torch.random.get_rng_state())


def test_steps_are_counted_and_a_bad_video_stops_nothing(
    subject: Subject, tuned_clips: list[TunedClip], tmp_path: Path
) -> None:
    steps: list[tuple[str, int, int]] = []
    trials = Trials(subject, tuned_clips, ResultStore(), lambda *step: steps.append(step))
    trials.begin("where", 3)
    trials.run(MERGING, 3)
    assert steps == [("where", 0, 3), ("where", 1, 3), ("where", 2, 3), ("where", 3, 3)]
    (tmp_path / "broken.mp4").write_text("no video")
    paths = [str(tmp_path / "broken.mp4"), tuned_clips[0].path, str(tmp_path / "nowhere.mp4")]
    clips, failed = read_clips(subject.reader, paths)
    assert [clip.sha256 for clip in clips] == [tuned_clips[0].sha256]
    assert [each.path for each in failed] == [paths[0], paths[2]]


@pytest.mark.parametrize("error", [RuntimeError, MemoryError, ZeroDivisionError])
def test_whatever_one_video_does_stops_nothing(
    subject: Subject,
    tuned_clips: list[TunedClip],
    error: type[Exception],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*_: object) -> Tensor:
        raise error("too much")

    monkeypatch.setattr(type(subject.reader.transform), "resized", fails)
    clips, [failed] = read_clips(subject.reader, [tuned_clips[0].path])
    assert not clips
    assert "too much" in failed.error or "more memory than there is" in failed.error


def test_only_the_first_seconds_are_read_where_that_is_asked(
    subject: Subject, tuned_clips: list[TunedClip]
) -> None:
    reader = replace(subject.reader, max_seconds=0.1)
    [clip], _ = read_clips(reader, [tuned_clips[0].path])
    expected = reader.transform.resized(reader.read(clip.path).frames)
    assert torch.equal(clip.frames, expected)
    assert not torch.equal(clip.frames, tuned_clips[0].frames)


def test_an_answer_that_is_no_number_is_an_error(tuned_clips: list[TunedClip]) -> None:
    subject = pretrained_subject(pretrained_videomae(), 60.0)
    with torch.no_grad():
        subject.model.videomae.encoder.layer[2].output.dense.bias.fill_(float("inf"))
    trials = Trials(subject, tuned_clips, ResultStore())
    with pytest.raises(ValueError, match=r"answer to '.*' must be finite, got NaN or inf"):
        trials.run(Merging(MergeConfig(r=[10])), 1)
