from dataclasses import replace
from pathlib import Path

import pytest

from vidtldr.bench.peers import Merging, RandomDropping
from vidtldr.bench.result_store import ResultStore
from vidtldr.tune.clips import TunedClip
from vidtldr.tune.plot import tuning_plot
from vidtldr.tune.result import DROPPING, PAPER, TOME, TuneResult
from vidtldr.tune.search import search
from vidtldr.tune.subject import Subject
from vidtldr.tune.target import Target
from vidtldr.tune.trials import Trials


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tried") / "tried.jsonl"


@pytest.fixture(scope="module")
def result(subject: Subject, tuned_clips: list[TunedClip], file: Path) -> TuneResult:
    trials = Trials(subject, tuned_clips, ResultStore(file))
    return search(trials, Target("flop-ratio", 0.7), num_rounds=2)


def test_every_score_is_tried_and_the_known_methods_stand_beside(result: TuneResult) -> None:
    names = [point.name for point in result.scores]
    assert sorted(names) == [
        "flatness",
        "plain merging",
        "plain merging, keys",
        "received",
        "representation-shift",
        "sharpness",
        "sharpness-per-head",
    ]
    drifts = [point.drift for point in result.scores]
    assert drifts == sorted(drifts)
    assert all(0.6 < point.flop_ratio <= 0.7 for point in result.scores)
    assert {PAPER, TOME, DROPPING} <= {row.kind for row in result.rows}
    assert any(isinstance(row.setting, RandomDropping) for row in result.rows)


def test_the_chosen_one_reaches_the_target_with_the_least_drift(result: TuneResult) -> None:
    assert result.chosen is not None
    assert result.chosen.flop_ratio <= 0.7
    assert result.chosen.config is not None
    assert sum(result.chosen.config.r or ()) > 0
    rivals = [r for r in result.rows if isinstance(r.setting, Merging) and r.flop_ratio <= 0.7]
    assert result.chosen.drift == min(row.drift for row in rivals)
    assert [row.speedup for row in result.rows] == sorted(
        (row.speedup for row in result.rows), reverse=True
    )
    assert all(len(row.timing.times_ms) == 2 for row in result.rows)


def test_the_same_search_again_runs_nothing(
    subject: Subject, tuned_clips: list[TunedClip], file: Path, result: TuneResult
) -> None:
    size = file.stat().st_size
    trials = Trials(subject, tuned_clips, ResultStore(file))
    again = search(trials, Target("flop-ratio", 0.7), num_rounds=2)
    assert again == replace(result, num_forwards=0)
    assert file.stat().st_size == size


def test_another_target_goes_on_from_what_is_there(
    subject: Subject, tuned_clips: list[TunedClip], file: Path, result: TuneResult
) -> None:
    goal = 1.1 * min(point.drift for point in result.points if point.flop_ratio > 0.75)
    trials = Trials(subject, tuned_clips, ResultStore(file))
    found = search(trials, Target("drift", goal), num_rounds=1)
    assert found.chosen is not None
    assert found.chosen.drift <= goal
    assert 0 < found.num_forwards < 400


def test_a_target_out_of_reach_has_a_nearest_row(
    subject: Subject, tuned_clips: list[TunedClip], file: Path
) -> None:
    trials = Trials(subject, tuned_clips, ResultStore(file))
    with pytest.raises(ValueError, match=r"target flop-ratio must be at least 0\.\d+ for this"):
        search(trials, Target("flop-ratio", 0.02), num_rounds=1)
    found = search(trials, Target("speedup", 9999), num_rounds=1)
    assert found.chosen is None
    mergings = [row for row in found.rows if isinstance(row.setting, Merging)]
    assert found.nearest == max(mergings, key=lambda row: row.speedup)


def test_it_is_drawn(result: TuneResult, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="pip install 'vidtldr[plots]'")
    files = tuning_plot(result).write(tmp_path / "schedule.json")
    assert [file.name for file in files] == ["schedule.png", "schedule.svg"]
    text = files[1].read_text()
    assert text.count("<g id=") > 20
    assert files[0].stat().st_size > 20_000
