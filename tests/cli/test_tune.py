import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import Result
from support.made_up_tuning import made_up_tuning
from support.outcomes import one_error_line, rows
from support.tiny_files import write_video, write_vivit
from support.tune_films import write_films
from support.umt_files import UMTFiles

from vidtldr.cli.tune.run import unmet_message
from vidtldr.config import MergeConfig
from vidtldr.model_kind import ModelKind
from vidtldr.tune.target import Target

Run = Callable[..., Result]
pytestmark = pytest.mark.usefixtures("one_thread")
QUICK = ("--rounds", "1", "--device", "cpu")


@pytest.fixture(scope="module", autouse=True)
def _own_times(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Times of layers are kept for these tests alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VIDTLDR_CACHE", str(tmp_path_factory.getbasetemp() / "times"))
        yield


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return write_films(tmp_path_factory.mktemp("films"), 2)


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("broken") / "broken.mp4"
    path.write_text("no video")
    return path


def test_it_prints_draws_and_writes_a_schedule_that_classify_and_embed_take(
    run: Run,
    model: str,
    videos: list[str],
    broken: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    output = tmp_path / "merge_config.json"
    tune = ("tune", *videos, broken, "--model", model, *QUICK, "--target", "flop-ratio=0.7")
    done = run(*tune, "-o", output, "--report", tmp_path / "page.html")
    assert done.exit_code == 1, done.output  # the broken one failed, the rest is there
    assert "1 of 3 videos failed:" in done.stdout
    assert "paper's setting" in done.stdout
    assert "random dropping" in done.stdout
    assert "…" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "note: 2 clips, 1 searched and 1 held out, say little" in done.stderr
    assert "wrote" in done.stderr
    config = MergeConfig.from_pretrained(tmp_path)
    assert config.r is not None
    assert sum(config.r) > 0
    assert config.made_for == ModelKind("VideoMAE (transformers)", 4, 48)
    assert config.measured is not None
    assert config.measured["target"] == "flop-ratio=0.7"
    assert config.measured["flop_ratio"] <= 0.7
    assert [config.measured[f"num_{name}clips"] for name in ("", "search_", "held_out_")] == [
        2,
        1,
        1,
    ]
    assert config.measured["environment"]["versions"]["torch"] == torch.__version__
    names = {path.name for path in tmp_path.iterdir()}
    drawn = {"merge_config.png", "merge_config.svg"}
    assert names == {"merge_config.json", "merge_config.trials.jsonl", "page.html", *drawn}
    page = (tmp_path / "page.html").read_text()
    assert "2 clips, 1 searched and 1 held out, 1 more failed" in page
    assert all(f'href="{name}"' in page for name in ("merge_config.json", *drawn))

    for schedule in (output, tmp_path):
        classify = ("classify", videos[0], "--model", model, "--schedule", schedule, "--json")
        [row] = rows(run(*classify))
        assert row["num_tokens"][-1] == 48 - sum(config.r)
    other = write_vivit(tmp_path / "other")
    line = one_error_line(run("classify", videos[0], "--model", other, "--schedule", output))
    assert "49 tokens, got VideoMAE (transformers) with 4 layers and 48 tokens: another fam" in line
    assert "another family, another number of tokens" in line
    pytest.importorskip("pyarrow", reason="pip install 'vidtldr[search]'")
    embed = ("embed", videos[0], "--model", model, "--schedule", output)
    assert run(*embed, "-o", tmp_path / "vectors.parquet").exit_code == 0

    # The same again with a copy, which does not count, and the result as JSON: nothing is run.
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(Path(videos[0]).read_bytes())
    again = run("tune", *videos, copy, *tune[3:], "-o", output, "--json")
    words = "note: left out 1 video with the content of others, such as "
    assert f"{words}{str(copy)!r}, a copy of {videos[0]!r}" in again.stderr
    assert again.exit_code == 1
    [report] = rows(again)
    assert report["num_forwards"] == 0
    assert report["chosen"]["setting"]["r"] == list(config.r)
    assert config.measured["drift"] == report["chosen"]["drift"]
    assert report["chosen"]["drift"]["standard_error"] is None  # of one clip
    assert sorted(report["search_videos"] + report["held_out_videos"]) == sorted(videos)
    assert MergeConfig.from_pretrained(tmp_path).measured["speedup"] == report["chosen"]["speedup"]
    assert [each["video"] for each in report["failed"]] == [str(broken)]
    assert report["copies"] == [{"video": str(copy), "copy_of": videos[0]}]


def test_a_target_that_cannot_be_met_says_what_can_be(
    run: Run, model: str, videos: list[str], tmp_path: Path
) -> None:
    output, short = tmp_path / "schedule.json", write_video(tmp_path / "short.mp4", num_frames=2)
    tune = ("tune", videos[0], short, "--model", model, *QUICK, "-o", output, "--target")
    done = run(*tune, "speedup=9999")
    assert f"note: {short}: too short, with 2 in all: last frame repeated" in done.stderr
    assert done.exit_code == 2
    assert "timed, fastest first" in done.stdout
    line = done.stderr.splitlines()[-1]
    assert line.startswith("error: --target ")  # what is to be done depends on the device
    assert "9999" in line
    assert not output.exists()
    done = run(*tune, "flop-ratio=0.01")
    assert done.exit_code == 2
    assert "error: --target flop-ratio must be at least 0." in done.stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--target", "speed=2"), "--target must be one of speedup, drift, flop-ratio, got"),
        (("--target", "speedup"), "--target must be speedup=, drift= or flop-ratio= and a number"),
        (("--target", "speedup=0.5"), "--target speedup must be at least 1 (times as fast)"),
        (("--target", "drift=1.5"), "--target drift must be in (0, 1), got 1.5"),
        (("--drift-by", "labels=lables.txt"), "labels must be names or a file that exists, got"),
        (("--drift-by", "labels=yoga"), "labels must be two or more, got 'yoga' alone"),
        (("--drift-by", "cosine"), "--drift-by must be one of feature-cosine, labels=FILE and"),
        (("--drift-by", "labels="), "--drift-by must be one of feature-cosine, labels=FILE and"),
        (
            ("--drift-by", "retrieval=a.json"),
            "--drift-by retrieval must have a JSON file of captions, got 'a.json'",
        ),
        (("-o", "nowhere/schedule.json"), "--output must be in an existing, writable directory"),
        (("--report", "nowhere/a.html"), "--report must be in an existing, writable directory"),
        (("--frames", "4"), "--frames must be left out for a video model, got 4"),
        (("-o", "."), "--output must be a file, got the directory '.'"),
        (("-o", ""), "--output must be a path, got ''. Leave it out, or name one."),
        (("-o", "/"), "--output must be a file, got the directory '/'"),
        (("-o", "a.mp4"), "--output must end in .json, got 'a.mp4'. Write a.json."),
        (("--report", "./a.mp4"), "--report must end in .html or .htm"),
        (("-o", "x", "--report", "./x"), "--report must not overwrite the file of --output"),
    ],
)
def test_bad_arguments_are_one_line(
    run: Run,
    model: str,
    flags: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.mp4").touch()
    assert message in one_error_line(run("tune", "a.mp4", "--model", model, *flags))


def test_one_video_cannot_be_split(run: Run, model: str, videos: list[str], tmp_path: Path) -> None:
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(Path(videos[0]).read_bytes())
    tune = ("tune", videos[0], copy, "--model", model, "-o", tmp_path / "schedule.json")
    line = one_error_line(run(*tune))
    assert "can be read, got 1. Half of them are held out from the search: give eight or" in line
    assert not list(tmp_path.glob("schedule*"))


def test_no_video_that_can_be_read(run: Run, model: str, broken: Path, tmp_path: Path) -> None:
    tune = ("tune", broken, "nowhere.mp4", "--model", model, "-o", tmp_path / "schedule.json")
    line = one_error_line(run(*tune))
    assert "videos must hold at least two different ones that can be read, got 0. Half of " in line
    assert "or more. The first of 2 that cannot: " in line
    assert not list(tmp_path.iterdir())


def test_captions_are_compared_for_umt_and_what_cannot_be_drawn_is_said(
    run: Run,
    umt: UMTFiles,
    videos: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    captions = tmp_path / "captions.json"
    texts = ["a red sign", ["the dog runs", "cat"]]
    entries = [
        {"video": Path(video).name, "caption": text}
        for video, text in zip(videos, texts, strict=True)
    ]
    captions.write_text(json.dumps(entries))
    output = tmp_path / "schedule.json"
    tune = ("tune", *videos, *umt.flags, *QUICK, "-o", output, "--target", "flop-ratio=0.8")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "matplotlib", None)
        done = run(*tune, "--drift-by", f"retrieval={captions}")
        asked = run(*tune, "--drift-by", f"retrieval={captions}", "--plot", tmp_path / "plot")
    assert done.exit_code == 0, done.output
    assert "R@1" in done.stdout
    assert "note: plots must have matplotlib" in done.stderr
    assert not (tmp_path / "schedule.png").exists()
    assert asked.exit_code == 1  # what was asked for is missing
    found = run("search", "a red sign", *videos, *umt.flags, "--schedule", output, "--json")
    assert found.exit_code == 0, found.output

    monkeypatch.undo()
    other = tmp_path / "other" / Path(videos[0]).name
    for twice in (
        run(*tune, other, "--drift-by", f"retrieval={captions}"),
        run(*tune, "--drift-by", f"retrieval={with_twice(captions, entries)}"),
    ):
        assert "must find every video by its file's name alone, got " in one_error_line(twice)
    captions.write_text(json.dumps(entries[:1]))
    line = one_error_line(run(*tune, "--drift-by", f"retrieval={captions}"))
    assert "must have a caption of every video, got none of" in line
    line = one_error_line(run(*tune, "--drift-by", "labels"))
    assert "--drift-by labels must have labels for --model umt:CHECKPOINT" in line


def with_twice(captions: Path, entries: list[dict]) -> Path:
    """Captions of another video of the same name in another directory."""
    twice = captions.with_name("twice.json")
    elsewhere = {"video": f"elsewhere/{entries[0]['video']}", "caption": "a blue sign"}
    twice.write_text(json.dumps([*entries, elsewhere]))
    return twice


@pytest.mark.parametrize(
    ("speedup", "said"),
    [
        (0.937, "must be drift= or flop-ratio= here, where nothing is faster than the unmerged "),
        (1.337, "speedup must be at most 1.33 here, with drift 0.011, got 2. Lower it; run the"),
    ],
)
def test_a_speedup_out_of_reach_is_advised_one_that_a_target_can_be(
    speedup: float, said: str
) -> None:
    found = made_up_tuning()
    speedups = {"median": speedup, "lowest": speedup, "highest": speedup}
    nearest = replace(found.nearest, speedups=speedups)
    unmet = replace(found, target=Target("speedup", 2), chosen=None, nearest=nearest)
    assert said in unmet_message(unmet)


@pytest.mark.parametrize("keeps", [False, True])
def test_an_interruption_says_what_is_kept_by_then(
    keeps: bool,
    run: Run,
    model: str,
    videos: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried = tmp_path / "schedule.trials.jsonl"

    def interrupted(*_: object) -> None:
        if keeps:
            tried.write_text("")
        raise KeyboardInterrupt

    monkeypatch.setattr("vidtldr.cli.tune.run.search", interrupted)
    done = run("tune", *videos, "--model", model, *QUICK, "-o", tmp_path / "schedule.json")
    assert done.exit_code == 130
    said = f"{str(tried)!r} keeps the finished trials" if keeps else "nothing was tried yet"
    assert f"interrupted; {said}" in done.stderr


def started(arguments: list[str]) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "vidtldr", *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_search_goes_on_where_it_was(
    how: signal.Signals, model: str, videos: list[str], tmp_path: Path
) -> None:
    output = tmp_path / "schedule.json"
    tried = tmp_path / "schedule.trials.jsonl"
    arguments = ["tune", *videos, "--model", model, *QUICK, "-o", str(output), "--json"]
    arguments += ["--target", "flop-ratio=0.7"]
    process = started(arguments)
    while process.poll() is None and (not tried.exists() or tried.read_bytes().count(b"\n") < 5):
        time.sleep(0.005)
    process.send_signal(how)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == (-how if how == signal.SIGKILL else 130), errors
    if how == signal.SIGINT:
        assert errors.count("\n") == 2  # the note on the few clips, and how to go on
        assert "schedule.trials.jsonl' keeps the finished trials. Run the same" in errors
    assert not output.exists()
    num_kept = tried.read_bytes().count(b"\n")
    assert num_kept >= 5

    resumed = started(arguments)
    text, errors = resumed.communicate(timeout=300)
    assert resumed.returncode == 0, errors
    report = json.loads(text)
    assert output.exists()
    whole = [json.loads(line) for line in tried.read_text().splitlines() if line.endswith("}")]
    settings = [each["key"] for each in whole if "setting" in each["key"]]
    assert len({json.dumps(key) for key in settings}) == len(settings)  # none was run twice
    assert report["num_forwards"] <= len(settings) - num_kept + 1
