import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from support.outcomes import one_error_line, rows
from support.umt_files import UMTFiles
from support.umt_sets import CONFIG, VideoSet, write_json

from vidtldr.config import MergeConfig
from vidtldr.evaluate.protocols import RETRIEVAL
from vidtldr.evaluate.retrieval import evaluate_retrieval
from vidtldr.models.umt import load_umt
from vidtldr.tasks.fingerprint import file_sha256

Run = Callable[..., Result]
CAPTIONS = ["A dog runs.", "the red street", "a person, in red", "cat on the street", "dog", "on"]
ANSWERS = ["dog", "cat", "red", "the street"]
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def retrieval_flags(umt: UMTFiles, films: VideoSet, tmp_path: Path) -> list[str]:
    entries = [{"video": name, "caption": CAPTIONS[i]} for i, name in enumerate(films.names)]
    path = write_json(tmp_path / "retrieval.json", entries)
    flags = [f"--annotations={path}", f"--videos={films.directory}", "--protocol=msrvtt"]
    return [*flags, *umt.flags]


@pytest.fixture
def answering_flags(umt: UMTFiles, films: VideoSet, tmp_path: Path) -> list[str]:
    entries = [
        {"video": name, "question": "what is red?", "answer": [*ANSWERS, "moon"][i % 5]}
        for i, name in enumerate(films.names)
    ]
    path = write_json(tmp_path / "questions.json", entries)
    answers = write_json(tmp_path / "answers.json", ANSWERS)
    flags = [f"--annotations={path}", f"--answers={answers}", f"--videos={films.directory}"]
    return [*flags, *umt.answering_flags]


@pytest.fixture
def choice_flags(umt: UMTFiles, films: VideoSet, tmp_path: Path) -> list[str]:
    entries = [
        {"video": name, "caption": CAPTIONS[:5], "answer": i % 5}
        for i, name in enumerate(films.names)
    ]
    path = write_json(tmp_path / "choices.json", entries)
    return [f"--annotations={path}", f"--videos={films.directory}", *umt.flags]


def test_retrieval_gives_what_the_function_gives(
    run: Run, umt: UMTFiles, films: VideoSet, retrieval_flags: list[str], tmp_path: Path
) -> None:
    result = run("evaluate", "retrieval", *retrieval_flags, "--r", "20,8", "--json")
    assert result.exit_code == 1
    assert result.stderr == ""
    [found] = rows(result)
    model = load_umt(umt.retrieval, config=CONFIG, tokenizer=umt.tokenizer)
    annotations = tmp_path / "retrieval.json"
    expected = evaluate_retrieval(
        model, annotations, films.directory, RETRIEVAL["msrvtt"], merge=MergeConfig(r=[20, 8])
    )
    expected = json.loads(json.dumps(expected.to_dict()))
    assert (found["dual"], found["reranked"]) == (expected["dual"], expected["reranked"])
    assert set(found["run"]) == set(expected["run"])
    assert found["run"]["schedule"]["r"] == found["run"]["r"] == [20, 8]
    assert found["run"]["files"]["weights"]["sha256"] == file_sha256(umt.retrieval)
    [failed] = found["run"]["failed_videos"]
    assert failed["path"].endswith(films.broken)


def test_a_budget_is_said_with_the_counts_it_came_to(
    run: Run, umt: UMTFiles, retrieval_flags: list[str]
) -> None:
    flags = ["evaluate", "retrieval", *retrieval_flags, "--rerank", "0", "--num-tokens", "40"]
    [found] = rows(run(*flags, "--merge-layers", "0,2", "--json"))
    schedule, r = found["run"]["schedule"], found["run"]["r"]
    assert (schedule["num_tokens"], schedule["layers"]) == (40, [0, 2])
    assert 64 - sum(r) == 40
    assert r[1] == 0
    title = run(*flags, "--merge-layers", "0,2").stdout.splitlines()
    expected = f"merged to num_tokens 40 by r {','.join(map(str, r))}"
    assert expected.replace(" ", "") in "".join(title).replace(" ", "")


