"""docs/reproduce.md: its commands parse as typed, and run on small models of the same families."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import Result
from PIL import Image
from support.outcomes import rows
from support.shown_pages import DOCS, blocks
from support.tiny_duals import write_siglip, write_vjepa2
from support.tiny_files import write_videomae, write_vivit
from support.umt_files import UMTFiles
from support.umt_sets import VideoSet, write_json
from typer.main import get_command

from vidtldr.cli.main import app

Run = Callable[..., Result]
pytestmark = pytest.mark.usefixtures("one_thread")

PAGE = DOCS / "reproduce.md"
LINES = [line for block in blocks(PAGE) for line in block.splitlines()]
COMMANDS = [shlex.split(line)[1:] for line in LINES if line.startswith("vidtldr ")]
FAMILIES = {"videomae": write_videomae, "vivit": write_vivit}
FAMILIES |= {"siglip2": write_siglip, "vjepa2": write_vjepa2}
#: Schedules for many tokens, replaced as small models have few.
SMALL = {"--r": "9,5", "--flop-ratio": "0.8"}


def value(command: list[str], option: str) -> str:
    return command[command.index(option) + 1]


def name(command: list[str]) -> str:
    return value(command, "-o").removesuffix(".json") if "-o" in command else "first"


by_command = pytest.mark.parametrize("command", COMMANDS, ids=name)


def test_each_recipe_has_commands_and_a_table_to_fill() -> None:
    recipes = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)
    recipes = [text for text in recipes if " on " in text.partition("\n")[0]]
    assert len(recipes) == 6
    for text in recipes:
        title = text.partition("\n")[0]
        assert "--compare" in text, title
        assert "yours, unmerged | yours, merged" in text, title


@by_command
def test_a_command_parses_as_typed(command: list[str]) -> None:
    group: Any = get_command(app)
    arguments = command
    while isinstance(group, click.Group):
        _, group, arguments = group.resolve_command(click.Context(group), arguments)
    group.make_context("vidtldr", list(arguments))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("photos")
    for number in range(3):
        gradient = Image.linear_gradient("L").resize((50, 44))
        colours = [gradient.rotate(40 * number + angle) for angle in (0, 90, 200)]
        photo = Image.merge("RGB", colours)
        photo.save(directory / f"ILSVRC2012_val_0000000{number}.JPEG", quality=95, subsampling=0)
    return directory


@pytest.fixture
def small_set(films: VideoSet, photos: Path, tmp_path: Path) -> Callable[[list[str]], list[str]]:
    """The options of a command that name files, for files that are here."""

    def options(command: list[str]) -> list[str]:
        model = value(command, "--model")
        if "siglip" in model:
            listed = "".join(
                f"{path.name} {i}\n" for i, path in enumerate(sorted(photos.iterdir()))
            )
            labels = write_json(tmp_path / "names.json", ["tench", "goldfish", "shark"])
            found = [f"--videos={photos}", f"--labels={labels}"]
        elif command[1] == "retrieval":
            entries = [{"video": video, "caption": f"the {video}"} for video in films.good]
            annotations = write_json(tmp_path / "list.json", entries)
            return [f"--videos={films.directory}", f"--annotations={annotations}"]
        else:
            listed = "".join(f"{video} {i % 2}\n" for i, video in enumerate(films.good))
            found = [f"--videos={films.directory}"]
        if "--labels" in command and len(found) == 1:
            labels = tmp_path / "names.txt"
            labels.write_text("".join(f"act {i}\n" for i in range(7)))
            found.append(f"--labels={labels}")
        annotations = tmp_path / "list.txt"
        annotations.write_text(listed)
        return [*found, f"--annotations={annotations}"]

    return options


@by_command
def test_a_command_runs_on_a_small_model(
    run: Run,
    command: list[str],
    small_set: Callable[[list[str]], list[str]],
    wide_umt: UMTFiles,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    model = value(command, "--model")
    files = small_set(command)
    replaced = {"--model", "--annotations", "--videos", "--labels"} & {*command}
    kept = _without(command, replaced)
    if model.startswith("umt:"):
        files += wide_umt.flags  # as many layers and tokens as the preset is for
    else:
        kept = [SMALL.get(before, word) for before, word in zip(["", *kept], kept, strict=False)]
        if "--compare" in kept and not {*SMALL} & {*kept}:
            kept += ["--flop-ratio", SMALL["--flop-ratio"]]
        [write] = [write for family, write in FAMILIES.items() if family in model]
        files.append(f"--model={write(tmp_path / 'model')}")
    result = run(*kept, *files, "--json")
    assert result.exit_code == 0, result.output
    [found] = rows(result)
    assert ("merged" in found) == ("--compare" in command)
    if "-o" in command:
        assert Path(value(command, "-o")).is_file()
    if command[1] == "classification":
        for side in (found["unmerged"], found["merged"]) if "--compare" in command else (found,):
            assert side["num_failed"] == 0
            assert side["num_views"] == (6 if "ssv2" in kept else _num_views(kept))


def _without(command: list[str], options: set[str]) -> list[str]:
    dropped = {
        place for each in options for place in (command.index(each), command.index(each) + 1)
    }
    return [word for place, word in enumerate(command) if place not in dropped]


def _num_views(command: list[str]) -> int:
    return 15 if "kinetics" in command and "--segments" not in command else 1


def test_a_photo_is_a_video_of_one_frame(run: Run, photos: Path, tmp_path: Path) -> None:
    """Its probabilities are those of transformers. Where colours are stored at half the size, as in
    most photos, decoders differ by a level or so: these store all of them.
    """
    import torch
    from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

    directory = write_siglip(tmp_path / "siglip")
    names = ["tench", "goldfish", "shark"]
    labels = write_json(tmp_path / "names.json", names)
    paths = sorted(photos.iterdir())
    annotations = tmp_path / "list.txt"
    annotations.write_text("".join(f"{path.name} 0\n" for path in paths))
    flags = [f"--annotations={annotations}", f"--labels={labels}", f"--videos={photos}", "--json"]
    flags += [f"--model={directory}", "--frames=1", "--template=a photo of a {}"]
    done = run("evaluate", "classification", *flags)
    assert done.stderr == "note: an image model sees one frame of each video\n"
    [found] = rows(done)
    model = AutoModel.from_pretrained(directory).eval()
    prompts = [f"a photo of a {name}" for name in names]
    tokens = AutoTokenizer.from_pretrained(directory)(
        prompts, padding="max_length", max_length=32, return_tensors="pt"
    )
    processor = AutoImageProcessor.from_pretrained(directory)
    pixels = processor([Image.open(path) for path in paths], return_tensors="pt")
    with torch.inference_mode():
        output = model(input_ids=tokens["input_ids"], pixel_values=pixels["pixel_values"])
    for prediction, expected in zip(
        found["predictions"], output.logits_per_image.sigmoid().tolist(), strict=True
    ):
        got = {each["label"]: each["probability"] for each in prediction["likeliest"]}
        assert [got[name] for name in names] == pytest.approx(expected, abs=2e-3)
