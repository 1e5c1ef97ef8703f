import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import Result
from support.outcomes import one_error_line, rows
from support.umt_files import UMTFiles
from support.umt_sets import VideoSet
from torch import Tensor

from vidtldr.config import MergeConfig
from vidtldr.evaluate.classification import evaluate_classification
from vidtldr.evaluate.protocols import CLASSIFICATION
from vidtldr.evaluate.view_classifier import ViewClassifier
from vidtldr.tasks.fingerprint import file_sha256
from vidtldr.tasks.load import load_classifier
from vidtldr.tasks.model_spec import ModelSpec

Run = Callable[..., Result]
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def annotations(films: VideoSet, tmp_path: Path) -> Path:
    """Five films and a broken one, in the lines of a Kinetics list."""
    path = tmp_path / "list.csv"
    path.write_text("".join(f"{name} {i % 7}\n" for i, name in enumerate(films.names)))
    return path


@pytest.fixture
def flags(films: VideoSet, annotations: Path, model: str) -> list[str]:
    return [f"--annotations={annotations}", f"--videos={films.directory}", f"--model={model}"]


def test_the_command_gives_what_the_function_gives(
    run: Run, films: VideoSet, annotations: Path, model: str, flags: list[str]
) -> None:
    result = run("evaluate", "classification", *flags, "--protocol=kinetics", "--r=9,5", "--json")
    assert result.exit_code == 1
    assert result.stderr == ""
    [found] = rows(result)
    expected = evaluate_classification(
        load_classifier(ModelSpec(model)),
        annotations,
        films.directory,
        protocol=CLASSIFICATION["kinetics"],
        merge=MergeConfig(r=[9, 5]),
    )
    expected = json.loads(json.dumps(expected.to_dict()))
    for name in set(expected) - {"run"}:
        assert found[name] == expected[name], name
    assert set(found["run"]) == set(expected["run"])
    assert found["run"]["schedule"]["r"] == found["run"]["r"] == [9, 5]
    weights = found["run"]["files"]["weights"]
    assert weights == {"path": model, "sha256": file_sha256(f"{model}/model.safetensors")}
    [failed] = found["run"]["failed_videos"]
    assert failed["path"].endswith(films.broken)


