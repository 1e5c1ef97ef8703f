import sys
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from click.testing import Result
from PIL import Image
from support.outcomes import one_error_line, rows
from support.scenes import data_of
from support.tiny_files import write_video
from support.umt_files import UMTFiles

from vidtldr.bundled import bundled_merge
from vidtldr.cli.model_options import ModelOptions
from vidtldr.cli.show.command import AskedOptions
from vidtldr.cli.show.run import LONGEST_TILE, read_shown
from vidtldr.cli.show.subject import load_subject
from vidtldr.measure.device_name import device_name
from vidtldr.shapes.export import export_clips
from vidtldr.shapes.language import ANSWERS, LABELS
from vidtldr.shapes.world import ShapesWorld
from vidtldr.video.decode import read_clip
from vidtldr.video.sampling import Sampling
from vidtldr.visualize.tiles import make_tiles

Run = Callable[..., Result]
NOTE = "bundled shapes model: it knows coloured shapes, not your world\n"
ONCE = ("--rounds", 1)
MERGE = ("--r", "130,44,22", "--pooling", "tokens")  # 512 tokens become 316
PAPER = (*MERGE, "--score", "sharpness")
NO_SALIENCY = "without a score there is no saliency to show; --score sharpness shows vid-TLDR's"
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("shapes") / "clips"
    export_clips(directory, ShapesWorld(1, "test"), 1)
    [path] = directory.glob("*.mp4")
    return path


