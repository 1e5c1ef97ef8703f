from pathlib import Path

import pytest
import torch

from vidtldr.bundled import BUNDLED, bundled_merge
from vidtldr.config import MergeConfig
from vidtldr.evaluate.answering import evaluate_answering
from vidtldr.evaluate.protocols import RETRIEVAL
from vidtldr.evaluate.retrieval import evaluate_retrieval
from vidtldr.models.umt import load_umt
from vidtldr.shapes.demo import Demo, DemoSide, run_demo
from vidtldr.shapes.language import LABELS

NUM_CLIPS = 5
Step = tuple[str, int, int]


@pytest.fixture(scope="module")
def shown(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Demo, Path, list[Step]]:
    steps: list[Step] = []
    directory = tmp_path_factory.mktemp("demo")
    demo = run_demo(directory, NUM_CLIPS, lambda *step: steps.append(step))
    return demo, directory, steps


def sides_of(demo: Demo) -> list[tuple[DemoSide, MergeConfig | None]]:
    return [(demo.unmerged, None), (demo.merged, bundled_merge())]


@pytest.mark.slow
def test_both_sides_are_what_the_evaluation_finds_in_the_same_files(
    shown: tuple[Demo, Path, object],
) -> None:
    demo, directory, _ = shown
    files = [directory / name for name in ("retrieval.json", "questions.json", "answers.json")]
    for side, merge in sides_of(demo):
        found = evaluate_retrieval(
            load_umt(BUNDLED), files[0], directory, RETRIEVAL["msrvtt"], merge=merge
        )
        assert found.reranked is not None
        assert side.marks.text_to_video_r1 == found.reranked.text_to_video.r1
        assert side.marks.video_to_text_r1 == found.reranked.video_to_text.r1
        model = load_umt(BUNDLED, task="answering")
        answered = evaluate_answering(model, files[1], files[2], directory, merge=merge)
        given = [answer for each in side.sheet.answers for answer in each]
        assert given == [each.prediction for each in answered.predictions]
        assert side.marks.answering == answered.accuracy
        assert side.flops / 1e9 == pytest.approx(found.run.gflops_per_clip)


def test_costs_and_answers_are_of_every_clip(shown: tuple[Demo, Path, object]) -> None:
    demo, directory, _ = shown
    assert [directory / video for video in demo.videos] == sorted(directory.glob("*.mp4"))
    assert demo.merge == bundled_merge()
    assert demo.unmerged.num_tokens == [512] * 6
    assert demo.merged.num_tokens[-1] < 512
    assert demo.merged.flops < demo.unmerged.flops
    assert demo.gain.median > 0
    for side, _ in sides_of(demo):
        assert set(side.sheet.labels) <= set(LABELS)
        assert len(side.sheet.clips) == len(side.sheet.labels) == NUM_CLIPS
        assert len(side.timing.times_ms) >= 10
    assert not any(torch.isnan(tokens.x).any() for tokens in demo.clips.tokens)


def test_every_part_is_counted_to_its_end(shown: tuple[object, object, list]) -> None:
    steps = shown[2]
    for part in ("writing clips", "timing"):
        done = [(number, total) for what, number, total in steps if what == part]
        assert [number for number, _ in done] == list(range(1, len(done) + 1))
        assert done[-1][0] == done[-1][1]
