"""Without --model every command takes the model in the package, and says so."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from support.outcomes import one_error_line, rows
from support.umt_files import UMTFiles

from vidtldr.bundled import BUNDLED, bundled_merge
from vidtldr.config import MergeConfig
from vidtldr.models.umt import load_umt
from vidtldr.shapes.export import export_clips
from vidtldr.shapes.language import ANSWERS, LABELS
from vidtldr.shapes.world import ShapesWorld
from vidtldr.store.settings import SETTINGS_FILE
from vidtldr.tasks.clip_reader import umt_reader
from vidtldr.tasks.search import search_videos
from vidtldr.tasks.video_features import VideoEncoding

Run = Callable[..., Result]
NOTE = "bundled shapes model: it knows coloured shapes, not your world\n"
TEXT = "a small red star moves left"
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("bundled") / "clips"
    export_clips(directory, ShapesWorld(1, "test"), 3)
    return directory


@pytest.fixture(scope="module")
def videos(folder: Path) -> list[str]:
    return [str(file) for file in sorted(folder.glob("*.mp4"))]


@pytest.mark.parametrize("flags", [[], ["--preset", "shapes"], ["--flop-ratio", "1"]])
def test_search_merges_by_the_preset_unless_told_otherwise(
    run: Run, videos: list[str], flags: list[str]
) -> None:
    result = run("search", TEXT, *videos, "--json", *flags)
    assert result.exit_code == 0, result.output
    assert result.stderr == NOTE
    model = load_umt(BUNDLED)
    merge = None if "--flop-ratio" in flags else bundled_merge()
    encoding = VideoEncoding(model, umt_reader(model.config), merge)
    expected = search_videos(encoding, TEXT, videos, rerank=128)
    for row, hit in zip(rows(result), expected, strict=True):
        assert (row["video"], row["rank"]) == (hit.path, hit.rank)
        assert row["score"] == pytest.approx(hit.score, abs=1e-5)


def test_ask_brings_its_answers(run: Run, videos: list[str]) -> None:
    result = run("ask", videos[0], "what color is the star", "--json", "--top", 40)
    assert result.exit_code == 0, result.output
    assert result.stderr == NOTE
    [row] = rows(result)
    assert {answer["answer"] for answer in row["answers"]} == set(ANSWERS)
    [row] = rows(run("ask", videos[0], "what color is it", "--json", "--answers", "red,blue"))
    assert {answer["answer"] for answer in row["answers"]} == {"red", "blue"}


def test_classify_brings_its_labels(run: Run, videos: list[str]) -> None:
    flags = ("--json", "--top", 64, "--preset", "shapes", "--compare", "--rounds", 1)
    result = run("classify", videos[0], *flags)
    assert result.exit_code == 0, result.output
    assert result.stderr == NOTE
    [row] = rows(result)
    assert {label["label"] for label in row["labels"]} == set(LABELS)
    assert row["merged"]["num_tokens"][-1] < row["unmerged"]["num_tokens"][-1] == 512
    [row] = rows(run("classify", videos[0], "--json", "--labels", "red oval,blue star"))
    assert {label["label"] for label in row["labels"]} == {"red oval", "blue star"}


def test_embed_says_in_the_file_which_model_it_was(
    run: Run, videos: list[str], tmp_path: Path
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    result = run("embed", *videos, "-o", tmp_path / "vectors.parquet")
    assert result.exit_code == 0, result.output
    assert result.stderr == NOTE
    schema = parquet.read_schema(tmp_path / "vectors.parquet")
    assert b"bundled shapes model" in schema.metadata.values()


def test_evaluate_takes_it_too(run: Run, folder: Path) -> None:
    annotations = ("--annotations", folder / "retrieval.json", "--videos", folder)
    result = run("evaluate", "retrieval", *annotations, "--protocol", "msrvtt", "--json")
    assert result.exit_code == 0, result.output
    assert result.stderr == NOTE
    assert rows(result)[0]["run"]["model"] == load_umt(BUNDLED).config.to_dict()


def test_a_named_model_is_not_announced(run: Run, umt: UMTFiles, videos: list[str]) -> None:
    unmerged = "note: nothing is merged; --flop-ratio 0.6 would save 40 % of the FLOPs\n"
    assert run("search", TEXT, videos[0], *umt.flags).stderr == unmerged
    named = ("--model", f"umt:{BUNDLED}", "--preset", "umt-b16/msrvtt-retrieval")
    assert NOTE not in run("search", TEXT, videos[0], *named).stderr


def test_every_command_merges_by_the_preset(
    run: Run, folder: Path, videos: list[str], tmp_path: Path
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    preset = json.loads(json.dumps(bundled_merge().to_dict()))
    assert run("embed", videos[0], "-o", tmp_path / "a.parquet").exit_code == 0
    about = parquet.read_schema(tmp_path / "a.parquet").metadata
    assert json.loads(about[b"merge"]) == preset
    [row] = rows(run("classify", videos[0], "--json"))
    [compared] = rows(run("classify", videos[0], "--json", "--compare", "--rounds", 1))
    assert (
        row["num_tokens"] == compared["merged"]["num_tokens"] != compared["unmerged"]["num_tokens"]
    )
    asked = ("ask", videos[0], "what color is it", "--answers", "red,blue", "--json")
    assert rows(run(*asked)) == rows(run(*asked, "--preset", "shapes"))
    annotations = ("--annotations", folder / "retrieval.json", "--videos", folder)
    evaluated = run("evaluate", "retrieval", *annotations, "--protocol", "msrvtt", "--json")
    assert rows(evaluated)[0]["run"]["schedule"]["r"] == preset["r"]


@pytest.mark.slow
def test_an_index_of_it_says_so_once(run: Run, folder: Path, videos: list[str]) -> None:
    into = folder.parent / "my.index"
    result = run("index", "add", folder, "--index", into, "--workers", 1, "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert result.stderr == NOTE
    settings = json.loads((into / SETTINGS_FILE).read_text())
    assert MergeConfig.from_dict(settings["options"]["merge"]) == bundled_merge()
    for query in ([TEXT], ["--like", videos[0]]):
        assert run("search", *query, "--index", into).stderr == NOTE


def test_its_preset_is_for_no_other_model(run: Run, umt: UMTFiles, videos: list[str]) -> None:
    line = one_error_line(run("search", TEXT, videos[0], *umt.flags, "--preset", "shapes"))
    assert "--preset shapes must be used with the bundled model, got --model umt:" in line
    result = run("search", TEXT, videos[0], "--preset", "umt-b16/msrvtt-retrieval")
    assert result.exit_code == 2
    assert "must be used on 12 layers, got a model of 6" in result.stderr


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("score", ("sharpness", "none")),
        ("metric", ("x", "keys")),
        ("linkage", ("ward", "cosine")),
        ("pooling", ("tokens", "mass")),
    ],
)
def test_choices_beside_a_preset_replace_its_own(
    run: Run, videos: list[str], name: str, values: tuple[str, str]
) -> None:
    own = getattr(bundled_merge(), name) or "none"
    other = next(value for value in values if value != own)
    flags = ("search", TEXT, videos[0], "--preset", "shapes", "--json")
    shown, same, changed = (
        rows(run(*flags, *more))[0]["score"]
        for more in ((), (f"--{name}", own), (f"--{name}", other))
    )
    assert shown == same != changed


def test_pooling_by_mass_comes_from_a_file_too_and_reaches_the_fusion(
    run: Run, videos: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "schedule.json"
    file.write_text('{"r": [200, 80], "pooling": "mass"}')
    typed = ("--r", "200,80", "--score", "none", "--pooling", "mass")
    search, flags = ("search", TEXT, videos[0]), ("--rerank", "1", "--json")
    [found] = rows(run(*search, *flags, "--schedule", file))
    assert [found] == rows(run(*search, *flags, *typed))
    [alike] = rows(run(*search, *flags, "--schedule", file, "--pooling", "tokens"))
    assert abs(found["match_score"] - alike["match_score"]) > 1e-3


def test_labels_and_answers_are_still_needed_for_other_models(
    run: Run, umt: UMTFiles, videos: list[str]
) -> None:
    line = one_error_line(run("ask", videos[0], "what is it", *umt.answering_flags))
    assert "--answers must be given with --model umt:CHECKPOINT, got none" in line
    line = one_error_line(run("classify", videos[0], *umt.flags))
    assert "--labels must be given with --model umt:CHECKPOINT" in line


@pytest.mark.slow
def test_it_needs_no_network_and_no_cache_of_models(videos: list[str], tmp_path: Path) -> None:
    """In a process whose hub is nowhere and whose home is empty."""
    nowhere = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "HOME": str(tmp_path)}
    environment = os.environ | nowhere
    command = [sys.executable, "-m", "vidtldr", "search", TEXT, videos[0], "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(NOTE)  # on a slow machine lines of progress follow


def test_answers_for_a_video_of_another_world_are_marked_in_their_rows(
    run: Run, video: str, videos: list[str], tmp_path: Path
) -> None:
    for command in (
        ("classify", video, videos[0]),
        ("search", TEXT, video, videos[0]),
        ("embed", video, videos[0], "-o", tmp_path / "a.parquet"),
    ):
        notes = {row["video"]: row["notes"] for row in rows(run(*command, "--json"))}
        assert notes[videos[0]] == []
        [note] = notes[video]
        assert note.endswith("what it says of this video is meaningless")
    assert "is meaningless" in " ".join(run("ask", video, "what color is it").stdout.split())


@pytest.mark.slow
def test_rows_of_an_index_keep_the_mark(run: Run, video: str, tmp_path: Path) -> None:
    into = tmp_path / "my.index"
    assert run("index", "add", video, "--index", into, "--workers", 1).exit_code == 0
    [row] = rows(run("search", TEXT, "--index", into, "--json"))
    assert row["notes"][0].endswith("is meaningless")
