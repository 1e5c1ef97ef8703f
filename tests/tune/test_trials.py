import json
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from vidtldr.bench.peers import Merging, RandomDropping
from vidtldr.bench.result_store import ResultStore
from vidtldr.hosts.config import MergeConfig
from vidtldr.hosts.patching import patched
from vidtldr.tune.clips import TunedClip, read_clips
from vidtldr.tune.subject import Subject
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


def test_anything_else_that_decides_a_drift_starts_anew(
    subject: Subject, tuned_clips: list[TunedClip], tmp_path: Path
) -> None:
    file = tmp_path / "tried.jsonl"
    Trials(subject, tuned_clips, ResultStore(file)).run(MERGING, 1)
    with torch.no_grad():
        subject.model.classifier.bias[0] += 1
    other = Trials(subject, tuned_clips, ResultStore(file))
    other.run(MERGING, 1)
    assert other.num_forwards == 1
    with torch.no_grad():
        subject.model.classifier.bias[0] -= 1
    contexts = {json.loads(line)["key"]["context"] for line in file.read_text().splitlines()}
    assert len(contexts) == 2


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


def test_an_answer_that_is_no_number_is_an_error(
    subject: Subject, tuned_clips: list[TunedClip]
) -> None:
    hot = Merging(MergeConfig(r=[10]))
    trials = Trials(subject, tuned_clips, ResultStore())
    weight = subject.model.videomae.encoder.layer[2].output.dense.bias
    kept = weight.detach().clone()
    with torch.no_grad():
        weight.fill_(float("inf"))
    with pytest.raises(ValueError, match=r"answer to '.*' must be finite, got NaN or inf"):
        trials.run(hot, 1)
    with torch.no_grad():
        weight.copy_(kept)
