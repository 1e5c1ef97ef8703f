import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import torch
import typer
from click.testing import Result
from support.outcomes import one_error_line, rows
from transformers import VideoMAEForVideoClassification

import vidtldr
from vidtldr.cli.merge_options import MergeOptions
from vidtldr.config import MergeConfig, Metric, Pooling, Score
from vidtldr.video.decode import read_clip
from vidtldr.video.sampling import Sampling
from vidtldr.video.transform import VideoTransform

Run = Callable[..., Result]


def test_the_answer_is_the_models_own(run: Run, model: str, video: str) -> None:
    result = run("classify", video, "--model", model, "--json", "--top", 3)
    assert result.exit_code == 0, result.output
    (row,) = rows(result)
    classifier = VideoMAEForVideoClassification.from_pretrained(model).eval()
    frames = read_clip(video, Sampling(6)).frames
    with torch.no_grad():
        logits = classifier(VideoTransform.from_pretrained(model)(frames)[None]).logits[0]
    expected = logits.softmax(-1).topk(3)
    assert row["video"] == video
    assert row["error"] is None
    assert [x["label"] for x in row["labels"]] == [f"label {i}" for i in expected.indices]
    found = torch.tensor([x["probability"] for x in row["labels"]])
    assert torch.allclose(found, expected.values, atol=1e-6)
    assert row["num_tokens"] == [48] * 4
    assert row["frame_indices"] == [0, 2, 4, 6, 8, 10]


def test_a_schedule_merges_and_gives_what_the_patched_model_gives(
    run: Run, model: str, video: str
) -> None:
    (row,) = rows(run("classify", video, "--model", model, "--json", "--r", "9,5", "--top", 7))
    classifier = VideoMAEForVideoClassification.from_pretrained(model).eval()
    vidtldr.apply_patch(classifier, r=[9, 5])
    frames = read_clip(video, Sampling(6)).frames
    with torch.no_grad():
        expected = (
            classifier(VideoTransform.from_pretrained(model)(frames)[None]).logits[0].softmax(-1)
        )
    found = {x["label"]: x["probability"] for x in row["labels"]}
    assert all(abs(found[f"label {i}"] - p) < 1e-6 for i, p in enumerate(expected.tolist()))
    assert row["num_tokens"] == [39, 34, 34, 34]
    (ratio_row,) = rows(run("classify", video, "--model", model, "--json", "--ratio", "0.25,0.1"))
    assert ratio_row["num_tokens"] == [36, 33, 33, 33]


@pytest.mark.parametrize(
    ("options", "num_tokens"),
    [
        (["--num-tokens", "30"], [41, 35, 30, 30]),
        (["--num-tokens", "30", "--score", "sharpness"], [30, 30, 30, 30]),
        (["--num-tokens", "30", "--merge-layers", "1,2"], [48, 38, 30, 30]),
        (["--flop-ratio", "0.7"], [36, 27, 25, 25]),
        (["--flop-ratio", "0.7", "--metric", "keys"], [29, 29, 29, 29]),
        (["--flop-ratio", "1"], [48, 48, 48, 48]),
    ],
)
def test_a_budget_is_met(
    run: Run, model: str, video: str, options: list[str], num_tokens: list[int]
) -> None:
    arguments = ("classify", video, "--model", model, "--json", *options)
    (row,) = rows(run(*arguments, "--compare", "--rounds", 1))
    assert row["num_tokens"] == num_tokens
    if "--flop-ratio" in options:
        share = row["merged"]["gflops"] / row["unmerged"]["gflops"]
        assert float(options[1]) - 0.02 < share <= float(options[1]) + 1e-4


