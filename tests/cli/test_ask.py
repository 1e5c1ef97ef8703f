from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from support.outcomes import one_error_line, rows
from support.umt_files import UMTFiles, write_pretrained
from support.umt_sets import CONFIG, VideoSet, write_json

from vidtldr.config import MergeConfig
from vidtldr.models.umt import load_umt
from vidtldr.tasks.ask import ask_video
from vidtldr.tasks.clip_reader import umt_reader
from vidtldr.tasks.video_features import VideoEncoding

Run = Callable[..., Result]
QUESTION = "What is on the street?"
ANSWERS = ["dog", "cat", "red", "the street", "sign", "person"]
UNMERGED = "note: nothing is merged; --flop-ratio 0.6 would save 40 % of the FLOPs\n"
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    return write_json(tmp_path / "answers.json", ANSWERS)


@pytest.mark.parametrize("merge", [None, MergeConfig(r=[20, 8])])
def test_the_answers_are_what_the_function_finds(
    run: Run, umt: UMTFiles, films: VideoSet, answers: Path, merge: MergeConfig | None
) -> None:
    schedule = [] if merge is None else ["--r", "20,8"]
    flags = (*umt.answering_flags, "--answers", answers, "--json", "--top", 3, *schedule)
    result = run("ask", films.paths[0], QUESTION, *flags)
    assert result.exit_code == 0, result.output
    assert result.stderr == ("" if merge is not None else UNMERGED)
    [row] = rows(result)
    model = load_umt(umt.answering, task="answering", config=CONFIG, tokenizer=umt.tokenizer)
    encoding = VideoEncoding(model, umt_reader(CONFIG), merge)
    expected = ask_video(encoding, films.paths[0], QUESTION, ANSWERS, top=3)
    assert set(row) == {"video", "question", "answers", "duration_seconds", "notes", "error"}
    assert (row["video"], row["question"], row["error"]) == (films.paths[0], QUESTION, None)
    assert [each["answer"] for each in row["answers"]] == [e.answer for e in expected.answers]
    for found, answer in zip(row["answers"], expected.answers, strict=True):
        assert found["probability"] == pytest.approx(answer.probability, abs=1e-5)


def test_a_comma_list_is_the_same_as_a_file(
    run: Run, umt: UMTFiles, films: VideoSet, answers: Path
) -> None:
    one, other = (
        run("ask", films.paths[0], QUESTION, *umt.answering_flags, "--json", "--answers", given)
        for given in (answers, ", ".join(ANSWERS))
    )
    assert one.exit_code == 0
    assert one.stdout == other.stdout


def test_the_table(run: Run, umt: UMTFiles, films: VideoSet) -> None:
    flags = (*umt.answering_flags, "--answers", "dog,[bold]cat\x1b[2J", "--top", 5)
    result = run("ask", films.paths[0], f"{QUESTION} [red]", *flags)
    assert result.exit_code == 0
    title, *lines = result.stdout.splitlines()
    assert title == f"{QUESTION} [red]"
    assert {line.split()[0] for line in lines} == {"dog", "[bold]cat\\x1b[2J"}
    assert all(line.rstrip().endswith("%") for line in lines)


def test_a_broken_video_is_exit_code_1(run: Run, umt: UMTFiles, films: VideoSet) -> None:
    arguments = ("ask", films.directory / films.broken, QUESTION, *umt.answering_flags)
    result = run(*arguments, "--answers", "a,b")
    assert result.exit_code == 1
    assert result.stdout.startswith("1 of 1 video failed:")
    [row] = rows(run(*arguments, "--answers", "a,b", "--json"))
    assert row["answers"] == []
    assert "cannot read its content" in row["error"]


def test_a_pretrained_checkpoint_says_what_is_not_trained(
    run: Run, umt: UMTFiles, films: VideoSet
) -> None:
    flags = [f"--model=umt:{write_pretrained(umt)}", *umt.size_flags, "--answers", "dog,cat"]
    result = run("ask", films.paths[0], QUESTION, *flags, "--json")
    assert result.exit_code == 0
    assert result.stderr.startswith("note: text_decoder was not trained for this task")
    note, *others = result.stderr.splitlines(keepends=True)
    assert note.endswith("Fine-tune before trusting its answers.\n")
    assert others == [UNMERGED]
    assert len(rows(result)) == 1


def test_a_checkpoint_for_retrieval_cannot_answer(run: Run, umt: UMTFiles, films: VideoSet) -> None:
    line = one_error_line(run("ask", films.paths[0], QUESTION, *umt.flags, "--answers", "a,b"))
    assert "task='answering'), got 6 missing (text_decoder.cls" in line


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('["a",\n"b",\n3]', "line 3: an answer must be a string that is not empty, got 3"),
        ('["a",\n"a"]', "line 2: an answer must come once (first on line 1), got 'a'"),
        ('{"a": 1}', "line 1: the file must be one JSON list"),
        ('["a", "b"', "the file must be valid JSON|entries must have one comma between"),
        ("[]", "the list must have entries"),
        ('["red"]', "--answers must be two or more, as a single one always has 100 %"),
    ],
)
def test_wrong_answers_are_found_with_their_line(
    run: Run, umt: UMTFiles, films: VideoSet, tmp_path: Path, content: str, message: str
) -> None:
    path = tmp_path / "answers.json"
    path.write_text(content)
    line = one_error_line(
        run("ask", films.paths[0], QUESTION, *umt.answering_flags, "--answers", path)
    )
    assert str(path) in line
    assert any(part in line for part in message.split("|"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--answers", "nowhere.json"], "--answers must be an existing JSON file"),
        (["--answers", "red"], "--answers must be an existing JSON file or a comma-separated"),
        (["--answers", "no,where.json"], "--answers must be an existing JSON file or a comma-sep"),
        (["--answers", "a,,b"], "--answers must be different and not empty"),
        (["--answers", "a,a"], "--answers must be different and not empty"),
        (["--answers", "a,b", "--model", "x"], "--arch must come with --model umt:CHECKPOINT"),
        (["--answers", "a,b", "--ratio", "0.6"], "ratio[0] must be in [0, 0.5]"),
    ],
)
def test_what_cannot_be_is_one_line_and_exit_code_2(
    run: Run, umt: UMTFiles, films: VideoSet, options: list[str], message: str
) -> None:
    arguments = ("ask", films.paths[0], QUESTION, *umt.answering_flags, *options)
    assert message in one_error_line(run(*arguments))