@pytest.mark.parametrize("columns", ["60", "120"])
def test_compare_shows_both_sides_and_writes_the_result(
    run: Run,
    retrieval_flags: list[str],
    tmp_path: Path,
    columns: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    output = tmp_path / "result.json"
    flags = ["--r", "20,8", "--compare", "--cache", tmp_path / "cache", "-o", output]
    result = run("evaluate", "retrieval", *retrieval_flags, *flags)
    assert result.exit_code == 1
    assert result.stderr == f"wrote {output}\n"
    written = json.loads(output.read_text())
    table = {
        tuple(line.split()[:-2]): line.split()[-2:] for line in result.stdout.splitlines()[1:]
        if line.startswith("  ") and "/" not in line
    }  # fmt: skip
    assert table[()] == ["unmerged", "merged"]
    for side, place in (("unmerged", 0), ("merged", 1)):
        scores = written[side]["reranked"]
        for k in (1, 5, 10):
            assert table["mean", f"R@{k}"][place] == f"{scores[f'mean_r{k}']:.1f}"
            for name in ("text_to_video", "video_to_text"):
                shown = table[(*name.split("_"), f"R@{k}")][place]
                assert shown == f"{scores[name][f'r{k}']:.1f}"
        assert table["videos", "from", "the", "cache"][place] == "0"
        assert ("GFLOPs", "per", "clip") in table
        assert ("text", "to", "video", "median", "rank") in table
    text = " ".join(result.stdout.split())
    assert "1 MAC = 2 FLOPs" in text
    assert f"FLOPs {written['flops_ratio']:.2f}x fewer" in text
    assert "1 of 6 videos failed, which count as misses:" in text
    assert "broken.mp4" in text.replace(" ", "")  # a narrow line may break inside a path
    assert max(map(len, result.stdout.splitlines())) <= int(columns)
    again = run("evaluate", "retrieval", *retrieval_flags, *flags).stdout
    assert "all cached" in again
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "cache",
        "result.json",
        "retrieval.json",
    ]


def test_rerank_changes_how_many_are_scored_again(run: Run, retrieval_flags: list[str]) -> None:
    [none] = rows(run("evaluate", "retrieval", *retrieval_flags, "--json", "--rerank", 0))
    assert none["reranked"] is None
    [two] = rows(run("evaluate", "retrieval", *retrieval_flags, "--json", "--rerank", 2))
    assert two["run"]["protocol"]["k_test"] == 2
    assert "cosines alone" in run("evaluate", "retrieval", *retrieval_flags, "--rerank", 0).stdout


def test_answering(run: Run, answering_flags: list[str]) -> None:
    result = run("evaluate", "answering", *answering_flags, "--ratio", "0.2", "--json")
    assert result.exit_code == 1
    [found] = rows(result)
    assert found["num_questions"] == 6
    assert found["num_unanswerable"] == 1
    right = sum(each["is_right"] for each in found["predictions"])
    assert found["accuracy"] == pytest.approx(100 * right / 6)
    table = run("evaluate", "answering", *answering_flags, "--ratio", "0.2", "--compare")
    assert table.exit_code == 1
    assert "answering: 6 videos, 6 questions; merged by ratio 0.2" in table.stdout
    assert f"{found['accuracy']:.1f}" in table.stdout
    assert "questions whose answer is not there" in table.stdout


def test_multiple_choice(run: Run, choice_flags: list[str]) -> None:
    result = run("evaluate", "multiple-choice", *choice_flags, "--json", "--compare", "--r", "8")
    assert result.exit_code == 1
    [found] = rows(result)
    assert set(found) == {"unmerged", "merged", "flops_ratio", "speedup"}
    assert len(found["merged"]["picks"]) == 6
    table = run("evaluate", "multiple-choice", *choice_flags)
    assert "multiple-choice: 6 videos, 6 questions; unmerged" in table.stdout
    assert f"{found['unmerged']['accuracy']:.1f}" in table.stdout


