"""`vidtldr export`, and commands that take what it wrote."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import Result
from support import tiny_duals
from support.outcomes import one_error_line, rows
from support.tiny_files import write_videomae
from support.umt_files import UMTFiles
from support.umt_sets import VideoSet

Run = Callable[..., Result]
pytestmark = pytest.mark.usefixtures("one_thread")
ENDINGS = {"pt2": ".pt2", "aoti": ".pt2", "onnx": ".onnx", "openvino": ".xml"}
PACKAGES = {"onnx": ("onnxscript", "onnxruntime"), "openvino": ("openvino",)}
MERGE = ("--r", "4,3")


def export(run: Run, model: object, path: Path, format_name: str, *flags: object) -> Result:
    for package in PACKAGES.get(format_name, ()):
        pytest.importorskip(package, reason=f"{package} is in the environment of test-export")
    given = () if model is None else (model,)
    return run("export", *given, "--format", format_name, "-o", path, "--rounds", 1, *flags)


def videos_of(films: VideoSet) -> list[str]:
    return [str(films.directory / name) for name in films.good]


def labels_of(done: Result) -> list[dict[str, float]]:
    return [
        {each["label"]: each["probability"] for each in row["labels"]}
        for row in rows(done)
        if row["error"] is None
    ]


@pytest.fixture(scope="module")
def exported(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> tuple[Path, Path]:
    """A VideoMAE, and the program that was exported of it, merging."""
    from typer.testing import CliRunner

    from vidtldr.cli.main import app

    folder = tmp_path_factory.mktemp("exported")
    model, path = write_videomae(folder / "model"), folder / "merging.pt2"
    flags = ["--format", "pt2", "-o", str(path), "--rounds", "1", *MERGE]
    done = CliRunner().invoke(app, ["export", str(model), *flags])
    assert done.exit_code == 0, done.output
    return model, path


def exports_of_classifiers() -> list[Any]:
    """Exports take seconds each, and compiling C++ a minute."""
    one = [pytest.param("videomae", name, marks=pytest.mark.export) for name in ("onnx", "aoti")]
    kinds = ("vit", "vjepa2", "timesformer")
    others = [pytest.param(kind, "pt2", marks=pytest.mark.slow) for kind in kinds]
    for_openvino = [
        pytest.param(kind, "openvino", marks=pytest.mark.export) for kind in ("videomae", *kinds)
    ]
    return [("videomae", "pt2"), *one, *others, *for_openvino]


@pytest.mark.parametrize(("kind", "format_name"), exports_of_classifiers())
def test_an_exported_classifier_answers_as_the_model(
    run: Run, kind: str, format_name: str, films: VideoSet, tmp_path: Path
) -> None:
    write = write_videomae if kind == "videomae" else getattr(tiny_duals, f"write_{kind}")
    model, path = write(tmp_path / "model"), tmp_path / f"merging{ENDINGS[format_name]}"
    merge = ("--r", "2,1") if kind == "timesformer" else MERGE
    done = export(run, model, path, format_name, *merge)
    assert done.exit_code == 0, done.output
    assert "speed-up" in done.output or "no measurable difference" in done.output
    flags = ("--top", 7, "--json")
    expected = run("classify", *films.paths, "--model", model, *merge, *flags)
    found = run("classify", *films.paths, "--model", path, *flags)
    assert (found.exit_code, expected.exit_code) == (1, 1), found.output  # a film is broken
    assert len(labels_of(found)) == 5
    for one, other in zip(labels_of(found), labels_of(expected), strict=True):
        assert one == pytest.approx(other, abs=1e-4)
    tokens = [row["num_tokens"] for row in rows(found) if row["error"] is None]
    assert tokens == [row["num_tokens"] for row in rows(expected) if row["error"] is None]


@pytest.mark.slow
def test_the_record_says_what_the_file_is(exported: tuple[Path, Path]) -> None:
    model, path = exported
    record = json.loads(path.with_name("merging.pt2.json").read_text())
    assert record["format"] == "pt2"
    assert record["model"]["model"] == str(model.resolve())
    assert record["merge"]["r"] == [4, 3]
    assert record["labels"] == [f"label {i}" for i in range(7)]
    measured = record["measured"]
    assert measured["unmerged"]["gflops"] > measured["merged"]["gflops"]
    assert measured["merged"]["difference_from_torch"] < 1e-4
    assert measured["environment"]["versions"]["torch"] == torch.__version__
    assert sorted(each.name for each in path.parent.iterdir()) == [
        "merging.pt2",
        "merging.pt2.json",
        "model",
    ]  # no temporary file


def test_without_an_amount_nothing_merges(run: Run, model: str, tmp_path: Path) -> None:
    done = export(run, model, tmp_path / "whole.pt2", "pt2", "--json")
    assert done.exit_code == 0, done.output
    assert "nothing is merged" in done.stderr
    record = json.loads(done.stdout)
    assert (record["merge"], record["r"]) == (None, None)
    assert "merged" not in record["measured"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["videomae", "vit", "clip", "xclip", "dinov2"])
def test_an_exported_model_embeds_as_the_model(
    run: Run, kind: str, films: VideoSet, tmp_path: Path
) -> None:
    read_table = pytest.importorskip("pyarrow.parquet").read_table
    write = write_videomae if kind == "videomae" else getattr(tiny_duals, f"write_{kind}")
    model, path = write(tmp_path / "model"), tmp_path / "merging.pt2"
    assert export(run, model, path, "pt2", *MERGE).exit_code == 0
    files = tmp_path / "expected.parquet", tmp_path / "found.parquet"
    assert run("embed", *videos_of(films), "--model", model, *MERGE, "-o", files[0]).exit_code == 0
    assert run("embed", *videos_of(films), "--model", path, "-o", files[1]).exit_code == 0
    expected, found = (torch.tensor(read_table(each)["vector"].to_pylist()) for each in files)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["umt", "clip"])
def test_an_index_is_made_with_an_exported_model_and_searched_by_text(
    run: Run, kind: str, umt: UMTFiles, films: VideoSet, tmp_path: Path
) -> None:
    pytest.importorskip("lancedb")
    if kind == "umt":
        arch: list[str] = umt.size_flags
        model: object = f"umt:{umt.retrieval}"
    else:
        arch, model = [], tiny_duals.write_clip(tmp_path / "model")
    path = tmp_path / "merging.pt2"
    done = export(run, model, path, "pt2", *arch, *MERGE)
    assert done.exit_code == 0, done.output
    results = {}
    for name, flags in {
        "expected": ("--model", model, *arch, *MERGE),
        "found": ("--model", path),
    }.items():
        index = tmp_path / name
        done = run("index", "add", *videos_of(films), "--index", index, *flags)
        assert done.exit_code == 0, done.output
        assert "nothing is merged" not in done.stderr
        named = ("--model", path) if name == "found" else ()
        done = run("search", "a dog", "--index", index, "--json", *named)
        assert done.exit_code == 0, done.output
        results[name] = {Path(row["video"]).name: row["score"] for row in rows(done)}
    assert results["found"] == pytest.approx(results["expected"], abs=1e-4)
    other = run(
        "index", "add", *videos_of(films), "--index", tmp_path / "found", "--model", model, *arch
    )
    assert other.exit_code == 2


@pytest.mark.slow
def test_texts_need_the_same_weights(run: Run, films: VideoSet, tmp_path: Path) -> None:
    pytest.importorskip("lancedb")
    model, path = tiny_duals.write_clip(tmp_path / "model"), tmp_path / "merging.pt2"
    assert export(run, model, path, "pt2", *MERGE).exit_code == 0
    index = tmp_path / "index"
    assert run("index", "add", *videos_of(films), "--index", index, "--model", path).exit_code == 0
    from safetensors.torch import load_file, save_file

    file = model / "model.safetensors"
    weights = load_file(file)
    weights["text_projection.weight"] += 1
    save_file(weights, file, metadata={"format": "pt"})
    done = run("search", "a dog", "--index", index, "--model", path)
    assert done.exit_code == 2
    assert "must still have the weights that were exported" in done.stderr


REFUSED = {
    "a schedule": (("--flop-ratio", "0.6"), "--flop-ratio must be left out with an exported model"),
    "a comparison": (("--compare",), "--model must be a model that is seen unmerged and merged"),
    "compiling": (("--compile",), "--compile must be left out with an exported model"),
    "a dtype": (("--dtype", "bfloat16"), "--dtype must be auto or float32"),
    "frames": (("--frames", "4"), "--frames must be left out with an exported model"),
    "labels": (("--labels", "a,b"), "--labels must be 7 names"),
    "a template": (
        ("--labels", "a,b", "--template", "no {}"),
        "--template must come with a model that reads texts",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_was_chosen_at_the_export_cannot_be_changed(
    run: Run, name: str, exported: tuple[Path, Path], video: str
) -> None:
    flags, message = REFUSED[name]
    done = run("classify", video, "--model", exported[1], *flags)
    assert done.exit_code == 2
    assert message in one_error_line(done)


@pytest.mark.parametrize(
    "command",
    [
        ("show", "VIDEO"),
        ("evaluate", "classification", "--videos", "FOLDER", "--annotations", "LIST"),
        ("bench", "latency"),
        ("tune", "VIDEO"),
        ("ask", "VIDEO", "what?"),
        ("export", "--format", "pt2", "-o", "other.pt2"),
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_other_commands_refuse_exported_files(
    run: Run, command: tuple[str, ...], exported: tuple[Path, Path], video: str, tmp_path: Path
) -> None:
    (tmp_path / "list.csv").write_text(f"video,label\n{Path(video).name},label 1\n")
    places = {"VIDEO": video, "LIST": str(tmp_path / "list.csv")}
    places["FOLDER"] = str(Path(video).parent)
    typed = [places.get(each, each) for each in command]
    named = [exported[1]] if command[0] == "export" else ["--model", exported[1]]
    done = run(*typed, *named)
    assert done.exit_code == 2, done.output
    assert "export" in one_error_line(done)


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100] + bytes(100))


def change_record(path: Path, **changes: object) -> None:
    file = path.with_name(f"{path.name}.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


DAMAGED: dict[str, tuple[Callable[[Path], object], str]] = {
    "another content": (damage, "with another content than its record says"),
    "no record": (lambda path: path.with_name(f"{path.name}.json").unlink(), "without its record"),
    "no JSON": (
        lambda path: path.with_name(f"{path.name}.json").write_text("{"),
        "must have a record that can be read",
    ),
    "a list": (lambda path: path.with_name(f"{path.name}.json").write_text("[]"), "no object"),
    "another version": (lambda path: change_record(path, version=99), "version must be 1"),
    "an unknown key": (lambda path: change_record(path, run="rm"), "keys must be known"),
    "another format": (lambda path: change_record(path, format="exe"), "format must be one of"),
    "no frames": (lambda path: change_record(path, num_frames=0), "num_frames must"),
    "a transform": (lambda path: change_record(path, transform={"resize": -1}), "resize must"),
    "another name": (
        lambda path: change_record(path, files={"other.pt2": "0"}),
        "must have the name that it was exported under",
    ),
    "a file elsewhere": (
        lambda path: change_record(path, files={"../../etc/passwd": "0"}),
        "files must be names of files beside it",
    ),
    "labels of numbers": (lambda path: change_record(path, labels=[1]), "labels must be"),
    "a model of numbers": (lambda path: change_record(path, model={"model": 1}), "model must be"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_found(
    run: Run, name: str, exported: tuple[Path, Path], video: str, tmp_path: Path
) -> None:
    path = tmp_path / "merging.pt2"
    for ending in ("", ".json"):
        content = exported[1].with_name(f"merging.pt2{ending}").read_bytes()
        path.with_name(f"merging.pt2{ending}").write_bytes(content)
    harm, message = DAMAGED[name]
    harm(path)
    done = run("classify", video, "--model", path)
    assert done.exit_code == 2, done.output
    assert message in one_error_line(done)


@pytest.mark.slow
def test_an_index_runs_no_program_that_nobody_named(
    run: Run, exported: tuple[Path, Path], films: VideoSet, tmp_path: Path
) -> None:
    pytest.importorskip("lancedb")
    index = tmp_path / "index"
    made = run("index", "add", *videos_of(films), "--index", index, "--model", exported[1])
    assert made.exit_code == 0, made.output
    like = ("search", "--like", videos_of(films)[1], "--index", index, "--json")
    refused = run(*like)
    assert refused.exit_code == 2
    assert "--model must be named where it can run any code" in one_error_line(refused)
    found = run(*like, "--model", exported[1])
    assert Path(rows(found)[0]["video"]).name == Path(videos_of(films)[1]).name


def test_a_file_that_nobody_named_is_kept(run: Run, model: str, tmp_path: Path) -> None:
    (tmp_path / "merging.bin").write_text("mine")
    done = run("export", model, "--format", "openvino", "-o", tmp_path / "merging.xml")
    assert done.exit_code == 2
    assert "--output must overwrite nothing but an export" in one_error_line(done)


@pytest.mark.slow
def test_a_link_is_followed_and_an_export_replaced(run: Run, model: str, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "merging.pt2"
    link.symlink_to(tmp_path / "real" / "other.pt2")
    for _ in range(2):
        assert export(run, model, link, "pt2", *MERGE).exit_code == 0
    assert link.is_symlink()
    names = sorted(each.name for each in (tmp_path / "real").iterdir())
    assert names == ["other.pt2", "other.pt2.json"]


@pytest.mark.slow
def test_an_interruption_leaves_what_was_there(
    run: Run, model: str, exported: tuple[Path, Path], tmp_path: Path, monkeypatch: Any
) -> None:
    """At the last moment: the files are hashed, and nothing is in its place."""
    path = tmp_path / "merging.pt2"
    for ending in ("", ".json"):
        content = exported[1].with_name(f"merging.pt2{ending}").read_bytes()
        path.with_name(f"merging.pt2{ending}").write_bytes(content)
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir() if each.is_file()}

    def interrupt(_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("vidtldr.export.export.file_sha256", interrupt)
    done = export(run, model, path, "pt2", "--r", "2")
    assert done.exit_code == 130
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == before


def test_what_torch_cannot_export_is_an_error(run: Run, tmp_path: Path) -> None:
    from support.tiny_chat import write_llava

    write_llava(tmp_path / "model")
    model = tmp_path / "model"
    done = run("export", model, "--format", "pt2", "-o", tmp_path / "tower.pt2")
    assert done.exit_code == 2, done.output
    assert "--model must be one that torch.export can take" in done.stderr
    assert [each.name for each in tmp_path.iterdir()] == ["model"]


OUTPUTS = {
    "another ending": (("pt2", "merging.onnx"), "--output must be a file that ends in .pt2"),
    "no ending": (("pt2", "merging"), "--output must be a file that ends in .pt2"),
    "standard output": (("pt2", "-"), "--output must be a file that ends in .pt2"),
    "no directory": (("pt2", "none/merging.pt2"), "--output must be in an existing, writable"),
    "half precision": (("onnx", "merging.onnx", "--dtype", "bf16"), "--dtype must be float32"),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_outputs_are_checked_first(run: Run, name: str, model: str, tmp_path: Path) -> None:
    (format_name, file, *flags), message = OUTPUTS[name]
    path = file if file == "-" else tmp_path / file
    done = run("export", model, "--format", format_name, "-o", path, *flags)
    assert done.exit_code == 2
    assert message in one_error_line(done)


@pytest.mark.slow
def test_bfloat16_is_exported(run: Run, model: str, video: str, tmp_path: Path) -> None:
    path = tmp_path / "merging.pt2"
    done = export(run, model, path, "pt2", *MERGE, "--dtype", "bfloat16")
    assert done.exit_code == 0, done.output
    found = run("classify", video, "--model", path, "--json")
    expected = run("classify", video, "--model", model, "--dtype", "bfloat16", *MERGE, "--json")
    for one, other in zip(labels_of(found), labels_of(expected), strict=True):
        assert one == pytest.approx(other, abs=0.02)


@pytest.mark.export
def test_openvino_sends_nothing() -> None:
    pytest.importorskip("openvino_telemetry", reason="comes with openvino")
    code = """
from vidtldr.tasks.exported.engines import import_openvino
import_openvino()
from openvino.tools.ovc import telemetry_utils
print(telemetry_utils.tm.__name__)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "openvino.tools.ovc.telemetry_stub"
