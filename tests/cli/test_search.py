import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from support.outcomes import one_error_line, rows
from support.umt_files import UMTFiles, write_pretrained
from support.umt_sets import CONFIG, VideoSet

from vidtldr.config import MergeConfig
from vidtldr.models.umt import load_umt
from vidtldr.tasks.clip_reader import umt_reader
from vidtldr.tasks.search import search_videos
from vidtldr.tasks.video_features import VideoEncoding

Run = Callable[..., Result]
TEXT = "a dog runs"
UNMERGED = "note: nothing is merged; --flop-ratio 0.6 would save 40 % of the FLOPs\n"
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(("rerank", "schedule"), [(2, []), (128, ["--r", "20,8"])])
def test_rows_are_what_the_function_finds(
    run: Run, umt: UMTFiles, films: VideoSet, rerank: int, schedule: list[str]
) -> None:
    flags = (*umt.flags, *schedule, "--rerank", rerank, "--json")
    result = run("search", TEXT, *films.paths, *flags)
    assert result.exit_code == 1
    model = load_umt(umt.retrieval, config=CONFIG, tokenizer=umt.tokenizer)
    encoding = VideoEncoding(
        model, umt_reader(CONFIG), MergeConfig(r=[20, 8]) if schedule else None
    )
    expected = search_videos(encoding, TEXT, films.paths, rerank=rerank)
    for row, hit in zip(rows(result), expected, strict=True):
        assert set(row) == {
            "video", "rank", "score", "match_score", "duration_seconds", "notes", "error"
        }  # fmt: skip
        assert (row["video"], row["rank"]) == (hit.path, hit.rank)
        assert row["score"] == pytest.approx(hit.score, abs=1e-5)
        assert row["match_score"] == pytest.approx(hit.match_score, abs=1e-4)
    assert rows(result)[-1]["video"].endswith("broken.mp4")
    assert "cannot read its content" in rows(result)[-1]["error"]


@pytest.mark.parametrize("columns", ["60", "120"])
def test_the_table(
    run: Run, umt: UMTFiles, films: VideoSet, columns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.chdir(films.directory)
    result = run("search", TEXT, *films.names, *umt.flags, "--rerank", 1, "--top", 2)
    assert result.exit_code == 1
    head, first, second, *failed = result.stdout.splitlines()
    assert head.split() == ["rank", "match", "cosine", "video"]
    assert first.split()[0] == "1"
    assert second.split()[:2] == ["2", "-"]
    assert failed[0] == "1 of 6 videos failed:"
    assert "broken.mp4" in "".join(failed)
    assert max(map(len, result.stdout.splitlines())) <= int(columns)


def test_all_videos_good_is_exit_code_0(run: Run, umt: UMTFiles, films: VideoSet) -> None:
    result = run("search", TEXT, films.paths[0], *umt.flags)
    assert result.exit_code == 0
    assert result.stderr == UNMERGED
    assert "failed" not in result.stdout


def test_a_cache_is_used(run: Run, umt: UMTFiles, films: VideoSet, tmp_path: Path) -> None:
    arguments = ("search", TEXT, *films.paths, *umt.flags, "--json", "--cache", tmp_path / "c")
    assert run(*arguments).stdout == run(*arguments).stdout
    assert len(list((tmp_path / "c").rglob("*.safetensors"))) == len(films.good)


def test_names_are_text_and_not_obeyed(
    run: Run, umt: UMTFiles, films: VideoSet, tmp_path: Path
) -> None:
    odd = tmp_path / "[bold]\x1b[31m\n.mp4"
    shutil.copy(films.paths[0], odd)
    broken = tmp_path / "[red]\x1b[2J.mp4"
    broken.write_text("no video")
    result = run("search", TEXT, odd, broken, *umt.flags)
    assert "\x1b" not in result.stdout
    assert "[bold]\\x1b[31m\\n.mp4" in result.stdout.replace("\n", "").replace(" ", "")
    [row, _] = rows(run("search", TEXT, odd, broken, *umt.flags, "--json"))
    assert row["video"] == str(odd)


def test_preset_and_frames(run: Run, wide_umt: UMTFiles, umt: UMTFiles, films: VideoSet) -> None:
    name = "umt-b16/msrvtt-retrieval"
    arguments = ("search", TEXT, films.paths[0], "--preset", name)
    assert run(*arguments, *wide_umt.flags).exit_code == 0
    line = one_error_line(run(*arguments, *wide_umt.flags, "--frames", 4))
    assert f"preset '{name}' must be used on 2352 tokens" in line
    assert "got a model of 784. Use --r 200,66,33, the same shares" in line
    line = one_error_line(run(*arguments, *umt.flags))
    assert f"preset '{name}' must be used on 12 layers, got a model of 3" in line
    assert "with --r." in line


def test_frames_change_what_is_read(run: Run, umt: UMTFiles, films: VideoSet) -> None:
    four, also_four, two = (
        run("search", TEXT, films.paths[0], *umt.flags, "--json", *flags).stdout
        for flags in ([], ["--frames", "4"], ["--frames", "2"])
    )
    assert four == also_four != two


def test_a_pretrained_checkpoint_asks_for_its_frames(
    run: Run, umt: UMTFiles, films: VideoSet
) -> None:
    flags = [f"--model=umt:{write_pretrained(umt)}", *umt.size_flags]
    assert run("search", TEXT, films.paths[0], *flags).stderr == UNMERGED
    result = run("search", TEXT, films.paths[0], *flags, "--frames", 2)
    assert result.exit_code == 0
    assert result.stderr.startswith("note: The file is a pretrained one, trained with 4 frames")
    assert result.stderr.endswith(f"Pass --frames 4.\n{UNMERGED}")


def test_a_published_size_that_does_not_fit_names_the_flag(
    run: Run, umt: UMTFiles, films: VideoSet
) -> None:
    flags = ["--model", f"umt:{umt.retrieval}", "--tokenizer", umt.tokenizer]
    line = one_error_line(run("search", TEXT, films.paths[0], *flags, "--arch", "l16"))
    assert "weights must fit the model (24 vision layers of 1024 channels" in line
    assert "The file looks like 3 vision layers of 24 channels" in line
    assert "a --arch FILE.json of these sizes" in line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--preset", "umt-b16/msrvtt"], "Use one of umt-b16/msrvtt-qa"),
        (["--preset", "umt-b16/msvd-qa", "--r", "1"], "--r and --preset must not be given"),
        (["--preset", "a", "--r", "1", "--ratio", "0.1"], "together, got all"),
        (["--r", "33"], "r[0] must be in [0, 32]"),
        (["--arch", "b17"], "--arch must be b16, l16 or a JSON file of sizes, got 'b17'"),
        (
            ["--tokenizer", "nowhere"],
            "--tokenizer must be a directory, got 'nowhere', which is none.",
        ),
        (["--dtype", "float16", "--device", "cpu"], "dtype must be float32 or bfloat16 on a CPU"),
        (["--model", "some/model"], "--arch must come with --model umt:CHECKPOINT, got model"),
        (["--model", "umt:"], "--model must be umt: and an existing file or directory"),
        (["--model", "umt:nowhere.pth"], "got 'umt:nowhere.pth'. Check the path."),
        (["--cache", __file__], "--cache must be a directory, got the file"),
    ],
)
def test_what_cannot_be_is_one_line_and_exit_code_2(
    run: Run, umt: UMTFiles, films: VideoSet, options: list[str], message: str
) -> None:
    assert message in one_error_line(run("search", TEXT, films.paths[0], *umt.flags, *options))