def test_a_schedule_file_says_everything_and_options_have_the_last_word(
    run: Run, model: str, video: str, tmp_path: Path
) -> None:
    arguments = ("classify", video, "--model", model, "--json")
    file = tmp_path / "schedule.json"
    config = MergeConfig(r=[9, 5], score="received", metric="keys", weighting="mask")
    file.write_text(json.dumps(config.to_dict()))
    found = rows(run(*arguments, "--schedule", file))
    assert rows(run(*arguments, "--schedule", file, "--score", "received")) == found
    assert found[0]["num_tokens"] == [39, 34, 34, 34]
    file.write_text(json.dumps({"r": [9, 5], "score": "sharpness"}))
    scored = rows(run(*arguments, "--schedule", file))
    assert scored == rows(run(*arguments, "--r", "9,5", "--score", "sharpness")) != found
    unscored = rows(run(*arguments, "--schedule", file, "--score", "none"))
    assert unscored == rows(run(*arguments, "--r", "9,5")) != scored
    file.write_text(json.dumps({"r": [9, 5]}))
    assert rows(run(*arguments, "--schedule", file)) == unscored


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "--schedule must have a schedule in"),
        ("[600]", "values must map fields of MergeConfig to values, got [600]"),
        ('{"r": [1], "matric": "x"}', "keys must be fields of MergeConfig (r, ratio, flop_ratio"),
        ('{"score": null}', "must be given one at a time, got none"),
        ('{"r": [99]}', "r[0] must be in [0, 24]"),
    ],
)
def test_a_schedule_file_that_is_none_is_a_usage_error(
    run: Run, model: str, video: str, tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "schedule.json").write_text(content)
    flags = ["--model", model, "--schedule", str(tmp_path / "schedule.json")]
    assert message in one_error_line(run("classify", video, *flags))


@pytest.mark.parametrize("score", [*get_args(Score), "none"])
def test_every_score_is_an_option(run: Run, model: str, video: str, score: str) -> None:
    arguments = ("classify", video, "--model", model, "--json", "--r", "9,5", "--score", score)
    (row,) = rows(run(*arguments))
    assert row["num_tokens"] == [39, 34, 34, 34]
    classifier = VideoMAEForVideoClassification.from_pretrained(model).eval()
    vidtldr.apply_patch(classifier, r=[9, 5], score=None if score == "none" else score)
    pixels = VideoTransform.from_pretrained(model)(read_clip(video, Sampling(6)).frames)
    with torch.no_grad():
        expected = classifier(pixels[None]).logits[0].softmax(-1).topk(5).values
    assert torch.allclose(torch.tensor([x["probability"] for x in row["labels"]]), expected)


def test_options_offer_what_the_library_does() -> None:
    hints = get_type_hints(MergeOptions, include_extras=True)
    offered = {
        "score": (*get_args(Score), "none"),
        "metric": get_args(Metric),
        "pooling": get_args(Pooling),
    }
    for name, choices in offered.items():
        option = get_args(hints[name])[1]
        assert [option.parser(choice) for choice in choices] == list(choices)
        assert all(choice in option.help for choice in choices)
        with pytest.raises(typer.BadParameter, match=f"--{name} must be .* got 'nothing'"):
            option.parser("nothing")


def test_compare_reports_both_sides(run: Run, model: str, video: str) -> None:
    arguments = ("classify", video, "--model", model, "--r", "9,5", "--compare", "--rounds", 2)
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    (row,) = rows(result)
    unmerged, merged = row["unmerged"], row["merged"]
    assert unmerged["num_tokens"] == [48] * 4
    assert merged["num_tokens"] == row["num_tokens"] == [39, 34, 34, 34]
    assert row["labels"] == merged["labels"]
    assert merged["gflops"] < unmerged["gflops"]
    lowest, highest = row["speedup_range"]
    assert lowest <= row["speedup"] <= highest
    assert (row["machine_was_busy"], row["other_share"]) == (False, 0)
    assert (row["change"] == "faster") == (row["why_no_gain"] is None)
    assert unmerged["peak_memory_bytes"] > 0
    (plain,) = rows(run("classify", video, "--model", model, "--json"))
    assert unmerged["labels"] == plain["labels"]
    table = run(*arguments)
    assert table.exit_code == 0
    shown = " ".join(table.stdout.split())  # where a line breaks depends on the times before
    for expected in (
        "unmerged",
        "merged",
        "GFLOPs",
        "48 x4",
        "39 34 x3",
        "same top label; largest change",
        "1 MAC = 2 FLOPs",
    ):
        assert expected in shown


