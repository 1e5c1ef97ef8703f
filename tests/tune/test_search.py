from dataclasses import replace
from math import hypot
from pathlib import Path
from typing import Any

import pytest
from support.tune_films import pretrained_videomae
from support.umt_sets import retrieval_model, write_tokenizer

from vidtldr.baselines.baseline import Merging, RandomDropping
from vidtldr.config import MergeConfig
from vidtldr.measure.busyness import IDLE, BusyReport
from vidtldr.measure.result_store import ResultStore
from vidtldr.measure.timing import Timing
from vidtldr.tune import finalists as finalists_module
from vidtldr.tune import search as search_module
from vidtldr.tune import timing as timing_module
from vidtldr.tune.board import Board, Guess
from vidtldr.tune.clips import TunedClip
from vidtldr.tune.plot import tuning_plot
from vidtldr.tune.result import DROPPING, PAPER, TOME, TUNED, Point, TimedPoint, TuneResult
from vidtldr.tune.search import search
from vidtldr.tune.subject import Subject, pretrained_subject, umt_subject
from vidtldr.tune.target import Target
from vidtldr.tune.trials import Outcome, Trials
from vidtldr.tune.ways import Way, flop_ratio_of


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tried") / "tried.jsonl"


@pytest.fixture(scope="module")
def result(
    subject: Subject, tuned_clips: list[TunedClip], held_out: list[TunedClip], file: Path
) -> TuneResult:
    trials = Trials(subject, tuned_clips, ResultStore(file))
    return search(trials, held_out, Target("flop-ratio", 0.7), num_rounds=2)