def test_a_text_without_words_is_refused(run: Run, umt: UMTFiles, films: VideoSet) -> None:
    line = one_error_line(run("search", " ?! ", films.paths[0], *umt.flags))
    assert "text must have a word in it, got ' ?! '" in line


def test_a_tokenizer_that_is_not_named_is_refused(run: Run, umt: UMTFiles, films: VideoSet) -> None:
    flags = [f"--model=umt:{umt.retrieval}", f"--arch={umt.arch}"]
    line = one_error_line(run("search", TEXT, films.paths[0], *flags))
    assert "tokenizer must be given for vocab_size=" in line
    assert "Pass --tokenizer DIRECTORY." in line


@pytest.mark.parametrize("content", ["{}", "[]", "{", '{"config": 3}', '{"image_size": "x"}'])
def test_a_file_of_sizes_that_is_none(
    run: Run, umt: UMTFiles, films: VideoSet, tmp_path: Path, content: str
) -> None:
    (tmp_path / "arch.json").write_text(content)
    flags = [*umt.flags, "--arch", tmp_path / "arch.json"]
    line = one_error_line(run("search", TEXT, films.paths[0], *flags))
    assert f"--arch must have its sizes in '{tmp_path / 'arch.json'}'" in line


def test_a_truncated_checkpoint(run: Run, umt: UMTFiles, films: VideoSet, tmp_path: Path) -> None:
    content = umt.retrieval.read_bytes()
    (tmp_path / "cut.pth").write_bytes(content[: len(content) // 2])
    flags = [f"--model=umt:{tmp_path / 'cut.pth'}", *umt.size_flags]
    line = one_error_line(run("search", TEXT, films.paths[0], *flags))
    assert "weights must be a complete file of tensors" in line


def test_a_checkpoint_that_answers_says_what_it_is_for(
    run: Run, umt: UMTFiles, films: VideoSet
) -> None:
    line = one_error_line(run("search", TEXT, films.paths[0], *umt.answering_flags))
    assert "otherwise use it with ask or evaluate answering." in line


def test_json_holds_no_nan(run: Run, umt: UMTFiles, films: VideoSet) -> None:
    result = run("search", TEXT, *films.paths, *umt.flags, "--json")
    for line in result.stdout.splitlines():
        json.loads(line, parse_constant=pytest.fail)