def test_a_broken_video_does_not_stop_the_others(
    run: Run, model: str, video: str, tmp_path: Path
) -> None:
    broken = tmp_path / "broken\n\x1b[31m.mp4"
    broken.write_text("no video")
    result = run("classify", broken, video, tmp_path / "missing.mp4", "--model", model, "--json")
    assert result.exit_code == 1
    first, second, third = rows(result)
    assert first["video"] == str(broken)
    assert first["labels"] == []
    assert second["error"] is None
    assert len(second["labels"]) == 5
    for row in (first, third):
        assert "\n" not in row["error"]
        assert "\x1b" not in row["error"]
    table = run("classify", broken, video, "--model", model)
    assert table.exit_code == 1
    assert "\x1b" not in table.stdout
    assert "2 videos; 1 answered; 1 failed" in table.stdout


def test_markup_in_names_and_labels_is_text(
    run: Run, model: str, video: str, tmp_path: Path
) -> None:
    odd = tmp_path / "[bold red]x[reset].mp4"
    shutil.copy(video, odd)
    labels = "[link=http://x]a[/link],b,c,d,e,f,g\x1b[2J"
    result = run("classify", odd, "--model", model, "--labels", labels, "--top", 7)
    assert "[bold red]x[reset].mp4" in result.stdout.replace("\n", "")
    assert "[link=http://x]a[/link]" in result.stdout
    assert "\x1b" not in result.stdout


@pytest.mark.parametrize("as_file", ["comma", "lines", "json"])
def test_labels_replace_the_models(
    run: Run, model: str, video: str, tmp_path: Path, as_file: str
) -> None:
    names = ["yoga", "golf", "chess", "a, b", "x", "y", "z"]
    if as_file == "comma":
        names[3] = "ab"
        labels = ",".join(names)
    else:
        labels = str(tmp_path / "labels")
        Path(labels).write_text(json.dumps(names) if as_file == "json" else "\n".join(names) + "\n")
    (row,) = rows(
        run("classify", video, "--model", model, "--json", "--labels", labels, "--top", 9)
    )
    (own,) = rows(run("classify", video, "--model", model, "--json", "--top", 9))
    assert [x["label"] for x in row["labels"]] == [
        names[int(x["label"].removeprefix("label "))] for x in own["labels"]
    ]


def test_the_same_command_gives_the_same_answer(run: Run, model: str, video: str) -> None:
    one, two = (run("classify", video, "--model", model, "--json", "--r", "9,5") for _ in range(2))
    assert one.stdout == two.stdout