def test_all_videos_good_is_exit_code_0(
    run: Run, umt: UMTFiles, films: VideoSet, tmp_path: Path
) -> None:
    path = write_json(tmp_path / "a.json", [{"video": films.good[0], "caption": "a dog"}])
    flags = [f"--annotations={path}", f"--videos={films.directory}", "--protocol=msvd"]
    options = ["--autocast", "bfloat16", "--batch", "2", "--readers", "1", "--frames", "2"]
    result = run("evaluate", "retrieval", *flags, *umt.flags, "--json", *options)
    assert result.exit_code == 0, result.output
    [found] = rows(result)
    assert found["run"]["autocast"] == "bfloat16"
    assert found["run"]["model"]["num_frames"] == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"video": "a.mp4",\n"caption": "x"},\n{"caption": "y"}]', "line 3: the entry must have"),
        ('[{"video": "a.mp4"', "line 1: the file must be valid JSON"),
        ('[\n{"video": "../a.mp4", "caption": "x"}]', "line 2: video must be a path inside"),
        ('[{"video": "gone.mp4", "caption": "x"}]', "videos must hold the videos"),
    ],
)
def test_wrong_annotations_are_found_with_their_line(
    run: Run, umt: UMTFiles, films: VideoSet, tmp_path: Path, content: str, message: str
) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    flags = [f"--annotations={path}", f"--videos={films.directory}", "--protocol=msrvtt"]
    line = one_error_line(run("evaluate", "retrieval", *flags, *umt.flags))
    assert message in line
    assert "line" not in message or str(path) in line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--protocol", "msr-vtt"], "protocol must be one of msrvtt, msvd, anet, didemo"),
        (
            ["--compare", "--score", "sharpness"],
            "--flop-ratio must be at least 0.612",
        ),  # 0.6 by default
        (["--flop-ratio", "0.1"], "--flop-ratio must be at least 0."),
        (["--preset", "umt-b16/msrvt"], "Use one of umt-b16/msrvtt-"),
        (["--model", "x"], "--arch must come with --model umt:CHECKPOINT"),
        (["--videos", "nowhere"], "videos must be a directory, got 'nowhere'"),
        (["--annotations", "nowhere.json"], "nowhere.json"),
        (
            ["--output", "nowhere/result.json"],
            "--output must be in an existing",
        ),
        (["--autocast", "float16", "--device", "cpu"], "--autocast must be none or bfloat16"),
        (["--cache", __file__], "--cache must be a directory, got the file"),
        (["--r", "33"], "r[0] must be in [0, 32]"),
    ],
)
def test_what_cannot_be_is_one_line_and_exit_code_2(
    run: Run, retrieval_flags: list[str], options: list[str], message: str
) -> None:
    assert message in one_error_line(run("evaluate", "retrieval", *retrieval_flags, *options))


@pytest.mark.slow
def test_an_interrupted_evaluation_keeps_what_was_done(
    run: Run, wide_umt: UMTFiles, films: VideoSet, tmp_path: Path
) -> None:
    videos, cache = tmp_path / "videos", tmp_path / "cache"
    videos.mkdir()
    for number in range(40):  # each of other content, and still the same film
        shutil.copy(films.paths[0], videos / f"{number}.mp4")
        with open(videos / f"{number}.mp4", "ab") as file:
            file.write(bytes([0, 0, 0, 9]) + b"free" + bytes([number]))
    names = [f"{number}.mp4" for number in range(40)]
    path = write_json(tmp_path / "a.json", [{"video": name, "caption": "dog"} for name in names])
    flags = [f"--annotations={path}", f"--videos={videos}", "--protocol=msrvtt", *wide_umt.flags]
    flags += [f"--cache={cache}", "--json", "--preset=umt-b16/msrvtt-retrieval", "--readers=1"]
    command = [sys.executable, "-m", "vidtldr", "evaluate", "retrieval", *flags]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 60
        while len(list(cache.rglob("*.safetensors"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert stdout == ""
    kept = f"interrupted; '{cache}' keeps the finished videos."
    assert stderr.endswith(f"{kept} Run the same command again to resume\n")
    write_json(path, [{"video": name, "caption": "dog"} for name in names[:3]])
    [found] = rows(run("evaluate", "retrieval", *flags, "--rerank", 0))
    assert found["run"]["num_from_cache"] >= 2
    assert found["run"]["schedule_name"] == "umt-b16/msrvtt-retrieval"


def test_a_result_is_never_replaced_by_one_without_any_video(
    run: Run, umt: UMTFiles, films: VideoSet, tmp_path: Path
) -> None:
    annotations = write_json(
        tmp_path / "a.json", [{"video": films.broken, "caption": CAPTIONS[:5], "answer": 0}]
    )
    output = tmp_path / "keep.json"
    output.write_text("a good result")
    flags = (f"--annotations={annotations}", f"--videos={films.directory}", *umt.flags)
    result = run("evaluate", "multiple-choice", *flags, "-o", output)
    assert result.exit_code == 1, result.output
    assert "keep.json is not written: no video could be read" in result.stderr
    assert output.read_text() == "a good result"
