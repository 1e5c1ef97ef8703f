"""`--score`, `--protect`, `--spare-norms`, `--metric` and so on together with an amount."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from support.outcomes import one_error_line, rows

from vidtldr.bundled import bundled_merge
from vidtldr.cli.merge_options import MergeOptions
from vidtldr.cli.model_options import ModelOptions
from vidtldr.config import MergeConfig

Run = Callable[..., Result]
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    ("typed", "fields"),
    [
        ({}, {}),
        ({"score": "sharpness"}, {"score": "sharpness", "linkage": "cosine"}),
        ({"score": "none", "metric": "keys"}, {"metric": "keys", "linkage": "cosine"}),
        ({"linkage": "cosine"}, {"linkage": "cosine"}),
        (
            {"score": "sharpness", "linkage": "ward", "protect": 0.3},
            {"score": "sharpness", "linkage": "ward", "protect": 0.3, "weighting": "mass"},
        ),
        ({"spare_norms": 4}, {"spare_norms": 4.0, "linkage": "ward"}),
        ({"pooling": "mass"}, {"pooling": "mass", "linkage": "ward"}),
    ],
)
def test_typed_choices_are_fields_and_the_others_follow(
    typed: dict[str, Any], fields: dict[str, Any]
) -> None:
    found = MergeOptions(flop_ratio=0.6, **typed).parse(None)
    assert found == MergeConfig(flop_ratio=0.6, **fields)


def test_choices_over_a_file_or_a_preset_follow_what_is_typed(tmp_path: Path) -> None:
    file = tmp_path / "schedule.json"
    file.write_text('{"r": [9, 5], "score": "received", "weighting": "mask"}')
    kept = MergeOptions(schedule=str(file), linkage="ward").parse(None)
    assert kept == MergeConfig(r=[9, 5], score="received", linkage="ward", weighting="mask")
    protected = MergeOptions(schedule=str(file), protect=0.5).parse(None)
    assert protected == MergeConfig(r=[9, 5], score="received", protect=0.5)
    spared = MergeOptions(schedule=str(file), spare_norms=4).parse(None)
    assert spared == MergeConfig(r=[9, 5], score="received", weighting="mask", spare_norms=4)
    plain = MergeOptions(schedule=str(file), score="none").parse(None)
    assert plain is not None
    assert (plain.r, plain.score, plain.linkage) == ((9, 5), None, "ward")
    preset = MergeOptions(preset="umt-b16/msrvtt-qa", score="none").parse(None)
    assert preset is not None
    assert (preset.preset, preset.score, preset.linkage) == ("umt-b16/msrvtt-qa", None, "ward")


def test_the_bundled_model_merges_by_the_default_unless_a_score_is_typed() -> None:
    assert MergeOptions().parse(ModelOptions()) == bundled_merge()
    assert (bundled_merge().score, bundled_merge().linkage) == (None, "ward")
    paper = MergeOptions(score="sharpness").parse(ModelOptions())
    assert paper == MergeConfig(r=bundled_merge().r, score="sharpness", pooling="mass")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--linkage", "mean"], "--linkage must be ward or cosine, got 'mean'. Choose one."),
        (["--protect", "-1"], "--protect must be in [0, 100] (standard deviations), got -1.0. Wri"),
        (
            ["--protect", "0.3"],
            "--protect must come with a --score, got 0.3 and none. Pass --score",
        ),
        (["--protect", "much"], "--protect must be a number, got 'much'. Write --protect 0.3."),
        (["--protect", "1e9"], "--protect must be in [0, 100] (standard deviations), got 1000000"),
        (
            ["--spare-norms", "1"],
            "--spare-norms must be above 1 (times the median norm), got 1.0. W",
        ),
        (
            ["--spare-norms", "nan"],
            "--spare-norms must be above 1 (times the median norm), got nan.",
        ),
        (
            ["--spare-norms", "all"],
            "--spare-norms must be a number, got 'all'. Write --spare-norms 4",
        ),
        (["--score", "saliency"], "or none, got 'saliency'. Choose one."),
    ],
)
def test_choices_that_cannot_be_are_one_line(
    run: Run, video: str, model: str, flags: list[str], words: str
) -> None:
    assert words in one_error_line(run("classify", video, "--model", model, "--r", "9", *flags))


@pytest.mark.parametrize(
    "flags", [["--protect", "0.3"], ["--spare-norms", "4"], ["--linkage", "ward"]]
)
def test_choices_need_an_amount(run: Run, video: str, model: str, flags: list[str]) -> None:
    line = one_error_line(run("classify", video, "--model", model, *flags))
    assert f"{flags[0]} must come with an amount to merge, got none" in line


def test_linkage_protection_and_sparing_change_what_is_computed(
    run: Run, video: str, model: str
) -> None:
    found = []
    for flags in (
        ["--score", "sharpness"],
        ["--score", "sharpness", "--protect", "5"],
        ["--score", "none"],
        ["--score", "none", "--spare-norms", "1.02"],
        ["--score", "none", "--linkage", "cosine"],
    ):
        merge = ("--r", "16,8,4", "--json")
        [row] = rows(run("classify", video, "--model", model, *merge, *flags))
        assert row["num_tokens"] == [32, 24, 20, 20]
        found.append(str(row["labels"]))
    assert len(set(found)) == 5