def test_bfloat16_runs_on_a_cpu(run: Run, model: str, video: str) -> None:
    arguments = ("--json", "--r", "9,5", "--dtype", "bfloat16", "--top", 1)
    (row,) = rows(run("classify", video, "--model", model, *arguments))
    assert 0 < row["labels"][0]["probability"] <= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--r", "25"], "r[0] must be in [0, 24] (half of 48 mergeable tokens), got 25"),
        (["--r", "1,1,1,1,1"], "r must have at most 4 entries (the model's layers), got 5"),
        (["--r", "1", "--ratio", "0.1"], "--r and --ratio must not be given together, got both"),
        (
            ["--r", "0.25"],
            "--r must be comma-separated integers, got '0.25'. For shares use",
        ),
        (["--r", "a,b"], "--r must be comma-separated integers"),
        (["--ratio", "0.7"], "ratio[0] must be in [0, 0.5]"),
        (["--ratio", "x"], "--ratio must be comma-separated numbers"),
        (
            ["--compare", "--score", "sharpness"],
            "--flop-ratio must be at least 0.62 where layer 0 merges",
        ),  # 0.6 by default
        (["--score", "received"], "--score must come with an amount to merge, got none"),
        (["--pooling", "mass"], "--pooling must come with an amount to merge, got none"),
        (["--flop-ratio", "0.2"], "--flop-ratio must be at least 0."),
        (["--flop-ratio", "1.5"], "--flop-ratio must be in (0, 1]"),
        (["--num-tokens", "5"], "--num-tokens must be in [6, 48] where layers 0, 1, 2 merge"),
        (
            ["--num-tokens", "20", "--score", "sharpness"],
            "--num-tokens must be in [24, 48] where layer 0 merges",
        ),
        (["--num-tokens", "9", "--r", "1"], "--r and --num-tokens must not be given together"),
        (
            ["--num-tokens", "40", "--merge-layers", "a"],
            "--merge-layers must be comma-separated integers, got 'a'. Write --merge-lay",
        ),
        (["--num-tokens", "40", "--merge-layers", "4"], "--merge-layers must be in [0, 3]"),
        (
            ["--merge-layers", "0", "--r", "1"],
            "--merge-layers must come with --flop-ratio, --num-tokens or --speedup, got --r. Le",
        ),
        (["--merge-layers", "0"], "--merge-layers must come with --flop-ratio, --num-tokens o"),
        (["--schedule", "nowhere.json"], "--schedule must be a JSON file, a directory with a mer"),
        (["--schedule", __file__], "--schedule must have a schedule in"),
        (["--schedule", "a.json", "--ratio", "0.1"], "--ratio and --schedule must not be given"),
        (["--labels", "a,b"], "labels must be 7 names, one per class of the model, got 2"),
        (["--labels", "lables.txt"], "labels must be names or a file that exists, got 'lables."),
        (["--labels", "a,,c"], "labels must be names that are not empty"),
        (["--dtype", "float16", "--device", "cpu"], "dtype must be float32 or bfloat16 on a CPU"),
    ],
)
def test_what_cannot_be_is_one_line_and_exit_code_2(
    run: Run, model: str, video: str, options: list[str], message: str
) -> None:
    assert message in one_error_line(run("classify", video, "--model", model, *options))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the device")
def test_a_device_that_is_not_there_is_a_usage_error(run: Run, model: str, video: str) -> None:
    line = one_error_line(run("classify", video, "--model", model, "--device", "cuda"))
    if torch.version.cuda is None and torch.version.hip is None:
        assert f"must be auto or cpu with torch {torch.__version__}, which is a CPU build" in line
    else:
        assert "device must be one that this machine has (cpu" in line


@pytest.mark.slow
def test_a_name_that_the_terminal_cannot_show_stops_nothing(
    model: str, video: str, tmp_path: Path
) -> None:
    odd = tmp_path / "日.mp4"
    shutil.copy(video, odd)
    command = [sys.executable, "-m", "vidtldr", "classify", odd, video, "--model", model]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert done.returncode == 0
    assert b"2 videos; 2 answered" in done.stdout


def test_debug_shows_the_traceback(run: Run, model: str, video: str) -> None:
    result = run("classify", video, "--model", model, "--r", "25", "--debug")
    assert isinstance(result.exception, ValueError)
    assert result.exit_code != 0


def test_json_keeps_stdout_clean_and_the_process_ends_well(model: str, video: str) -> None:
    command = [sys.executable, "-m", "vidtldr", "classify", video, "--model", model, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["error"] is None
    assert done.stdout.count("\n") == 1
    assert done.stderr == "note: nothing is merged; --flop-ratio 0.6 would save 40 % of the FLOPs\n"


@pytest.mark.slow
def test_it_can_be_interrupted(model: str, video: str) -> None:
    command = [sys.executable, "-m", "vidtldr", "classify", *[video] * 500]
    command += ["--model", model, "--json", "--r", "9", "--compare", "--rounds", "20"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["error"] is None
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert stderr == "interrupted\n"


@pytest.mark.slow
def test_all_real_footage_is_answered(run: Run, real_videos: Path, model: str) -> None:
    """Every clip through `--compare`; benchmarks/02_real_footage.py does it with a VideoMAE-B."""
    clips = sorted((real_videos / "clips").iterdir())
    result = run(
        "classify", *clips, "--model", model, "--r", "9,5", "--compare", "--rounds", 1, "--json"
    )
    assert result.exit_code == 0
    assert [row["video"] for row in rows(result)] == [str(clip) for clip in clips]
    assert all(row["error"] is None and row["merged"]["labels"] for row in rows(result))
