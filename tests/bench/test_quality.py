import copy
import json
import multiprocessing
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.tiny_world_model import tiny_world_model

from vidtldr.baselines.baseline import (
    FewerFrames,
    LowerResolution,
    Merging,
    RandomDropping,
    Unmerged,
)
from vidtldr.bench.outcomes import Difference
from vidtldr.bench.quality import FIGURES, run_quality
from vidtldr.bench.quality_methods import Cell
from vidtldr.bench.quality_options import QualityOptions
from vidtldr.bench.quality_result import QualityResult, spread
from vidtldr.bench.quality_workers import measure_tasks
from vidtldr.bench.seed_exam import HARD_KINDS, RememberedWorld, SeedExam
from vidtldr.config import MergeConfig
from vidtldr.measure.result_store import ResultStore
from vidtldr.patch.patching import patched
from vidtldr.shapes.exam import distinct_clips, encode_clips, encode_with, examine
from vidtldr.shapes.language import KINDS
from vidtldr.shapes.model import ShapesUMT
from vidtldr.shapes.world import ShapesWorld

OPTIONS = QualityOptions(num_clips=10, seeds=(3, 4), batch_size=4, questions="all")
HARD = replace(OPTIONS, questions="hard")
MERGING = MergeConfig(r=[25, 15], score="sharpness")
CELLS = [
    Cell("vid-TLDR", (0, 1), 0.5, Merging(MERGING)),
    Cell("the same again", (0, 1), 0.4, Merging(MERGING)),
    Cell("random dropping", (0,), 0.7, RandomDropping((20,))),
    Cell("fewer frames", None, 0.01, None, "too few"),
]


@pytest.fixture(scope="module")
def model() -> ShapesUMT:
    return tiny_world_model()


@pytest.fixture(scope="module")
def store_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store") / "quality.jsonl"


@pytest.fixture(scope="module")
def result(model: ShapesUMT, store_file: Path) -> QualityResult:
    return run_quality(model, CELLS, OPTIONS, ResultStore(store_file))


@torch.inference_mode()
def test_figures_are_those_of_the_exam_of_a_patched_model(
    model: ShapesUMT, result: QualityResult
) -> None:
    for place, seed in enumerate(OPTIONS.seeds):
        world = ShapesWorld(seed, "test", 4, 96)
        indices = distinct_clips(world, OPTIONS.num_clips)
        unmerged = encode_clips(encode_with(model), world, indices)
        with patched(model, MERGING):
            merged = encode_clips(encode_with(model), world, indices)
        expected = examine(model, merged)
        measures = result.rows[0].measures
        assert measures is not None
        found = {name: figure.values[place] for name, figure in measures.items()}
        assert found["text_to_video_r1"] == pytest.approx(expected.text_to_video_r1)
        assert found["video_to_text_r1"] == pytest.approx(expected.video_to_text_r1)
        assert found["answering"] == pytest.approx(expected.answering)
        assert found["labels"] == pytest.approx(expected.labels)
        both = expected.text_to_video_r1 + expected.video_to_text_r1
        assert found["r1"] == pytest.approx(both / 2)
        pairs = zip(merged.embeddings, unmerged.embeddings, strict=True)
        cosines = [torch.nn.functional.cosine_similarity(a, b, dim=0).item() for a, b in pairs]
        assert found["cosine"] == pytest.approx(sum(cosines) / len(cosines), abs=1e-5)
        assert found["cosine"] < 0.99999


def test_the_unmerged_row_is_the_yardstick(result: QualityResult) -> None:
    row = result.unmerged
    assert row.measures is not None
    assert row.measures["cosine"].mean == pytest.approx(1.0, abs=1e-6)
    assert row.change is not None
    assert set(row.change.values()) == {Difference(0.0, 0.0)}
    assert row.behind_best is None
    assert row.flop_ratio == 1.0
    assert result.num_tokens == 144
    changed = result.rows[0]
    assert changed.measures is not None
    assert changed.change is not None
    assert changed.change["r1"].mean == pytest.approx(
        changed.measures["r1"].mean - row.measures["r1"].mean
    )


