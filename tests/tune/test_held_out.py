import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.made_up_tuning import made_up_tuning

from vidtldr.measure.result_store import ResultStore
from vidtldr.tune.clips import TunedClip
from vidtldr.tune.result import TuneResult
from vidtldr.tune.search import search
from vidtldr.tune.subject import Subject
from vidtldr.tune.target import Target
from vidtldr.tune.trials import Trials

TARGET = Target("drift", 0.05)


class WatchedStore(ResultStore):
    """Remembers in which order results were asked for."""

    def __init__(self, file: Path) -> None:
        super().__init__(file)
        self.asked: list[Mapping[str, Any]] = []

    def get(self, key: Mapping[str, Any], *rest: Callable[..., Any]) -> Any:
        self.asked.append(key)
        return super().get(key, *rest)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> WatchedStore:
    return WatchedStore(tmp_path_factory.mktemp("held-out") / "tried.jsonl")


@pytest.fixture(scope="module")
def result(
    subject: Subject, tuned_clips: list[TunedClip], held_out: list[TunedClip], store: WatchedStore
) -> TuneResult:
    return search(Trials(subject, tuned_clips, store), held_out, TARGET, num_rounds=1)


def lines_of(store: ResultStore) -> list[dict[str, Any]]:
    assert store.file is not None
    return [json.loads(line) for line in store.file.read_text().splitlines()]


def write(file: Path, lines: list[dict[str, Any]]) -> ResultStore:
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return ResultStore(file)


def test_no_held_out_clip_is_run_before_everything_is_chosen(
    result: TuneResult, held_out: list[TunedClip], store: WatchedStore
) -> None:
    hidden = {clip.sha256 for clip in held_out}
    is_hidden = [key.get("clip") in hidden for key in store.asked]
    first = is_hidden.index(True)
    assert all(is_hidden[first:])
    assert "timed" in store.asked[first - 1]
    assert len(is_hidden) - first == 2 * len({point.setting for point in result.points})


def test_whatever_held_out_clips_say_changes_only_what_is_reported(
    subject: Subject,
    tuned_clips: list[TunedClip],
    held_out: list[TunedClip],
    result: TuneResult,
    store: WatchedStore,
    tmp_path: Path,
) -> None:
    hidden = {clip.sha256 for clip in held_out}
    lines = lines_of(store)
    for line in lines:
        if line["key"].get("clip") in hidden:
            line["value"]["drift"] = 1 - line["value"]["drift"]
    trials = Trials(subject, tuned_clips, write(tmp_path / "tried.jsonl", lines))
    other = search(trials, held_out, TARGET, num_rounds=1)
    assert other.num_forwards == 0
    assert blind(other) == blind(result)
    assert other.chosen is not None
    assert result.chosen is not None
    assert other.chosen.measured.mean == pytest.approx(1 - result.chosen.measured.mean)
    assert other.is_met_on_held_out is False


def blind(result: TuneResult) -> TuneResult:
    """The result without what was measured on the clips held out."""

    def without(points: Any) -> Any:
        return tuple(replace(point, held_out=None) for point in points)

    [nearest] = without([result.nearest])
    chosen = None if result.chosen is None else without([result.chosen])[0]
    return replace(
        result,
        scores=without(result.scores),
        points=without(result.points),
        rows=without(result.rows),
        chosen=chosen,
        nearest=nearest,
        num_forwards=0,
    )


def test_every_figure_comes_with_those_of_both_kinds_of_clips(
    subject: Subject, held_out: list[TunedClip], result: TuneResult, store: WatchedStore
) -> None:
    report = result.to_dict()
    for row in [*report["points"], *report["rows"], *report["scores"], report["chosen"]]:
        assert row["drift"]["num_clips"] == 2
        assert row["search_drift"]["num_clips"] == 3
        assert row["drift"]["standard_error"] > 0
    assert [report[f"num_{name}clips"] for name in ("", "search_", "held_out_")] == [5, 3, 2]
    assert result.chosen is not None
    anew = Trials(subject, held_out, ResultStore()).run(result.chosen.setting, 2)
    assert result.chosen.measured == anew
    schedule = result.schedule({})
    assert schedule is not None
    assert schedule.measured is not None
    assert schedule.measured["drift"]["mean"] == anew.mean
    assert schedule.measured["drift_on"] == "clips held out from the search"
    assert schedule.measured["search_drift"]["mean"] == result.chosen.drift
    assert schedule.measured["num_held_out_clips"] == 2


def test_a_search_that_was_stopped_on_the_held_out_clips_runs_only_the_rest(
    subject: Subject,
    tuned_clips: list[TunedClip],
    held_out: list[TunedClip],
    result: TuneResult,
    store: WatchedStore,
    tmp_path: Path,
) -> None:
    rest = write(tmp_path / "tried.jsonl", lines_of(store)[:-3])
    again = search(Trials(subject, tuned_clips, rest), held_out, TARGET, num_rounds=1)
    assert again == replace(result, num_forwards=3)


def test_results_of_an_older_version_are_left_alone(
    subject: Subject,
    tuned_clips: list[TunedClip],
    held_out: list[TunedClip],
    result: TuneResult,
    store: WatchedStore,
    tmp_path: Path,
) -> None:
    lines = lines_of(store)
    old = [line for line in lines if "setting" in line["key"]]
    for line in old:  # another version of the code is another context
        line["key"]["context"], line["value"] = "0" * 32, {"drift": 0.0, "kept": None}
    times = [line for line in lines if "setting" not in line["key"]]
    mixed = write(tmp_path / "tried.jsonl", [*old, *times])
    again = search(Trials(subject, tuned_clips, mixed), held_out, TARGET, num_rounds=1)
    assert again == result
    assert lines_of(mixed)[: len(old)] == old


def test_clips_of_the_search_cannot_be_held_out(
    subject: Subject, tuned_clips: list[TunedClip], held_out: list[TunedClip]
) -> None:
    trials = Trials(subject, tuned_clips, ResultStore())
    with pytest.raises(ValueError, match="`held_out` must hold clips that are not searched on, go"):
        search(trials, [*held_out, tuned_clips[1]], TARGET, num_rounds=1)
    with pytest.raises(ValueError, match=r"got none\. Use split_clips"):
        search(trials, [], TARGET, num_rounds=1)
    assert trials.num_forwards == 0


def test_only_a_target_for_drift_can_be_missed_on_other_clips() -> None:
    found = made_up_tuning()
    assert found.chosen is not None
    assert found.is_met_on_held_out is True
    moved = replace(found.chosen, held_out=replace(found.chosen.measured, mean=0.016))
    assert replace(found, chosen=moved).is_met_on_held_out is False
    assert replace(found, chosen=moved).to_dict()["is_met_on_held_out"] is False
    assert replace(found, chosen=None).is_met_on_held_out is None
    assert replace(found, target=Target("speedup", 1.5)).is_met_on_held_out is None