def test_without_anything_else_it_writes_a_page_with_the_bundled_model(
    run: Run, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("show", clip, *ONCE)
    assert result.exit_code == 0, result.output
    assert result.stderr == NOTE
    assert result.stdout.endswith("  wrote report.html\n")
    html = (tmp_path / "report.html").read_text()
    assert clip.name in html
    assert f"Likeliest of {len(LABELS)} labels" in html
    assert "knows generated clips of coloured shapes and nothing else" in html
    assert "first answer" not in html + result.stdout  # nobody knows what the clip shows
    for fact in ("Device", "Platform", "Versions", "Date", "Numbers"):
        assert f"<dt>{fact}</dt>" in html
    assert f"{device_name(torch.device('cpu'))}, 1 thread</bdi>" in html
    assert "Made by</p>" in html
    assert len(data_of(html)["methods"]) == 2
    removed = removed_in(tmp_path / "report.html")
    entries = bundled_merge().r or ()
    assert removed == [entry for entry in entries if entry]
    assert f"512 tokens became {512 - sum(removed)}" in result.stdout
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize("option", ["-o", "--video"])
def test_the_video_that_is_shown_is_not_written_over(run: Run, clip: Path, option: str) -> None:
    before = clip.read_bytes()
    line = one_error_line(run("show", clip, option, clip))
    rule = "must not overwrite an input" if option == "--video" else "--output must end in .html"
    assert rule in line
    assert clip.read_bytes() == before


def test_everything_at_once(run: Run, clip: Path, tmp_path: Path) -> None:
    files = ("-o", tmp_path / "a.html", "--images", tmp_path / "new" / "dir")
    more = ("--video", tmp_path / "b.mp4", "--json", *PAPER, *ONCE)
    result = run("show", clip, *files, *more)
    assert result.exit_code == 0, result.output
    [row] = rows(result)
    assert row["error"] is None
    written = [Path(name) for name in row["files"]]
    assert [p.name for p in written] == ["a.html", "contact-sheet.png", "features.png", "b.mp4"]
    assert all(path.stat().st_size for path in written)
    assert [side["name"] for side in row["sides"]] == ["Unmerged", "vid-TLDR", "ToMe"]
    assert [side["num_tokens"][-1] for side in row["sides"]] == [512, 316, 316]
    assert row["sides"][0]["gflops"] > row["sides"][1]["gflops"] > 0
    assert all(len(side["answers"]) == 5 for side in row["sides"])
    assert Image.open(written[1]).width > 8 * 288
    with av.open(str(written[3])) as video, av.open(str(clip)) as source:
        assert len(list(video.decode(video=0))) == len(list(source.decode(video=0)))


def test_only_what_is_asked_for_is_written(run: Run, clip: Path, tmp_path: Path) -> None:
    result = run("show", clip, "--video", tmp_path / "b.gif", *ONCE)
    assert result.exit_code == 0, result.output
    assert [path.name for path in tmp_path.iterdir()] == ["b.gif"]


def test_a_layer_can_be_chosen(run: Run, clip: Path, tmp_path: Path) -> None:
    for layer in (0, 2):
        page = tmp_path / f"{layer}.html"
        assert run("show", clip, "-o", page, "--layer", layer, *MERGE, *ONCE).exit_code == 0
        assert data_of(page.read_text())["shownLayer"] == layer
    result = run("show", clip, "-o", tmp_path / "x.html", "--layer", 4, *MERGE)
    assert result.exit_code == 2
    assert "--layer must be one of 0, 1, 2 (the layers that merge), got 4." in result.stderr


def test_the_chosen_layer_is_in_the_pictures_and_the_video(
    run: Run, clip: Path, tmp_path: Path
) -> None:
    """The later layer has merged more: more of the pictures is painted over."""
    painted: dict[str, list[float]] = {"sheet": [], "video": []}
    before = video_frames(clip)
    for layer in (0, 2):
        images, video = tmp_path / str(layer), tmp_path / f"{layer}.mp4"
        flags = ("--images", images, "--video", video, "--layer", layer, *PAPER, *ONCE)
        assert run("show", clip, *flags).exit_code == 0
        sheet = np.asarray(Image.open(images / "contact-sheet.png").convert("RGB"))
        seen, grouped = (sheet_row(sheet, place) for place in (0, 3))
        painted["sheet"].append(float((seen != grouped).any(axis=-1).mean()))
        after = video_frames(video)
        painted["video"].append(float((np.abs(after - before).max(axis=-1) > 40).mean()))
    for first, last in painted.values():
        assert 0 < first < 0.97 * last


def video_frames(path: Path) -> np.ndarray:
    with av.open(str(path)) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    return np.stack(frames).astype(int)


def sheet_row(sheet: np.ndarray, place: int) -> np.ndarray:
    """The pictures of a row of the sheet of square tiles, (h, w, 3)."""
    row_height = LONGEST_TILE + 20 + 16
    top = 24 + 3 * 20 + 16 + place * row_height + 20 + 8
    return sheet[top : top + LONGEST_TILE, 24:-24]


def test_the_preset_is_what_the_bundled_model_merges_by(
    run: Run, clip: Path, tmp_path: Path
) -> None:
    page = tmp_path / "a.html"
    [row] = rows(run("show", clip, "--preset", "shapes", "-o", page, "--json", *ONCE))
    assert row["error"] is None
    assert removed_in(page) == [entry for entry in bundled_merge().r or () if entry]


def test_a_file_of_a_schedule_says_what_is_merged(run: Run, clip: Path, tmp_path: Path) -> None:
    page, schedule = tmp_path / "a.html", tmp_path / "schedule.json"
    schedule.write_text('{"r": [0, 90, 30], "score": "received"}')
    [row] = rows(run("show", clip, "--schedule", schedule, "-o", page, "--json", *ONCE))
    assert row["error"] is None
    assert [side["name"] for side in row["sides"]] == ["Unmerged", "received on x", "ToMe"]
    assert removed_in(page) == [90, 30]
    facts = page.read_text()
    assert "r = 0, 90, 30" in facts
    assert "received, metric x, linkage cosine" in facts


def removed_in(page: Path) -> list[int]:
    """Tokens that each merging layer of the first method removed."""
    layers = data_of(page.read_text())["methods"][0]["layers"]
    return [layer["tokensBefore"] - layer["tokens"] for layer in layers]


def test_texts_and_questions_have_answers_on_every_side(
    run: Run, clip: Path, tmp_path: Path
) -> None:
    output = ("-o", tmp_path / "a.html", "--json", *ONCE)
    [row] = rows(run("show", clip, "--text", "a red star", "--text", "a blue <b>", *output))
    for side in row["sides"]:
        assert {answer["text"] for answer in side["answers"]} == {"a red star", "a blue <b>"}
        assert all("cosine " in answer["score"] for answer in side["answers"])
    assert "The first answer" in (tmp_path / "a.html").read_text()
    assert "a blue &lt;b&gt;" in (tmp_path / "a.html").read_text()
    [row] = rows(run("show", clip, "--question", "what color is it", "--top", 3, *output))
    for side in row["sides"]:
        assert len(side["answers"]) == 3
        assert {answer["text"] for answer in side["answers"]} <= set(ANSWERS)
    assert "Question: what color is it" in (tmp_path / "a.html").read_text()


def test_tome_is_shown_beside_vid_tldr(run: Run, clip: Path, tmp_path: Path) -> None:
    flags = (*MERGE, "-o", tmp_path / "a.html", "--json", *ONCE)
    [row] = rows(run("show", clip, "--score", "none", "--metric", "keys", *flags))
    assert [side["name"] for side in row["sides"]] == ["Unmerged", "ToMe", "vid-TLDR"]
    [row] = rows(run("show", clip, "--score", "received", *flags))
    assert [side["name"] for side in row["sides"]] == ["Unmerged", "received on x", "ToMe"]


def test_without_a_score_it_says_that_there_is_no_saliency_and_how_to_see_it(
    run: Run, clip: Path, tmp_path: Path
) -> None:
    page, images = tmp_path / "a.html", tmp_path / "images"
    files = ("-o", page, "--images", images, "--video", tmp_path / "a.mp4")
    [row] = rows(run("show", clip, *MERGE, *files, "--json", *ONCE))
    assert [side["name"] for side in row["sides"]] == ["Unmerged", "Merging by similarity", "ToMe"]
    assert NO_SALIENCY in row["notes"]
    html = page.read_text()
    assert "there is no saliency to show; <code>--score sharpness</code>" in html
    assert 'data-view="saliency"' not in html
    assert "Saliency</b>" not in html
    assert "none, metric x, linkage ward" in html
    height = Image.open(images / "contact-sheet.png").height
    said = run("show", clip, *PAPER, "-o", page, "--images", images, *ONCE).stdout
    assert NO_SALIENCY not in said
    assert "there is no saliency" not in page.read_text()
    assert 'data-view="saliency"' in page.read_text()
    rows_more = Image.open(images / "contact-sheet.png").height - height
    assert rows_more == 2 * (LONGEST_TILE + 20 + 16)  # saliency and background
    assert NO_SALIENCY in run("show", clip, *MERGE, "-o", page, *ONCE).stdout


@pytest.mark.parametrize(
    ("flags", "name", "choices"),
    [
        (["--linkage", "cosine"], "Plain merging", "none, metric x, linkage cosine"),
        (
            ["--score", "sharpness", "--protect", "0.3"],
            "sharpness on x, protected",
            "sharpness, metric x, linkage cosine, protect 0.3",
        ),
        (
            ["--spare-norms", "4"],
            "no score on x, outliers spared",
            "none, metric x, linkage ward, spare norms 4",
        ),
        (
            ["--score", "received", "--linkage", "ward"],
            "received on x",
            "received, metric x, linkage ward",
        ),
    ],
)
def test_other_linkages_protection_and_sparing_are_named(
    run: Run, clip: Path, tmp_path: Path, flags: list[str], name: str, choices: str
) -> None:
    page = tmp_path / "a.html"
    [row] = rows(run("show", clip, *MERGE, *flags, "-o", page, "--json", *ONCE))
    assert [side["name"] for side in row["sides"]] == ["Unmerged", name, "ToMe"]
    assert choices in page.read_text()


def test_classifiers_and_umt_checkpoints_are_shown_too(
    run: Run, model: str, umt: UMTFiles, video: str, tmp_path: Path
) -> None:
    output = ("-o", tmp_path / "a.html", "--json", *ONCE)
    [row] = rows(run("show", video, "--model", model, "--ratio", "0.25", *output))
    assert row["error"] is None
    assert row["sides"][1]["num_tokens"][-1] == 36
    flags = (*umt.flags, "--flop-ratio", "0.8", "--labels", "dog,cat")
    [row] = rows(run("show", video, *flags, *output))
    assert row["error"] is None
    [row] = rows(
        run("show", video, *umt.answering_flags, "--r", "9", "--question", "what is red",
            "--answers", "dog,cat", *output)
    )  # fmt: skip
    assert {answer["text"] for answer in row["sides"][0]["answers"]} == {"dog", "cat"}


def test_a_video_that_cannot_be_read_is_exit_code_1(run: Run, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    result = run("show", broken, "-o", tmp_path / "a.html")
    assert result.exit_code == 1
    assert "broken.mp4' cannot be read: " in " ".join(result.stdout.split())
    assert not (tmp_path / "a.html").exists()
    [row] = rows(run("show", broken, "-o", tmp_path / "a.html", "--json"))
    assert row["files"] == []
    assert "cannot be read: FFmpeg" in row["error"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--video", "out.webm"], "--video must end in .mp4 or .gif, got 'out.webm'"),
        (["-o", "/no/where/a.html"], "--output must be in an existing, writable directory"),
        (["--video", "/no/where/a.mp4"], "--video must be in an existing, writable directory"),
        (["--images", __file__], "--images must be a directory, got the file"),
        (["--labels", "a", "--text", "b"], "--labels, --text and --question must be given one"),
        (["--answers", "a,b"], "--answers must come with --question, got none"),
        (["--model", "some/model", "--question", "a"], "--question must come with --model umt:"),
    ],
)
def test_usage_errors_are_one_line(run: Run, clip: Path, flags: list[str], words: str) -> None:
    assert words in one_error_line(run("show", clip, *flags))


def test_other_umt_models_need_something_to_answer(run: Run, umt: UMTFiles, clip: Path) -> None:
    line = one_error_line(run("show", clip, *umt.flags, "--r", "9"))
    assert "--labels, --text or --question must be given with --model umt:CHECKPOINT" in line


def test_a_schedule_that_merges_nothing_is_refused(run: Run, clip: Path, tmp_path: Path) -> None:
    result = run("show", clip, "--r", "0", "-o", tmp_path / "a.html")
    assert result.exit_code == 2
    assert "r must remove a token in some layer to be shown, got none" in result.stderr


def test_without_the_extra_it_is_named_before_any_work(
    run: Run, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    line = one_error_line(run("show", clip, "-o", tmp_path / "a.html"))
    assert "jinja2 must be installed to write a report" in line
    assert run("show", clip, "--video", tmp_path / "a.gif", *ONCE).exit_code == 0


def test_large_frames_are_kept_as_small_as_they_are_drawn(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = write_video(tmp_path / "film.mp4", width=320, height=240)
    whole = read_clip(film, Sampling(8)).frames
    monkeypatch.setattr("vidtldr.video.frames._MAX_CLIP_BYTES", whole.numel() - 1)
    subject = load_subject(ModelOptions(), AskedOptions())
    height, width = whole.shape[1:3]
    region = subject.transform.seen_region(height, width)
    for tile, same in zip(
        read_shown(subject, str(film)).views, make_tiles(whole, region, LONGEST_TILE), strict=True
    ):
        assert np.array_equal(tile, same)
    assert run("show", film, *ONCE, "-o", tmp_path / "page.html").exit_code == 0
