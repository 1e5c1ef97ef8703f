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

Lines = list[dict[str, Any]]
Search = Callable[[Lines], TuneResult]
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


@pytest.fixture
def lines(result: TuneResult, store: WatchedStore) -> Lines:
    """What the search left in its file."""
    assert store.file is not None
    return read(store.file)


@pytest.fixture
def search_again(
    subject: Subject, tuned_clips: list[TunedClip], held_out: list[TunedClip], tmp_path: Path
) -> Search:
    """Search with these lines in `tried.jsonl` of the temporary directory."""

    def search_with(lines: Lines) -> TuneResult:
        file = tmp_path / "tried.jsonl"
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
        trials = Trials(subject, tuned_clips, ResultStore(file))
        return search(trials, held_out, TARGET, num_rounds=1)

    return search_with


@pytest.fixture
def hidden(held_out: list[TunedClip]) -> set[str]:
    return {clip.sha256 for clip in held_out}


def read(file: Path) -> Lines:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_no_held_out_clip_is_run_before_everything_is_chosen(
    result: TuneResult, hidden: set[str], store: WatchedStore
) -> None:
    is_hidden = [key.get("clip") in hidden for key in store.asked]
    first = is_hidden.index(True)
    assert all(is_hidden[first:])
    assert "timed" in store.asked[first - 1]
    assert len(is_hidden) - first == 2 * len({point.setting for point in result.points})


def test_whatever_held_out_clips_say_changes_only_what_is_reported(
    result: TuneResult, lines: Lines, hidden: set[str], search_again: Search
) -> None:
    for line in lines:
        if line["key"].get("clip") in hidden:
            line["value"]["drift"] = 1 - line["value"]["drift"]
    other = search_again(lines)
    assert other.num_forwards == 0
    assert blind(other) == blind(result)
    assert other.chosen is not None
    assert result.chosen is not None
    assert other.chosen.measured.mean == pytest.approx(1 - result.chosen.measured.mean)
    assert other.is_met_on_held_out is False


def blind(result: TuneResult) -> TuneResult:
    """The result without what was measured on the clips held out."""

    def without(points: Any) -> Any:
        return tuple(point and replace(point, held_out=None) for point in points)

    chosen, nearest = without([result.chosen, result.nearest])
    several = {name: without(getattr(result, name)) for name in ("scores", "points", "rows")}
    return replace(result, **several, chosen=chosen, nearest=nearest, num_forwards=0)


def test_every_figure_comes_with_those_of_both_kinds_of_clips(
    subject: Subject, held_out: list[TunedClip], result: TuneResult
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
    measured = schedule.measured or {}
    assert measured["drift"]["mean"] == anew.mean
    assert measured["drift_on"] == "clips held out from the search"
    assert measured["search_drift"]["mean"] == result.chosen.drift
    assert measured["num_held_out_clips"] == 2


def test_a_search_that_was_stopped_on_the_held_out_clips_runs_only_the_rest(
    result: TuneResult, lines: Lines, search_again: Search
) -> None:
    assert search_again(lines[:-3]) == replace(result, num_forwards=3)


def test_results_of_an_older_version_are_left_alone(
    result: TuneResult, lines: Lines, search_again: Search, tmp_path: Path
) -> None:
    old = [line for line in lines if "setting" in line["key"]]
    for line in old:  # another version of the code is another context
        line["key"]["context"], line["value"] = "0" * 32, {"drift": 0.0, "kept": None}
    times = [line for line in lines if "setting" not in line["key"]]
    assert search_again([*old, *times]) == result
    assert read(tmp_path / "tried.jsonl")[: len(old)] == old


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
    moved = replace(found.chosen, held_out=replace(found.chosen.measured, mean=0.016))
    missed = replace(found, chosen=moved)
    assert found.is_met_on_held_out is True
    assert missed.is_met_on_held_out is False
    assert missed.to_dict()["is_met_on_held_out"] is False
    for other in (replace(found, chosen=None), replace(found, target=Target("speedup", 1.5))):
        assert other.is_met_on_held_out is None