def test_rows_with_one_setting_share_its_figures_and_the_unreachable_have_none(
    result: QualityResult, store_file: Path
) -> None:
    first, same, dropped, unreachable = result.rows
    assert first.measures == same.measures
    assert dropped.setting == {"kind": "random dropping", "r": [20]}
    assert (unreachable.measures, unreachable.unreachable) == (None, "too few")
    assert len(store_file.read_text().splitlines()) == 3 * len(OPTIONS.seeds)  # settings, seeds


def test_a_second_run_measures_nothing_and_says_the_same(
    model: ShapesUMT, result: QualityResult, store_file: Path
) -> None:
    before = store_file.read_bytes()
    assert run_quality(model, CELLS, OPTIONS, ResultStore(store_file)) == result
    assert store_file.read_bytes() == before


def test_chance_is_drawn_anew_by_seed_and_again_the_same(model: ShapesUMT) -> None:
    state = torch.get_rng_state()
    exam = SeedExam(model, 3, "test", 6, 4)
    first, again = (exam.measure(RandomDropping((30,))) for _ in range(2))
    assert (first["outcomes"], first["cosine"]) == (again["outcomes"], again["cosine"])
    assert torch.equal(torch.get_rng_state(), state)


def test_other_weights_or_clips_are_measured_anew(model: ShapesUMT, store_file: Path) -> None:
    seen: list[str] = []
    options = replace(OPTIONS, seeds=(3,), num_clips=6)
    store = ResultStore()
    for weights in (0, 0, 1):
        run_quality(tiny_world_model(weights), [], options, store, lambda *step: seen.append(step))
    assert len(store._values) == 2
    assert seen == [("measuring", done, 1) for _ in range(2) for done in (0, 1)]
    assert SeedExam(model, 3, "test", 6, 4).fingerprint != (
        SeedExam(model, 3, "validation", 6, 4).fingerprint
    )


def test_json_keeps_everything(result: QualityResult) -> None:
    written = json.dumps(result.to_dict())
    assert json.dumps(QualityResult.from_dict(json.loads(written)).to_dict()) == written


def test_rows_are_compared_with_the_best_and_with_vid_tldr_at_their_budget(
    model: ShapesUMT,
) -> None:
    cells = [
        Cell("vid-TLDR", (0, 1), 0.5, Merging(MERGING)),
        Cell("random dropping", (0, 1), 0.5, RandomDropping((40, 30))),
        Cell("random dropping", (0, 1), 0.7, RandomDropping((20,))),
    ]
    rows = run_quality(model, cells, OPTIONS, ResultStore()).rows
    first, second, alone = rows
    assert first.over_vid_tldr is not None
    assert second.over_vid_tldr is not None
    assert set(first.over_vid_tldr.values()) == {Difference(0.0, 0.0)}
    assert alone.over_vid_tldr is None
    assert alone.behind_best is not None
    assert set(alone.behind_best.values()) == {Difference(0.0, 0.0)}
    for figure in FIGURES:
        means = [row.measures[figure].mean for row in rows[:2] if row.measures]
        gaps = [row.behind_best[figure] for row in rows[:2] if row.behind_best]
        assert min(gap.mean for gap in gaps) == pytest.approx(-abs(means[0] - means[1]), abs=1e-9)
        assert max(gap.mean for gap in gaps) == 0
        over = second.over_vid_tldr[figure]
        assert over.mean == pytest.approx(means[1] - means[0], abs=1e-9)
        assert over.standard_error == max(gap.standard_error for gap in gaps)


def test_hard_questions_are_the_same_questions_as_among_all(model: ShapesUMT) -> None:
    few, every = (SeedExam(model, 3, "test", 6, 4, questions) for questions in ("hard", "all"))
    hard, all_ = (exam.measure(Merging(MERGING))["outcomes"] for exam in (few, every))
    assert set(all_) - set(hard) == set(KINDS) - set(HARD_KINDS)
    assert {name: all_[name] for name in hard} == hard


