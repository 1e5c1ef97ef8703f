import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from rich.console import Console
from support.made_up_dense import made_up_dense
from support.outcomes import one_error_line
from support.tiny_dense import tiny_dense_model, write_photos
from support.tiny_files import write_video

from vidtldr.cli.bench.dense_tables import print_dense

Run = Callable[..., Result]
pytestmark = pytest.mark.usefixtures("one_thread")
FEW = ("--budgets", "0.8", "--first-layers", "0", "--methods", "vid-TLDR,random merging")


@pytest.fixture
def dense(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`vidtldr bench dense` with a tiny model in place of the one that the extra brings."""
    weights = tmp_path / "tiny.onnx"
    weights.write_bytes(b"weights")
    monkeypatch.setattr("vidtldr.bench.focus_weights.focus_file", lambda: weights)
    monkeypatch.setattr("vidtldr.cli.bench.dense.load_focus_model", lambda *_: tiny_dense_model())

    def invoke(*arguments: str | Path) -> Result:
        return run("bench", "dense", *FEW, "--device", "cpu", *arguments)

    return invoke


def test_photos_and_videos_are_measured_printed_and_written(
    dense: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    folder, output = write_photos(tmp_path / "set"), tmp_path / "dense.json"
    photos, masks = folder / "photos", folder / "masks"
    write_video(photos / "film.mp4")
    command = ("--photos", photos, "--masks", masks, "--frames", "2", "--cache", tmp_path / "cache")
    done = dense(*command, "-o", output)
    assert done.exit_code == 0, done.output
    assert "4 pictures of 40x40, 0.0 GFLOPs unmerged, 3 masks: max F 0." in done.stdout
    assert f"wrote {output}" in done.stderr
    report = json.loads(output.read_text())
    assert report["pictures"] == ["disc0.jpg", "disc1.jpg", "disc2.jpg", "film.mp4"]
    assert [row["method"] for row in report["rows"]] == ["vid-TLDR", "random merging"]
    figures = report["rows"][0]["figures"]
    assert figures["auroc_change"]["values"][3] is None
    assert figures["feature_distance"]["values"][3] > 0
    assert 0.6 < report["rows"][0]["flop_ratio"] <= 0.8
    assert report["weights"]["file"] == "tiny.onnx"
    assert str(tmp_path) not in output.read_text()
    kept = (tmp_path / "cache" / "dense.jsonl").read_bytes()
    again = dense(*command, "--json")
    assert again.exit_code == 0
    assert len(again.stdout.splitlines()) == 1
    assert json.loads(again.stdout)["rows"] == report["rows"]
    assert (tmp_path / "cache" / "dense.jsonl").read_bytes() == kept


def test_a_bad_photo_is_reported_and_ends_with_exit_code_1(dense: Run, tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "set", 2) / "photos"
    (photos / "a\nb.png").write_bytes(b"no picture")
    done = dense("--photos", photos)
    assert done.exit_code == 1, done.output
    assert "2 pictures of 40x40, 0.0 GFLOPs unmerged, no masks" in done.stdout
    [failed] = [line for line in done.stderr.splitlines() if line.startswith("failed: ")]
    assert failed.startswith("failed: a\\nb.png: ")
    assert "UnidentifiedImageError" in failed
    assert done.stderr.count("\n") == len(done.stderr.splitlines())


def test_what_is_unusual_about_a_video_is_said(dense: Run, tmp_path: Path) -> None:
    video = write_video(tmp_path / "short.mp4", num_frames=2)
    done = dense("--photos", video, "--frames", "4", "--json")
    assert done.exit_code == 0, done.output
    [noted] = json.loads(done.stdout)["noted"]
    assert noted["name"] == "short.mp4"
    assert noted["notes"] == ["too short, with 2 in all: last frame repeated 2 times"]
    assert f"note: short.mp4: {noted['notes'][0]}" in done.stderr.splitlines()


def test_without_the_extra_its_install_line_is_the_error(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        nothing = "importlib.metadata.MetadataPathFinder.find_distributions"
        patch.setattr(nothing, lambda *_: ())
        line = one_error_line(run("bench", "dense"))
    assert line.startswith("error: bench dense needs scikit-image, which is not installed")
    assert line.endswith(" Run pip install 'vidtldr[real]'.\n")


def test_nothing_but_bad_photos_is_an_error(dense: Run, tmp_path: Path) -> None:
    photo = tmp_path / "bad.png"
    photo.write_bytes(b"no picture")
    line = one_error_line(dense("--photos", photo))
    assert line.startswith("error: no picture could be measured; the first: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--budgets", "1.1"], "--budgets must be numbers in (0, 1], comma-separated, got '1.1'"),
        (["--budgets", "1"], "--budgets must have one below 1"),
        (["--first-layers", "one"], "--first-layers must be comma-separated integers"),
        (["--first-layers", "12"], "--first-layers must be in [0, 1] (the first of 3 of"),
        (["--methods", "random dropping"], "--methods must be among default, default (protected)"),
        (["--side", "100"], "--side must be a multiple of 14"),
        (["--photos", "nowhere"], "--photos must be an existing folder or file, got 'nowhere'"),
        (["--masks", "nowhere"], "--masks must be an existing folder, got 'nowhere'"),
        (["-o", "/no/where.json"], "--output must be in an existing, writable directory"),
        (["-o", "x.csv"], "--output must end in .json, got 'x.csv'"),
        (["-o", "photos/x.json"], "--output must not be inside what is read"),
        (["--cache", "photos/disc0.jpg"], "--cache must be a directory, got the file"),
        (["--cache", "photos/disc0.jpg/a/b"], "--cache must be in a directory that you may write"),
        (["--cache", "dangling"], "--cache must be a directory, got the link to nothing 'dangli"),
    ],
)
def test_usage_errors(
    dense: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(write_photos(tmp_path / "set", 1))
    Path("dangling").symlink_to("nowhere")
    typed = [] if "--photos" in arguments else ["--photos", "photos"]
    assert message in one_error_line(dense(*typed, *arguments))


@pytest.mark.parametrize("has_masks", [False, True])
@pytest.mark.parametrize("width", [80, 140])
def test_tables_fit(width: int, has_masks: bool, capsys: pytest.CaptureFixture[str]) -> None:
    print_dense(Console(width=width, highlight=False), made_up_dense(has_masks=has_masks))
    text = capsys.readouterr().out
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    assert ("±" in text) == (width == 140)
    assert ("max F, change in points" in text) == has_masks
    assert ("against the masks" in text) == has_masks
    lines = [line.split() for line in text.splitlines()]
    assert any(line[:2] == ["vid-TLDR", "3-5"] and line[-1] == "-" for line in lines)
    assert any(line[:2] == ["layer", "11"] for line in lines)
    changes = [line for line in lines if "+1.5" in line]
    assert bool(changes) == has_masks
    assert "-: these layers cannot reach the budget" in text