def test_every_score_is_tried_and_the_known_methods_stand_beside(result: TuneResult) -> None:
    names = [point.name for point in result.scores]
    assert sorted(names) == [
        "flatness",
        "no score, keys",
        "no score, ward",
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
    rivals = [p for p in result.points if p.kind == TUNED and p.flop_ratio <= 0.7]
    best = min(rivals, key=lambda point: point.drift)
    (own,) = [p for p in rivals if p.layers == (0, 1, 2) and p.config.chosen.keys() == {"r"}][:1]
    error = hypot(best.outcome.standard_error or 0, own.outcome.standard_error or 0)
    expected = best if best.drift + error < own.drift else own
    assert result.chosen.setting == expected.setting
    assert result.to_dict()["nearest"] == result.nearest.to_dict()
    assert [row.speedup for row in result.rows] == sorted(
        (row.speedup for row in result.rows), reverse=True
    )
    assert all(len(row.timing.times_ms) == 2 for row in result.rows)


@pytest.mark.parametrize(
    "leaders",
    [
        # One may turn into the other.
        [Way.of((0,), score=None), Way.of((0,), score=None, metric="keys")],
        [Way.of((0,), score="received"), Way.of((0,), score="flatness")],
    ],
)
def test_ways_that_were_varied_are_two_and_among_the_guesses(
    leaders: list[Way],
    subject: Subject,
    tuned_clips: list[TunedClip],
    held_out: list[TunedClip],
    file: Path,
    result: TuneResult,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found: list[tuple[Board, list[Way]]] = []
    timed = search_module.time_finalists

    def predicted(board: Board, *_: object) -> list[Way]:
        for way in leaders:
            board.predicted(way, 0.7)
        return leaders

    def watched(board: Board, ways: list[Way], *rest: Any) -> Any:
        found.append((board, ways))
        return timed(board, ways, *rest)

    def keys_first(_: Board, ways: list[Way], *__: Any) -> list[Way]:
        return sorted(ways, key=lambda way: way.method.metric != "keys")

    monkeypatch.setattr(search_module, "_leaders", predicted)
    monkeypatch.setattr(search_module, "time_finalists", watched)
    monkeypatch.setattr(Board, "best_first", keys_first)
    trials = Trials(subject, tuned_clips, ResultStore(file))
    search(trials, held_out, Target("flop-ratio", 0.7), num_rounds=1)
    [(board, ways)] = found
    assert len(set(ways)) == 3  # with the default
    guessed = {(guess.point.name, guess.point.layers) for guess in board.guesses()}
    assert {(way.name, way.layers) for way in ways} <= guessed


@pytest.mark.parametrize(
    ("num_clips", "few", "some"), [(1, 1, 1), (2, 2, 2), (4, 2, 3), (8, 2, 4), (16, 4, 8)]
)
def test_each_round_has_more_clips_than_the_one_before_while_there_are_more(
    num_clips: int, few: int, some: int
) -> None:
    assert search_module._num_first_round(num_clips) == few
    assert search_module._num_second_round(num_clips) == some


@pytest.mark.parametrize("best", ["tokens", "mass"])
def test_what_counts_behind_the_encoder_is_chosen_first_by_its_drift(
    best: str, subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    umt = umt_subject(retrieval_model(write_tokenizer(tmp_path)), 60.0)
    ways = [Way.of((0,)), Way.of((0,), score=None), Way.of((1,), score=None)]

    def drift(_: Board, way: Way, *__: Any) -> float:
        assert way.layers == (0,)
        return float(way.method.pooling != best)

    monkeypatch.setattr(Board, "drift", drift)
    board = Board(Trials(umt, [], ResultStore()))
    assert search_module._best_pooling(board, ways, 0.7, 1) == best
    board = Board(Trials(subject, [], ResultStore()))  # VideoMAE has no such choice
    assert search_module._best_pooling(board, ways, 0.7, 1) == "tokens"


def test_the_papers_setting_stands_beside_in_a_model_of_two_layers(
    tuned_clips: list[TunedClip],
    held_out: list[TunedClip],
) -> None:
    subject = pretrained_subject(pretrained_videomae(num_hidden_layers=2), 60.0)
    found = search(
        Trials(subject, tuned_clips[:1], ResultStore()), held_out, Target("drift", 0.5), 1
    )
    [paper] = {point.layers for point in found.points if point.kind == PAPER}
    assert paper == (0, 1)


def test_the_same_search_again_runs_nothing(
    subject: Subject,
    tuned_clips: list[TunedClip],
    held_out: list[TunedClip],
    file: Path,
    result: TuneResult,
) -> None:
    size = file.stat().st_size
    trials = Trials(subject, tuned_clips, ResultStore(file))
    again = search(trials, held_out, Target("flop-ratio", 0.7), num_rounds=2)
    assert again == replace(result, num_forwards=0)
    assert file.stat().st_size == size


def test_times_of_a_busy_machine_are_taken_again(
    subject: Subject, tuned_clips: list[TunedClip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports = [BusyReport(0.5, True), IDLE]

    def timed(runs: dict[str, object], **_: object) -> dict[str, Timing]:
        busy = reports.pop(0)
        return {name: Timing((2.0, 3.0), busy) for name in runs}

    monkeypatch.setattr(timing_module, "time_in_turn", timed)
    found = []
    for _ in range(3):  # the third reads what the second kept
        trials = Trials(subject, tuned_clips[:1], ResultStore(tmp_path / "tried.jsonl"))
        point = Board(trials).add(Way.of((0,), score="received"), 0.8)
        found.append(timing_module.time_points(trials, [point], 2)[0].busy)
    assert found == [BusyReport(0.5, True), IDLE, IDLE]


def test_times_that_are_read_again_say_when_they_were_taken(
    subject: Subject,
    tuned_clips: list[TunedClip],
    held_out: list[TunedClip],
    file: Path,
    result: TuneResult,
    tmp_path: Path,
) -> None:
    [today] = {row.timed_on for row in result.rows}
    kept = tmp_path / "tried.jsonl"
    kept.write_text(file.read_text().replace(today, "2001-02-03"))
    trials = Trials(subject, tuned_clips, ResultStore(kept))
    again = search(trials, held_out, Target("flop-ratio", 0.7), num_rounds=2)
    assert {row.timed_on for row in again.rows} == {"2001-02-03"}


def test_another_target_goes_on_from_what_is_there(
    subject: Subject,
    tuned_clips: list[TunedClip],
    held_out: list[TunedClip],
    file: Path,
    result: TuneResult,
) -> None:
    goal = 1.1 * min(point.drift for point in result.points if point.flop_ratio > 0.75)
    trials = Trials(subject, tuned_clips, ResultStore(file))
    found = search(trials, held_out, Target("drift", goal), num_rounds=1)
    assert found.chosen is not None
    assert found.chosen.drift <= goal
    assert 0 < found.num_forwards < 400


def test_a_target_out_of_reach_has_a_nearest_row(
    subject: Subject, tuned_clips: list[TunedClip], held_out: list[TunedClip], file: Path
) -> None:
    trials = Trials(subject, tuned_clips, ResultStore(file))
    with pytest.raises(ValueError, match=r"`target=flop-ratio` must be at least 0\.\d+ for this"):
        search(trials, held_out, Target("flop-ratio", 0.02), num_rounds=1)
    found = search(trials, held_out, Target("speedup", 9999), num_rounds=1)
    assert found.chosen is None
    mergings = [row for row in found.rows if isinstance(row.setting, Merging)]
    assert found.nearest == max(mergings, key=lambda row: row.speedup)


@pytest.mark.slow
@pytest.mark.parametrize("power", [0.7, 1.0, 1.3])
def test_a_speedup_is_met_closely_on_a_device_that_is_not_as_predicted(
    power: float,
    subject: Subject,
    tuned_clips: list[TunedClip],
    held_out: list[TunedClip],
    file: Path,
    result: TuneResult,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def predicted(board: Board, config: MergeConfig) -> float:
        return 1 / flop_ratio_of(board.model, Merging(config))

    calls: list[int] = []

    def timed(_: Trials, points: list[Point], __: int) -> tuple[Timing, list[TimedPoint]]:
        calls.append(len(points))
        return Timing((1.0,)), [timed_point(point, point.flop_ratio**-power) for point in points]

    monkeypatch.setattr(Board, "_speedup", predicted)
    monkeypatch.setattr(Board, "guesses", guesses_of_all)
    monkeypatch.setattr(finalists_module, "time_points", timed)
    trials = Trials(subject, tuned_clips, ResultStore(file))
    found = search(trials, held_out, Target("speedup", 1.3), num_rounds=1)
    fast = [row for row in found.rows if row.kind == TUNED and row.speedup >= 1.3]
    assert min(row.speedup for row in fast) <= 1.3 * finalists_module.LITTLE_FASTER
    assert found.chosen is not None
    assert found.chosen.drift == min(row.drift for row in fast)
    assert calls[1:] == [1] * (len(calls) - 1)
    assert len(calls) <= 1 + finalists_module.NUM_CORRECTIONS


def timed_point(point: Point, speedup: float) -> TimedPoint:
    speedups = dict.fromkeys(("median", "lowest", "highest"), speedup)
    return TimedPoint(**vars(point), timing=Timing((1 / speedup,)), speedups=speedups, timed_on="")


@pytest.mark.parametrize(
    ("speedups", "corrected"),
    [
        ({"a": 1.02, "b": 1.5}, None),  # the one of less drift is close
        ({"a": 1.5, "b": 1.02}, "a"),  # it is not, whatever the other one is
        ({"a": 0.9, "b": 1.5}, "b"),
        ({"a": 0.9, "b": 0.8}, "a"),
        ({"a": 0.5, "b": 0.8}, "b"),
    ],
)
def test_what_would_be_chosen_is_corrected(
    speedups: dict[str, float],
    corrected: str | None,
    subject: Subject,
    tuned_clips: list[TunedClip],
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ways = {"a": Way.of((0,), score=None), "b": Way.of((0,), score="received")}
    board = Board(Trials(subject, tuned_clips[:1], ResultStore(file)))
    rows = []
    for name, way in ways.items():
        point = replace(board.add(way, 0.8), outcome=Outcome(0.1 * ord(name), 0, None, 1, None))
        rows.append(timed_point(point, speedups[name]))
    asked: list[tuple[Way, float]] = []
    monkeypatch.setattr(Board, "predicted", lambda *_: 2.0)
    monkeypatch.setattr(finalists_module, "add_for_speedup", lambda _, *rest: asked.append(rest))
    finalists_module._correction(board, list(ways.values()), rows, Target("speedup", 1.0))
    if corrected is None:
        assert not asked
    else:
        needed = 2.0 / speedups[corrected] * finalists_module.CLEARLY_FASTER
        assert asked == [(ways[corrected], pytest.approx(needed))]


def guesses_of_all(board: Board) -> list[Guess]:
    return [Guess(point, 1 / point.flop_ratio) for point in board.of_kind(TUNED)]


def test_it_is_drawn(result: TuneResult, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="pip install 'vidtldr[plots]'")
    files = tuning_plot(result).write(tmp_path / "schedule.json")
    assert [file.name for file in files] == ["schedule.png", "schedule.svg"]
    text = files[1].read_text()
    assert text.count("<g id=") > 20
    assert files[0].stat().st_size > 20_000
