"""Every command with small models of transformers that are neither video classifiers nor UMT."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from support import tiny_duals
from support.outcomes import one_error_line, rows
from support.umt_sets import VideoSet, real_set

Run = Callable[..., Result]
pytestmark = pytest.mark.usefixtures("one_thread")
MERGE = ("--flop-ratio", "0.8")  # the least that four layers allow is 0.63
LABELS = "yoga,a dog,reading book"
FRAMES_NOTE = "note: an image model sees 8 frames one by one, and their"


@pytest.fixture(scope="module", params=["clip", "siglip"])
def dual(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    write = getattr(tiny_duals, f"write_{request.param}")
    written: Path = write(tmp_path_factory.mktemp(request.param) / "model")
    return written


@pytest.fixture(scope="module")
def dinov2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_duals.write_dinov2(tmp_path_factory.mktemp("dinov2") / "model")


def test_labels_are_texts(run: Run, dual: Path, films: VideoSet) -> None:
    flags = ("--model", dual, "--labels", LABELS, "--json")
    done = run("classify", *films.paths, *flags)
    assert done.exit_code == 1  # one is broken
    assert f"{FRAMES_NOTE} logits are averaged" in done.stderr
    good = [row for row in rows(done) if row["error"] is None]
    assert len(good) == 5
    shares = [sum(label["probability"] for label in row["labels"]) for row in good]
    if "siglip" in str(dual):
        assert all(share < 0.95 for share in shares)
    else:
        assert shares == pytest.approx([1.0] * 5)
    other = run("classify", *films.paths, *flags, "--template", "no {}")
    assert [row["labels"] for row in rows(other)] != [row["labels"] for row in rows(done)]


def test_labels_of_a_list_are_evaluated(
    run: Run, dual: Path, films: VideoSet, tmp_path: Path
) -> None:
    path = tmp_path / "list.csv"
    path.write_text(f"video,label\n{films.good[0]},a dog\n{films.good[1]},yoga\n")
    flags = (f"--annotations={path}", f"--videos={films.directory}", "--model", dual, "--json")
    done = run("evaluate", "classification", *flags, "--labels", LABELS, "--frames", 4)
    assert done.exit_code == 0, done.output
    [found] = rows(done)
    assert (found["num_classified"], found["num_labels"]) == (2, 3)
    other = run("evaluate", "classification", *flags, "--labels", LABELS, "--template", "no {}")
    assert rows(other)[0]["predictions"] != found["predictions"]


def test_both_sides_are_compared(run: Run, dual: Path, films: VideoSet) -> None:
    done = run(
        "classify", films.paths[0], "--model", dual, "--labels", LABELS, "--compare", "--json",
        "--rounds", 1, *MERGE,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    [row] = rows(done)
    ratio = row["merged"]["gflops"] / row["unmerged"]["gflops"]
    assert ratio == pytest.approx(0.8, abs=0.05)


def test_files_are_ranked_by_cosine(run: Run, dual: Path, films: VideoSet) -> None:
    done = run("search", "a dog runs", *films.paths, "--model", dual, "--json")
    assert done.exit_code == 1
    found = rows(done)
    scores = [row["score"] for row in found[:-1]]
    assert scores == sorted(scores, reverse=True)
    assert [row["rank"] for row in found] == [1, 2, 3, 4, 5, None]
    assert all(row["match_score"] is None for row in found)
    assert "cannot read its content" in found[-1]["error"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--rerank", "3"], "--rerank must be left out, got 3: this model has no fusion encoder"),
        (["--cache", "kept"], "--cache must come with a umt: model, got 'kept'"),
        (["--tokenizer", "."], "--tokenizer must come with --model umt:CHECKPOINT"),
    ],
)
def test_what_only_umt_has_is_refused(
    run: Run, dual: Path, films: VideoSet, flags: list[str], message: str
) -> None:
    done = run("search", "a dog", films.paths[0], "--model", dual, *flags)
    assert done.exit_code == 2
    assert message in one_error_line(done)


@pytest.mark.slow
def test_an_index_is_searched_by_text_with_its_own_model(
    run: Run, dual: Path, films: VideoSet, tmp_path: Path
) -> None:
    pytest.importorskip("lancedb")
    index = tmp_path / "index"
    made = run("index", "add", *films.paths, "--index", index, "--model", dual)
    assert made.exit_code == 1, made.output
    done = run("search", "a dog runs", "--index", index, "--json")
    assert done.exit_code == 0, done.output
    files = run("search", "a dog runs", *films.paths, "--model", dual, "--json")
    expected = [row for row in rows(files) if row["error"] is None]
    for row, other in zip(rows(done), expected, strict=True):
        assert Path(row["video"]).name == Path(other["video"]).name
        assert row["score"] == pytest.approx(other["score"], abs=1e-5)
    again = run("search", "a dog", "--index", index, "--rerank", 2)
    assert "this model has no fusion encoder" in one_error_line(again)
    like = run("search", "--like", films.paths[0], "--index", index, "--json")
    assert rows(like)[0]["score"] == pytest.approx(1.0, abs=1e-5)


def test_an_index_of_an_encoder_without_texts_is_searched_by_example(
    run: Run, dinov2: Path, films: VideoSet, tmp_path: Path
) -> None:
    pytest.importorskip("lancedb")
    index = tmp_path / "index"
    made = run("index", "add", *films.paths, "--index", index, "--model", dinov2)
    assert made.exit_code == 1, made.output
    like = run("search", "--like", films.paths[1], "--index", index, "--json")
    assert Path(rows(like)[0]["video"]).name == films.good[1]
    text = run("search", "a dog", "--index", index)
    assert text.exit_code == 2
    assert "--model must read texts to search by one" in text.stderr


@pytest.mark.parametrize("flags", [["--labels", LABELS], ["--text", "a dog", "--text", "yoga"]])
def test_frames_are_shown_side_by_side(
    run: Run, dual: Path, films: VideoSet, tmp_path: Path, flags: list[str]
) -> None:
    page, images = tmp_path / "page.html", tmp_path / "images"
    where = ("--output", page, "--images", images)
    done = run("show", films.paths[0], "--model", dual, "--rounds", 1, *flags, *where, *MERGE)
    assert done.exit_code == 0, done.output
    assert page.stat().st_size > 10_000
    assert any(images.iterdir())


def test_an_encoder_is_shown_without_a_question(
    run: Run, dinov2: Path, films: VideoSet, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    done = run("show", films.paths[0], "--model", dinov2, "--rounds", 1, "--output", page, *MERGE)
    assert done.exit_code == 0, done.output
    text = run("show", films.paths[0], "--model", dinov2, "--text", "a", "--output", page)
    assert "--text must come with a model that reads texts" in text.stderr


@pytest.mark.parametrize("name", ["xclip", "timesformer", "vjepa2", "vit"])
def test_other_families_are_shown(run: Run, films: VideoSet, tmp_path: Path, name: str) -> None:
    model = getattr(tiny_duals, f"write_{name}")(tmp_path / "model")
    page = tmp_path / "page.html"
    flags = ("--model", model, "--rounds", 1, "--output", page, "--flop-ratio", "0.85")
    done = run("show", films.paths[0], *flags)
    assert done.exit_code == 0, done.output
    assert page.stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.parametrize("drift", ["feature-cosine", f"labels={LABELS}", "retrieval"])
def test_a_schedule_is_tuned(
    run: Run, dual: Path, films: VideoSet, tmp_path: Path, drift: str
) -> None:
    if drift == "retrieval":
        captions = tmp_path / "captions.json"
        texts = ["a dog", "yoga", "a cat", "a book", "a red car"]
        entries = [
            {"video": name, "caption": text} for name, text in zip(films.good, texts, strict=True)
        ]
        captions.write_text(json.dumps(entries))
        drift = f"retrieval={captions}"
    schedule = tmp_path / "schedule.json"
    good = [path for path in films.paths if "broken" not in str(path)]
    done = run(
        "tune", *good, "--model", dual, "--drift-by", drift, "--target", "flop-ratio=0.8",
        "--rounds", 1, "--output", schedule,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    embedded = run(
        "embed", good[0], "--model", dual, "--schedule", schedule, "-o", tmp_path / "v.parquet"
    )
    assert embedded.exit_code == 0, embedded.output


@pytest.mark.slow
def test_it_is_timed(run: Run, dual: Path) -> None:
    done = run(
        "bench", "latency", "--model", dual, *MERGE, "--rounds", 1, "--dtypes",
        "float32", "--device", "cpu", "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["schedules"][0]["input_shape"] == [8, 3, 40, 40]


@pytest.mark.parametrize("name", ["vit", "vjepa2"])
def test_other_classifiers_answer(run: Run, films: VideoSet, tmp_path: Path, name: str) -> None:
    write = getattr(tiny_duals, f"write_{name}")
    model = write(tmp_path / "model")
    done = run("classify", films.paths[0], "--model", model, "--flop-ratio", "0.8", "--json")
    assert done.exit_code == 0, done.output
    assert len(rows(done)[0]["labels"]) == 5
    embedded = run("embed", films.paths[0], "--model", model, "-o", tmp_path / "v.parquet")
    assert embedded.exit_code == 0, embedded.output


@pytest.mark.slow
def test_real_footage_is_indexed_searched_and_labelled(
    run: Run, dual: Path, tmp_path: Path, real_videos: Path
) -> None:
    pytest.importorskip("lancedb")
    real = real_set(tmp_path / "real", real_videos)
    index = tmp_path / "index"
    made = run(
        "index", "add", real.directory, "--index", index, "--model", dual, "--flop-ratio", "0.8"
    )
    assert made.exit_code in (0, 1), made.output
    found = rows(run("search", "a person signs", "--index", index, "--json"))
    assert len(found) >= 4
    labelled = run(
        "classify", real.directory, "--model", dual, "--labels", LABELS, "--flop-ratio", "0.8",
        "--json",
    )  # fmt: skip
    assert sum(row["error"] is None for row in rows(labelled)) >= 4


def test_retrieval_is_evaluated(run: Run, dual: Path, films: VideoSet, tmp_path: Path) -> None:
    texts = ["a dog", "yoga", "a cat", "a book", "a red car"]
    entries = [{"video": v, "caption": t} for v, t in zip(films.good, texts, strict=True)]
    captions = tmp_path / "captions.json"
    captions.write_text(json.dumps(entries))
    flags = ("--annotations", captions, "--videos", films.directory, "--protocol", "msrvtt")
    done = run("evaluate", "retrieval", *flags, "--model", dual, "--compare", *MERGE)
    assert done.exit_code == 0, done.output
    assert "R@1" in done.stdout
    again = run("evaluate", "retrieval", *flags, "--model", dual, "--rerank", 3)
    assert "--rerank must come with a umt: model, got 3" in one_error_line(again)


def test_classification_is_evaluated_by_texts(
    run: Run, dual: Path, films: VideoSet, tmp_path: Path
) -> None:
    lists = tmp_path / "labels.csv"
    names = ["yoga", "a dog", "reading book", "yoga", "a dog"]
    lists.write_text("".join(f"{v},{n}\n" for v, n in zip(films.good, names, strict=True)))
    flags = ("--annotations", lists, "--videos", films.directory, "--labels", LABELS)
    done = run("evaluate", "classification", *flags, "--model", dual, "--json")
    assert done.exit_code == 0, done.output
    other = run(
        "evaluate", "classification", *flags, "--model", dual, "--json", "--template", "no {}"
    )
    assert other.exit_code == 0, other.output
    assert done.stdout != other.stdout