def test_hard_labels_are_asked_for_of_single_objects_only(model: ShapesUMT) -> None:
    exam = SeedExam(model, 3, "test", 12, 4)
    asked = exam.measure(Unmerged())["outcomes"]["hard_labels"].split(" ")
    assert [len(clip) for clip in asked] == [int(row.num_objects == 1) for row in exam.rows]


@pytest.mark.slow
def test_processes_measure_the_same_and_the_store_is_theirs(
    model: ShapesUMT, tmp_path: Path
) -> None:
    options = replace(HARD, num_clips=6)
    here = run_quality(model, CELLS, options, ResultStore())
    file = tmp_path / "quality.jsonl"
    there = run_quality(model, CELLS, options, ResultStore(file), num_jobs=2)
    assert replace(there, seconds=0.0) == replace(here, seconds=0.0)
    assert len(file.read_text().splitlines()) == 3 * len(options.seeds)
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_processes_end_with_the_loop_that_waits_for_them(model: ShapesUMT) -> None:
    tasks = [(seed, RandomDropping((count,))) for seed in (3, 4) for count in range(1, 30)]
    results = measure_tasks(model, replace(HARD, num_clips=6), tasks, num_jobs=2)
    task, found = next(results)
    assert task in tasks
    assert found["seconds"].keys() == {"encode", "search", "answers"}
    results.close()  # as an interruption does
    assert not multiprocessing.active_children()


def test_a_process_that_is_killed_is_an_error_that_names_the_jobs(model: ShapesUMT) -> None:
    tasks = [(3, RandomDropping((count,))) for count in range(1, 200)]
    results = measure_tasks(model, replace(HARD, num_clips=6), tasks, num_jobs=2)
    next(results)
    multiprocessing.active_children()[0].kill()  # as the system does where memory is short
    with pytest.raises(
        ChildProcessError, match=r"`jobs` must be few enough .*, got 2, .* Lower it"
    ):
        list(results)
    assert not multiprocessing.active_children()


def test_bfloat16_is_measured_for_every_kind_of_method(model: ShapesUMT) -> None:
    half = copy.deepcopy(model).to(torch.bfloat16)
    kinds = [FewerFrames(2), LowerResolution(48), RandomDropping((20,)), Merging(MERGING)]
    cells = [Cell(str(number), None, 0.5, kind) for number, kind in enumerate(kinds)]
    options = replace(HARD, num_clips=6, seeds=(3,))
    result = run_quality(half, cells, options, ResultStore())
    cosines = [row.measures["cosine"].mean for row in result.rows if row.measures]
    assert len(cosines) == len(kinds)
    assert all(0.1 < cosine < 0.9999 for cosine in cosines)


def test_timing_gives_both_sides_of_the_same_rounds(model: ShapesUMT) -> None:
    options = replace(OPTIONS, seeds=(3,), num_clips=4, num_rounds=2)
    result = run_quality(model, CELLS[:1], options, ResultStore())
    timing = result.rows[0].timing
    assert timing is not None
    assert 0 < timing["lowest_speedup"] <= timing["speedup"] <= timing["highest_speedup"]
    assert min(timing["clips_per_second"], timing["unmerged_clips_per_second"]) > 0


def test_a_remembered_world_draws_the_clips_of_the_world_once() -> None:
    world = RememberedWorld(1, "test", 4, 96)
    clips = world.clips([4, 9])
    assert world.clips(torch.tensor([4, 9])) is clips
    assert torch.equal(clips.frames, ShapesWorld(1, "test", 4, 96).clips([4, 9]).frames)


def test_spread_is_the_sample_standard_deviation() -> None:
    found = spread([1.0, 2.0, 6.0])
    assert (found.mean, found.values) == (3.0, (1.0, 2.0, 6.0))
    assert found.std == pytest.approx(7**0.5)
    assert spread([4.0]).std == 0.0


def test_unmerged_is_one_setting() -> None:
    assert Unmerged().to_dict() == {"kind": "unmerged"}
