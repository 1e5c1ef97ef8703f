import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import Result
from support.outcomes import one_error_line, rows
from support.tiny_files import write_vivit
from support.umt_files import UMTFiles
from support.umt_sets import CONFIG, VideoSet

from vidtldr.models.umt import load_umt
from vidtldr.tasks.clip_reader import umt_reader
from vidtldr.tasks.embed import embed_videos, umt_embedder
from vidtldr.tasks.video_features import VideoEncoding

Run = Callable[..., Result]
pq = pytest.importorskip("pyarrow.parquet", reason="pip install 'vidtldr[search]'")
pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_video_is_not_written_over(
    run: Run, umt: UMTFiles, films: VideoSet, tmp_path: Path
) -> None:
    video = tmp_path / "a.mp4"
    video.write_bytes(Path(films.paths[0]).read_bytes())
    link = tmp_path / "b.parquet"
    link.symlink_to(video)
    line = one_error_line(run("embed", video, *umt.flags, "-o", link))
    assert "--output must not overwrite an input" in line
    assert video.read_bytes() == Path(films.paths[0]).read_bytes()


def test_umt_vectors_are_written_with_the_failed_video_named(
    run: Run, umt: UMTFiles, films: VideoSet, tmp_path: Path
) -> None:
    file = tmp_path / "features.parquet"
    result = run("embed", *films.paths, *umt.flags, "--r", "20", "-o", file)
    assert result.exit_code == 1
    assert result.stdout.startswith("1 of 6 videos failed:")
    assert "5 vectors of 12" in result.stdout
    table = pq.read_table(file)
    assert table.column_names[:4] == ["id", "path", "seconds", "vector"]
    assert json.loads(table.schema.metadata[b"merge"])["r"] == [20]
    assert json.loads(table.schema.metadata[b"r"]) == [20]
    assert table.schema.metadata[b"num_frames"] == b"4"
    model = load_umt(umt.retrieval, config=CONFIG, tokenizer=umt.tokenizer)
    encoding = VideoEncoding(model, umt_reader(CONFIG))
    unmerged = list(embed_videos(umt_embedder(encoding), films.paths))
    for row, path, other in zip(table.to_pylist(), films.paths, unmerged, strict=True):
        assert row["path"] == path
        assert row["id"] == hashlib.sha256(Path(path).read_bytes()).hexdigest()[:32]
        if Path(path).name == films.broken:
            assert row["vector"] is None
            assert "cannot read its content" in row["error"]
        else:
            vector = torch.tensor(row["vector"])
            assert vector.norm().item() == pytest.approx(1, abs=1e-5)
            assert not torch.allclose(vector, other.vector, atol=1e-4)  # it did merge
            assert row["seconds"] == pytest.approx(0.48)
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("schedule", [[], ["--r", "9,5"], ["--num-tokens", "40"]])
def test_a_classifier_embeds_too(
    run: Run, model: str, video: str, tmp_path: Path, schedule: list[str]
) -> None:
    file = tmp_path / "f.parquet"
    result = run("embed", video, "--model", model, "-o", file, "--json", *schedule)
    assert result.exit_code == 0, result.output
    [row] = rows(result)
    assert set(row) == {"video", "id", "duration_seconds", "notes", "error"}
    table = pq.read_table(file)
    removed = {"": None, "--r": [9, 5], "--num-tokens": [3, 3, 2]}["".join(schedule[:1])]
    assert json.loads(table.schema.metadata[b"r"]) == removed
    [stored] = table.to_pylist()
    assert stored["id"] == row["id"]
    assert len(stored["vector"]) == 48


def test_vivit_embeds_too(run: Run, video: str, tmp_path: Path) -> None:
    directory = write_vivit(tmp_path / "vivit")
    file = tmp_path / "f.parquet"
    assert run("embed", video, "--model", directory, "--output", file).exit_code == 0
    assert pq.read_table(file).num_rows == 1


def test_without_pyarrow_nothing_starts(
    run: Run, umt: UMTFiles, films: VideoSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    line = one_error_line(run("embed", *films.paths, *umt.flags, "-o", tmp_path / "f.parquet"))
    assert "Run: pip install 'vidtldr[search]'" in line


def test_places_that_cannot_be_written(
    run: Run, umt: UMTFiles, films: VideoSet, tmp_path: Path
) -> None:
    arguments = ("embed", films.paths[0], *umt.flags, "-o")
    line = one_error_line(run(*arguments, tmp_path))
    assert "--output must be a file, got the directory" in line
    line = one_error_line(run(*arguments, tmp_path / "nowhere" / "f.parquet"))
    assert "--output must be in an existing, writable directory" in line


def test_what_is_for_umt_is_refused_for_a_classifier(
    run: Run, model: str, video: str, tmp_path: Path
) -> None:
    flags = ("--model", model, "-o", tmp_path / "f.parquet", "--arch", "b16")
    line = one_error_line(run("embed", video, *flags))
    assert "--arch must come with --model umt:CHECKPOINT" in line


def test_a_file_of_vectors_is_never_replaced_by_errors_alone(
    run: Run, umt: UMTFiles, films: VideoSet, tmp_path: Path
) -> None:
    file = tmp_path / "keep.parquet"
    file.write_bytes(b"vectors")
    broken = next(path for path in films.paths if Path(path).name == films.broken)
    result = run("embed", broken, *umt.flags, "-o", file)
    assert result.exit_code == 1
    assert "keep.parquet is not written: there is no vector" in result.stderr
    assert "wrote" not in result.output
    assert file.read_bytes() == b"vectors"
    assert list(tmp_path.iterdir()) == [file]
