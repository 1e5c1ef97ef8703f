"""Every subcommand of UMT on camera footage, from files on disk, one of them broken."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from support.outcomes import rows
from support.umt_files import UMTFiles
from support.umt_sets import VideoSet, real_set, write_json

Run = Callable[..., Result]
CAPTIONS = {
    "asl_again.mkv": "Person standing in an office signs one ASL word",
    "asl_eat.mkv": "Person in an office signs the word eat",
    "mmaction2_part_0.mp4": "1 s of a pole and hose in a swimming pool",
    "asl_yes.mkv": "Person in an office signs the word yes",
    "mmaction2_test.mp4": "A person is cleaning a swimming pool",
    "truncated_60pct_yoga.mp4": "yoga",
}
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory, real_videos: Path) -> VideoSet:
    found = real_set(tmp_path_factory.mktemp("footage"), real_videos)
    shutil.copy(real_videos / "clips" / "mmaction2_test.mp4", found.directory)
    return found._replace(good=[*found.good, "mmaction2_test.mp4"])


def test_search(run: Run, umt: UMTFiles, footage: VideoSet) -> None:
    result = run("search", "a swimming pool", *footage.paths, *umt.flags, "--json")
    assert result.exit_code == 1
    assert [row["rank"] for row in rows(result)] == [1, 2, 3, 4, 5, None]
    assert rows(result)[-1]["video"].endswith(footage.broken)


def test_ask(run: Run, umt: UMTFiles, footage: VideoSet) -> None:
    flags = (*umt.answering_flags, "--answers", "pool,office,street", "--json")
    for path in footage.paths:
        result = run("ask", path, "where is the person?", *flags)
        assert result.exit_code == int(path.endswith(footage.broken))
        assert len(rows(result)[0]["answers"]) == (0 if result.exit_code else 3)


def test_classify(run: Run, umt: UMTFiles, footage: VideoSet) -> None:
    labels = "yoga,signing,cleaning pool"
    result = run("classify", *footage.paths, *umt.flags, "--labels", labels, "--json")
    assert result.exit_code == 1
    assert [len(row["labels"]) for row in rows(result)] == [3, 3, 0, 3, 3, 3]


def test_embed(run: Run, umt: UMTFiles, footage: VideoSet, tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet", reason="pip install 'vidtldr[search]'")
    file = tmp_path / "features.parquet"
    assert run("embed", *footage.paths, *umt.flags, "-o", file).exit_code == 1
    vectors = pq.read_table(file).column("vector").to_pylist()
    assert [vector is None for vector in vectors] == [False, False, True, False, False, False]


@pytest.mark.parametrize("schedule", [[], ["--r", "20,8"]])
def test_evaluate(
    run: Run, umt: UMTFiles, footage: VideoSet, tmp_path: Path, schedule: list[str]
) -> None:
    names, captions = footage.names, list(CAPTIONS.values())
    choices = [*captions[:4], captions[5]]
    entries = {
        "retrieval": [{"video": name, "caption": CAPTIONS[name]} for name in names],
        "answering": [
            {"video": name, "question": "where is it?", "answer": "pool"} for name in names
        ],
        "multiple-choice": [
            {"video": name, "caption": choices, "answer": i % 5} for i, name in enumerate(names)
        ],
    }
    answers = write_json(tmp_path / "answers.json", ["pool", "office"])
    special = {
        "retrieval": [*umt.flags, "--protocol", "msrvtt"],
        "answering": [*umt.answering_flags, "--answers", answers],
        "multiple-choice": umt.flags,
    }
    for kind, list_of_kind in entries.items():
        path = write_json(tmp_path / f"{kind}.json", list_of_kind)
        flags = ("--annotations", path, "--videos", footage.directory, *special[kind])
        result = run("evaluate", kind, *flags, *schedule, "--json")
        assert result.exit_code == 1, result.output
        [found] = rows(result)
        assert found["run"]["num_videos"] == len(names)
        assert found["run"]["num_encoded"] == len(footage.good)
        [failed] = found["run"]["failed_videos"]
        assert failed["path"].endswith(footage.broken)
