import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from support.outcomes import one_error_line
from support.rows_on_hand import settings, video
from support.umt_files import UMTFiles
from support.umt_sets import CONFIG, VideoSet

from vidtldr.cli.index.command import parse_seconds
from vidtldr.cli.index.run import model_of_index
from vidtldr.cli.model_options import ModelOptions
from vidtldr.config import MergeConfig
from vidtldr.models.umt import load_umt
from vidtldr.store.index_writer import IndexWriter
from vidtldr.store.video_index import VideoIndex
from vidtldr.tasks.clip_reader import umt_reader
from vidtldr.tasks.model_spec import ModelSpec
from vidtldr.tasks.search import search_videos
from vidtldr.tasks.video_features import VideoEncoding

Run = Callable[..., Result]
TEXT = "a dog runs"
FEW = ("--workers", 1, "--batch", 2, "--device", "cpu")
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def made(umt: UMTFiles, films: VideoSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of the films, with tokens, and what was printed when it was made."""
    from typer.testing import CliRunner

    from vidtldr.cli.main import app

    directory = tmp_path_factory.mktemp("made")
    flags = [*umt.flags, "--r", "20,8", "--keep-tokens", *map(str, FEW), "--json"]
    command = ["index", "add", str(films.directory), "--index", str(directory / "my.index")]
    result = CliRunner().invoke(app, [*command, *flags])
    assert result.exit_code == 1, result.output
    report = json.loads(result.stdout)
    assert (report["num_files"], report["num_indexed"], report["num_failed"]) == (6, 5, 1)
    return directory / "my.index"


@pytest.mark.slow
def test_a_new_index_that_merges_nothing_says_so_once(
    run: Run, umt: UMTFiles, films: VideoSet, tmp_path: Path
) -> None:
    command = ("index", "add", films.paths[0], "--index", tmp_path / "my.index", *umt.flags, *FEW)
    note = "note: nothing is merged; --flop-ratio 0.6 would save 40 % of the FLOPs\n"
    assert run(*command).stderr == note
    assert run(*command).stderr == ""  # its schedule can no longer change


def test_status_says_what_is_in_it(run: Run, made: Path) -> None:
    about = json.loads(run("index", "status", made, "--json", "--failures").stdout)
    assert (about["num_videos"], about["num_rows"], about["num_failures"]) == (5, 5, 1)
    assert about["model"].startswith("umt:/")
    assert about["schedule"] == "r=20,8 linkage=ward"
    assert about["bytes"] > 10_000
    assert about["ann_recall"] is None
    assert [Path(each["video"]).name for each in about["failures"]] == ["broken.mp4"]


@pytest.mark.parametrize("columns", ["60", "120"])
def test_status_as_a_person_reads_it(
    run: Run, made: Path, columns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.chdir(made.parent)
    text = run("index", "status", made.name).stdout
    assert text.splitlines()[0].strip() == "my.index"
    lines = [line.split() for line in text.splitlines()]
    assert ["videos", "5"] in lines
    assert ["failures", "1", "(--failures", "lists", "them)"] in lines
    assert ["rows", "5", "of", "12", "channels,", "with", "tokens"] in lines
    assert max(map(len, text.splitlines())) <= int(columns)


def test_a_search_in_it_finds_what_a_search_in_the_files_finds(
    run: Run, made: Path, umt: UMTFiles, films: VideoSet
) -> None:
    model = load_umt(umt.retrieval, config=CONFIG, tokenizer=umt.tokenizer)
    encoding = VideoEncoding(model, umt_reader(CONFIG), MergeConfig(r=[20, 8]))
    for rerank in (0, 2, 128):
        result = run("search", TEXT, "--index", made, "--json", "--rerank", rerank)
        assert result.exit_code == 0, result.output
        found = [json.loads(line) for line in result.stdout.splitlines()]
        expected = [
            hit for hit in search_videos(encoding, TEXT, films.paths, rerank=rerank) if hit.rank
        ]
        for row, hit in zip(found, expected, strict=True):
            assert (row["video"], row["rank"]) == (hit.path, hit.rank)
            assert row["score"] == pytest.approx(hit.score, abs=1e-5)
            assert row["match_score"] == pytest.approx(hit.match_score, abs=5e-3)
            assert (row["start_seconds"], row["end_seconds"]) == (0, pytest.approx(hit.seconds))


def test_a_video_is_most_like_itself_and_a_filter_leaves_it_out(
    run: Run, made: Path, films: VideoSet
) -> None:
    video = films.paths[0]
    result = run("search", "--like", video, "--index", made, "--json", "--top", 2)
    first, second = (json.loads(line) for line in result.stdout.splitlines())
    assert first["video"] == video
    assert second["score"] < first["score"] <= 1
    assert first["score"] == pytest.approx(1, abs=1e-5)
    where = f"path <> '{video}'"
    result = run("search", "--like", video, "--index", made, "--json", "--filter", where)
    assert video not in {json.loads(line)["video"] for line in result.stdout.splitlines()}
    result = run("search", TEXT, "--index", made, "--filter", "seconds > 1e6")
    assert result.stdout.startswith("nothing found")


def test_a_video_that_changed_since_is_not_re_ranked_by_its_new_content(
    run: Run, umt: UMTFiles, films: VideoSet, tmp_path: Path
) -> None:
    changed, same = tmp_path / "a.mp4", tmp_path / "b.mp4"
    changed.write_bytes(Path(films.paths[0]).read_bytes())
    same.write_bytes(Path(films.paths[1]).read_bytes())
    index = tmp_path / "my.index"
    assert run("index", "add", tmp_path, "--index", index, *umt.flags, *FEW).exit_code == 0
    changed.write_bytes(Path(films.paths[3]).read_bytes())
    result = run("search", TEXT, "--index", index, "--json", "--rerank", 2)
    first, second = (json.loads(line) for line in result.stdout.splitlines())
    assert (first["video"], second["video"]) == (str(same), str(changed))
    assert second["match_score"] is None
    assert "it is not the video that was indexed" in second["notes"][-1]


@pytest.mark.parametrize("columns", ["60", "120"])
def test_the_table_of_a_search(
    run: Run, made: Path, films: VideoSet, columns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.chdir(films.directory)
    result = run("search", TEXT, "--index", made, "--top", 2)
    head, first, second = result.stdout.splitlines()
    assert head.split() == ["rank", "match", "cosine", "video"]
    assert (first.split()[0], second.split()[0]) == ("1", "2")
    assert "film" in first
    assert max(map(len, result.stdout.splitlines())) <= int(columns)


def test_verify_export_and_a_second_writer(
    run: Run, made: Path, films: VideoSet, tmp_path: Path
) -> None:
    result = run("index", "verify", made)
    assert result.exit_code == 0
    assert "is sound: 5 rows of 5 videos, 1 failure" in " ".join(result.stdout.split())
    result = run("index", "export", made, "-o", tmp_path / "rows.parquet")
    assert "5 rows of 12 channels" in " ".join(result.stdout.split())
    from vidtldr.store.writer_lock import WriterLock

    with WriterLock(made):
        assert json.loads(run("index", "status", made, "--json").stdout)["is_being_written"]
        line = one_error_line(run("index", "add", films.directory, "--index", made, *FEW))
        assert "an index must have one writer at a time" in line


def test_a_later_run_takes_model_and_schedule_of_the_index(
    run: Run, made: Path, films: VideoSet
) -> None:
    result = run("index", "add", films.directory, "--index", made, *FEW, "--json")
    assert result.exit_code == 1
    report = json.loads(result.stdout)
    assert (report["num_unchanged"], report["num_failed_before"]) == (5, 1)
    assert report["num_indexed"] == report["num_failed"] == 0


def test_another_schedule_is_refused_with_the_reason(
    run: Run, made: Path, umt: UMTFiles, films: VideoSet
) -> None:
    flags = (*umt.flags, "--r", "20", *FEW)
    line = one_error_line(run("index", "add", films.directory, "--index", made, *flags))
    assert "schedule must be r=20,8 linkage=ward as in all rows of the index" in line
    assert "got r=20 linkage=ward." in line


def test_what_does_not_go_together_is_said(run: Run, made: Path, films: VideoSet) -> None:
    video = films.paths[0]
    for arguments, words in (
        ((TEXT,), f"TEXT and VIDEO must be given, got the text {TEXT!r} alone"),
        ((TEXT, video, "--index", made), "VIDEO must be left out with --index"),
        (
            (TEXT, "--like", video, "--index", made),
            "must be given with --index, got both",
        ),
        (("--index", made), "got neither"),
        ((TEXT, video, "--filter", "seconds > 5"), "--filter must come with --index INDEX"),
        ((TEXT, "--index", made, "--cache", "c"), "--cache must be left out with --index"),
        ((TEXT, "--index", made, "--compile"), "--compile must be left out with --index"),
        (
            ("--like", video, "--index", made, "--rerank", 3),
            "--rerank must be left out, got 3: the fusion encoder compares videos with texts",
        ),
        ((TEXT, "--index", made, "--filter", "nothing > 5"), "filter must be a condition on the"),
        ((TEXT, "--index", made.parent), "made by vidtldr index add"),
    ):
        assert words in one_error_line(run("search", *arguments)), arguments


def index_of(directory: Path, **options: object) -> Path:
    """An index made by others, of one row, whose settings name a model."""
    made = settings(options=ModelSpec().remembered(None) | options)
    with IndexWriter(directory / "theirs", made) as writer:
        writer.commit([video("/a")])
    return directory / "theirs"


def test_a_model_that_only_an_index_names_is_never_downloaded(
    run: Run, films: VideoSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr("socket.getaddrinfo", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    theirs = index_of(tmp_path, model="someone/model")
    for arguments in (
        ("search", "--like", films.paths[0], "--index", theirs),
        ("index", "add", films.directory, "--index", theirs),
    ):
        line = one_error_line(run(*arguments))
        assert "got an index of 'someone/model'. If you trust" in line
        assert "add --model someone/model." in line


def test_a_model_that_an_index_names_is_taken_from_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    snapshot = tmp_path / "models--someone--model" / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").touch()
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("a" * 40)
    for name in ("someone/model", str(snapshot)):
        model = model_of_index(settings(options={"model": name}), ModelOptions())
        assert model.spec.model == str(snapshot)
    (snapshot / "adapter_config.json").touch()  # names a model to download
    with pytest.raises(ValueError, match="must be named where it is not on this machine"):
        model_of_index(settings(options={"model": "someone/model"}), ModelOptions())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"frames": 10**9}, "num_frames must be at most 4096 with 64 patches a frame"),
        ({"frames": "8"}, "frames must be a whole number in the options of the index's index.json"),
        ({"model": ["umt:x"]}, "model must be text in the options of the index's index.json"),
        ({"merge": {"r": "x"}}, "r must be a sequence with one entry a layer"),
    ],
)
def test_options_that_cannot_be_are_one_line(
    run: Run, tmp_path: Path, options: dict[str, object], words: str
) -> None:
    result = run("search", TEXT, "--index", index_of(tmp_path, **options))
    assert result.exit_code == 2
    *_, line = result.stderr.splitlines()  # below the note on the bundled model
    assert line.startswith("error: ")
    assert words in line


def test_a_filter_is_checked_before_the_model_is_loaded(run: Run, tmp_path: Path) -> None:
    theirs = index_of(tmp_path, model="umt:/nowhere")
    line = one_error_line(run("search", TEXT, "--index", theirs, "--filter", "seconds > 5; x"))
    assert "';' is not part of a condition" in line


def test_an_address_is_refused_in_every_command(run: Run, films: VideoSet) -> None:
    for arguments in (
        ("index", "add", films.directory, "--index", "s3://bucket/x"),
        ("index", "status", "s3://bucket/x"),
        ("index", "verify", "s3://bucket/x"),
        ("search", TEXT, "--index", "s3://bucket/x"),
    ):
        assert "got the address 's3://bucket/x'" in one_error_line(run(*arguments))


def test_verify_says_what_is_without_checksum(run: Run, tmp_path: Path) -> None:
    theirs = index_of(tmp_path)
    about = json.loads((theirs / "index.json").read_text())
    (theirs / "index.json").write_text(json.dumps(about | {"format": 1}))
    VideoIndex(theirs).table("clips").drop_columns(["checksum"])
    (theirs / "tables.json").unlink()
    result = run("index", "verify", theirs)
    assert result.exit_code == 0
    assert "1 row has no checksum: written by an older vidtldr" in result.stdout
    assert json.loads(run("index", "verify", theirs, "--json").stdout)["num_unchecked"] == 1


def test_an_index_without_its_newest_version_goes_on_and_says_so(
    run: Run, made: Path, films: VideoSet, tmp_path: Path
) -> None:
    import shutil

    damaged = shutil.copytree(made, tmp_path / "damaged")
    min((damaged / "clips.lance" / "_versions").glob("*.manifest")).unlink()
    assert "without the newest version" in one_error_line(run("index", "verify", damaged))
    result = run("index", "add", films.directory, "--index", damaged, *FEW)
    assert "note: the index" in result.stderr
    assert "had lost the newest version of its clips" in result.stderr
    assert run("index", "verify", damaged).exit_code == 0
    assert json.loads(run("index", "status", damaged, "--json").stdout)["num_rows"] == 5


def test_sources_and_lengths_are_checked_before_anything_heavy(run: Run, tmp_path: Path) -> None:
    into = ("--index", tmp_path / "my.index")
    for arguments, words in (
        ((tmp_path / "nowhere", *into), "source must be an existing folder, file, pattern or list"),
        ((tmp_path, *into), "source must have videos in it"),
        ((tmp_path, *into, "--segment", "ten"), "--segment must be a length above 0, got 'ten'"),
        ((__file__, *into, "--model", "umt:nowhere"), "an existing file or directory"),
    ):
        assert words in one_error_line(run("index", "add", *arguments))
    assert not (tmp_path / "my.index").exists()


def test_prune_removes_what_is_gone_but_not_a_whole_disk(
    run: Run, umt: UMTFiles, films: VideoSet, tmp_path: Path
) -> None:
    import shutil

    folder = tmp_path / "videos"
    shutil.copytree(films.directory, folder)
    into = tmp_path / "my.index"
    assert run("index", "add", folder, "--index", into, *umt.flags, *FEW).exit_code == 1
    os.remove(folder / films.good[0])
    result = run("index", "prune", into, "--dry-run")
    assert result.stdout.splitlines()[0] == str(folder / films.good[0])
    assert "1 of 6 files would be removed" in result.stdout
    assert "1 of 6 files removed" in run("index", "prune", into).stdout
    assert json.loads(run("index", "status", into, "--json").stdout)["num_videos"] == 4
    shutil.rmtree(folder)
    line = one_error_line(run("index", "prune", into))
    assert "with all 5 gone. Bring back their disk, or add --all." in line
    assert "5 of 5 files removed" in run("index", "prune", into, "--all").stdout


@pytest.mark.parametrize(
    ("typed", "seconds"), [("10s", 10), ("10", 10), ("1.5m", 90), ("2h", 7200), (".5s", 0.5)]
)
def test_lengths(typed: str, seconds: float) -> None:
    assert parse_seconds("--segment", typed) == seconds
    with pytest.raises(ValueError, match="--segment must be a length above 0"):
        parse_seconds("--segment", f"-{typed}")


def test_an_index_without_rows_replaces_no_export(
    run: Run, umt: UMTFiles, films: VideoSet, tmp_path: Path
) -> None:
    index, file = tmp_path / "my.index", tmp_path / "keep.parquet"
    file.write_bytes(b"rows")
    broken = films.directory / films.broken
    assert run("index", "add", broken, "--index", index, *umt.flags, *FEW).exit_code == 1
    line = one_error_line(run("index", "export", index, "-o", file))
    assert "INDEX must have rows to export, got" in line
    assert file.read_bytes() == b"rows"