@pytest.mark.parametrize("columns", ["60", "120"])
def test_compare_shows_both_sides_and_writes_the_result(
    run: Run,
    flags: list[str],
    tmp_path: Path,
    columns: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    output = tmp_path / "result.json"
    more = ["--protocol=ssv2", "--r=9,5", "--compare", "--cache", tmp_path / "cache", "-o", output]
    result = run("evaluate", "classification", *flags, *more)
    assert result.exit_code == 1
    assert result.stderr == f"wrote {output}\n"
    written = json.loads(output.read_text())
    text = " ".join(result.stdout.split())
    for words in (
        "ssv2: 6 videos, 7 labels, 2 segments x 3 crops, probabilities averaged; merged by r 9,5",
        f"top-1 {written['unmerged']['top1']:.1f} {written['merged']['top1']:.1f}",
        f"top-5 {written['unmerged']['top5']:.1f} {written['merged']['top5']:.1f}",
        "videos classified 5 5",
        "views per video 6 6",
        "videos from the cache 0 0",
        "GFLOPs of the whole model; 1 MAC = 2 FLOPs.",
        f"FLOPs {written['flops_ratio']:.2f}x fewer",
        f"the same answer for {written['agreement']:.1f} % of the videos",
        "1 of 6 videos failed, which are left out:",
    ):
        assert words in text
    assert max(map(len, result.stdout.splitlines())) <= int(columns)
    again = run("evaluate", "classification", *flags, *more)
    assert "videos from the cache 5 5" in " ".join(again.stdout.split())
    after = json.loads(output.read_text())
    for side in ("unmerged", "merged"):
        assert after[side]["predictions"] == written[side]["predictions"]


def test_sides_that_fail_on_other_videos_are_told_apart(
    run: Run, flags: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    compute = ViewClassifier.logits

    def overflowing(self: ViewClassifier, pixel_values: Tensor) -> Tensor:
        logits = compute(self, pixel_values)
        return logits if self.merge is None else logits * torch.inf

    monkeypatch.setattr(ViewClassifier, "logits", overflowing)
    result = run("evaluate", "classification", *flags, "--compare", "--r=9")
    assert result.exit_code == 1
    text = " ".join(result.stdout.split())
    assert "videos classified 5 0" in text
    assert "note: not the same videos failed on both sides" in text
    assert "6 of 6 videos failed, which are left out:" in text


def test_all_videos_good_is_exit_code_0(
    run: Run, films: VideoSet, model: str, tmp_path: Path
) -> None:
    path = tmp_path / "list.json"
    path.write_text(json.dumps([{"video": films.good[0], "label": "label 3"}]))
    flags = [f"--annotations={path}", f"--videos={films.directory}", f"--model={model}", "--json"]
    result = run("evaluate", "classification", *flags, "--autocast=bfloat16", "--batch=4")
    assert result.exit_code == 0, result.output
    [found] = rows(result)
    assert found["predictions"][0]["label"] == "label 3"
    assert found["run"]["protocol"]["name"] == "single"
    assert found["run"]["autocast"] == "bfloat16"
    numbers = ["--segments=3", "--crops=2", "--stride=2", "--average=logits"]
    [found] = rows(run("evaluate", "classification", *flags, "--protocol=kinetics", *numbers))
    assert found["run"]["protocol"] == {
        "name": "kinetics",
        "num_segments": 3,
        "num_crops": 2,
        "policy": "dense",
        "stride": 2,
        "average": "logits",
    }
    assert found["num_views"] == 6


def test_no_video_that_can_be_read(run: Run, films: VideoSet, model: str, tmp_path: Path) -> None:
    path, output = tmp_path / "list.txt", tmp_path / "keep.json"
    path.write_text(f"{films.broken} 3\n")
    output.write_text("a good result")
    flags = [f"--annotations={path}", f"--videos={films.directory}", f"--model={model}"]
    result = run("evaluate", "classification", *flags, "-o", output, "--compare", "--r=9")
    assert result.exit_code == 1, result.output
    assert "keep.json is not written: no video could be read" in result.stderr
    assert output.read_text() == "a good result"
    assert "top-1 none none" in " ".join(result.stdout.split())
    assert "same answer" not in result.stdout


def test_labels_of_a_split_are_a_file(
    run: Run, umt: UMTFiles, films: VideoSet, annotations: Path, tmp_path: Path
) -> None:
    """A split from base to novel classes: a list of its labels, and one of its videos."""
    labels = tmp_path / "novel_labels.csv"
    labels.write_text("id,name\n0,dog\n1,red street\n")
    split = tmp_path / "novel_val.txt"
    split.write_text(f"{films.good[0]} 1\n{films.good[1]} 0\n")
    flags = [f"--annotations={split}", f"--videos={films.directory}", *umt.flags, "--json"]
    result = run("evaluate", "classification", *flags, f"--labels={labels}", "--r=20,8")
    assert result.exit_code == 0, result.output
    [found] = rows(result)
    assert [each["label"] for each in found["predictions"]] == ["red street", "dog"]
    assert found["num_labels"] == 2
    assert found["run"]["files"]["weights"]["sha256"] == file_sha256(umt.retrieval)
    line = one_error_line(run("evaluate", "classification", *flags))
    assert "--labels must be given with --model umt:CHECKPOINT" in line


def test_the_bundled_model_has_its_own_labels(run: Run, films: VideoSet, tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text(f"video,label\n{films.good[0]},oval that moves\n")
    flags = [f"--annotations={path}", f"--videos={films.directory}", "--json"]
    result = run("evaluate", "classification", *flags)
    assert result.exit_code == 0, result.output
    [found] = rows(result)
    assert found["num_labels"] == 64
    assert found["run"]["schedule"] is not None
    [note] = found["run"]["video_notes"]
    assert "knows" in note["text"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--protocol", "k400"], "--protocol must be one of single, kinetics, ssv2, got 'k400'"),
        (["--segments", "5"], "--segments must come with --protocol kinetics or --protocol ssv2"),
        (["--protocol", "ssv2", "--stride", "2"], "--stride must come with --protocol kinetics"),
        (["--protocol", "ssv2", "--crops", "0"], "--crops must be at least 1, got 0"),
        (["--average", "scores"], "--average must be one of probabilities, logits"),
        (["--labels", "a,b"], "list.csv, line 3: label must be an index in [0, 2)"),
        (["--labels", "a,b,c,d,e,f"], "labels must be 7 names, one per class"),
        (["--arch", "b16"], "--arch must come with --model umt:CHECKPOINT"),
        (["--model", "nowhere/to/be"], "--model must be an existing directory"),
        (["--videos", "nowhere"], "videos must be a directory, got 'nowhere'"),
        (["--annotations", "nowhere.txt"], "nowhere.txt"),
        (["--output", "nowhere/result.json"], "--output must be in an existing"),
        (["--autocast", "float16", "--device", "cpu"], "--autocast must be none or bfloat16"),
        (["--cache", __file__], "--cache must be a directory, got the file"),
        (["--r", "25"], "r[0] must be in [0, 24]"),
        (["--flop-ratio", "0.01"], "--flop-ratio must be at least 0."),
    ],
)
def test_what_cannot_be_is_one_line_and_exit_code_2(
    run: Run, flags: list[str], options: list[str], message: str
) -> None:
    assert message in one_error_line(run("evaluate", "classification", *flags, *options))


def test_hostile_names_are_printed_safely(
    run: Run, films: VideoSet, model: str, tmp_path: Path
) -> None:
    evil = "\x1b[2J[red]`r`\u202e.mp4"
    path = tmp_path / "list.json"
    path.write_text(json.dumps([{"video": films.good[0], "label": 1}, {"video": evil, "label": 2}]))
    flags = [f"--annotations={path}", f"--videos={films.directory}", f"--model={model}"]
    result = run("evaluate", "classification", *flags)
    assert result.exit_code == 1, result.output
    assert not {"\x1b", "\u202e"} & set(result.stdout)
    assert "[red]" in result.stdout
    path.write_text(json.dumps([{"video": films.good[0], "label": evil}]))
    line = one_error_line(run("evaluate", "classification", *flags))
    assert not {"\x1b", "\u202e"} & set(line)


def test_no_output_overwrites_the_list(run: Run, flags: list[str], annotations: Path) -> None:
    before = annotations.read_text()
    same = annotations.with_suffix(".json")
    same.symlink_to(annotations)
    result = run("evaluate", "classification", *flags, "-o", same)
    assert "--output must not overwrite an input" in one_error_line(result)
    assert annotations.read_text() == before


@pytest.mark.slow
def test_a_killed_evaluation_goes_on_and_gives_the_same(
    run: Run, films: VideoSet, model: str, tmp_path: Path
) -> None:
    videos, cache, num_videos = tmp_path / "videos", tmp_path / "cache", 20
    videos.mkdir()
    for number in range(num_videos):  # each of other content, and still a film
        path = videos / f"{number}.mp4"
        shutil.copy(films.directory / films.good[number % 5], path)
        with open(path, "ab") as file:
            file.write(bytes([0, 0, 0, 9]) + b"free" + bytes([number]))
    (tmp_path / "list.txt").write_text("".join(f"{n}.mp4 {n % 7}\n" for n in range(num_videos)))
    flags = [f"--annotations={tmp_path / 'list.txt'}", f"--videos={videos}", f"--model={model}"]
    flags += ["--protocol=kinetics", "--r=9,5", "--json", "--readers=1"]
    command = [sys.executable, "-m", "vidtldr", "evaluate", "classification", *flags]
    with subprocess.Popen([*command, f"--cache={cache}"], stdout=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60
        while len(list(cache.rglob("*.safetensors"))) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)  # nothing can tidy up
        stdout, _ = process.communicate(timeout=30)
    assert (process.returncode, stdout) == (-signal.SIGKILL, b"")
    num_kept = len([each for each in cache.rglob("*.safetensors") if each.name[0] != "."])
    assert 3 <= num_kept < num_videos
    [resumed] = rows(run("evaluate", "classification", *flags, f"--cache={cache}"))
    assert resumed["run"]["num_from_cache"] == num_kept
    [straight] = rows(run("evaluate", "classification", *flags))
    assert straight["run"]["num_from_cache"] == 0
    assert resumed["predictions"] == straight["predictions"]
    assert (resumed["top1"], resumed["top5"]) == (straight["top1"], straight["top5"])


def test_an_interrupted_evaluation_says_what_is_kept(
    run: Run, flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ViewClassifier, "logits", interrupted)
    result = run("evaluate", "classification", *flags, f"--cache={tmp_path / 'cache'}")
    assert result.exit_code == 130
    assert f"interrupted; '{tmp_path / 'cache'}' keeps the finished videos." in result.stderr
