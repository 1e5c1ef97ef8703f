import json
from dataclasses import asdict

import numpy as np
import pytest
from support.rows_on_hand import NUM_CHANNELS, settings, video

from vidtldr.store.ann import AnnSearch, AnnSettings, build_ann, read_ann_settings
from vidtldr.store.exact_search import ExactSearch
from vidtldr.store.export import export_parquet
from vidtldr.store.index_writer import IndexWriter
from vidtldr.store.nearest import NearestClips
from vidtldr.store.rows import clip_id
from vidtldr.store.video_index import VideoIndex


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    directory = tmp_path_factory.mktemp("search") / "my.index"
    with IndexWriter(directory, settings()) as writer:
        for start in range(0, 60, 20):
            writer.commit(
                [video(f"/{number}", 1 + number % 3) for number in range(start, start + 20)]
            )
    return VideoIndex(directory)


def vectors():
    return {
        clip_id(f"/{number}", clip.start_seconds): clip.vector
        for number in range(60)
        for clip in video(f"/{number}", 1 + number % 3).clips
    }


def test_the_nearest_are_those_of_a_loop(index):
    query = np.random.default_rng(5).standard_normal(NUM_CHANNELS).astype(np.float32)
    search = ExactSearch(index)
    assert search.num_rows == index.num_rows == 120
    cosines = {
        key: float(np.dot(v.astype(float), query) / np.linalg.norm(v) / np.linalg.norm(query))
        for key, v in vectors().items()
    }
    best = sorted(cosines, key=lambda key: -cosines[key])
    for top in (1, 10, 120, 500):
        hits = search.search(query, top)
        assert [hit.id for hit in hits] == best[:top]
        assert [hit.score for hit in hits] == pytest.approx(
            [cosines[k] for k in best[:top]], abs=1e-6
        )


def test_a_filter_leaves_rows_out(index):
    query = np.ones(NUM_CHANNELS, np.float32)
    hits = ExactSearch(index, "start_seconds > 5 AND path <> '/5'").search(query, 1000)
    expected = {key for key in vectors() if key not in {clip_id(f"/{n}", 0.0) for n in range(60)}}
    assert {hit.id for hit in hits} == expected - {clip_id("/5", 10.0), clip_id("/5", 20.0)}
    assert ExactSearch(index, "seconds > 99").search(query, 3) == []


@pytest.mark.parametrize("where", ["secondz > 1", "seconds >", "DROP TABLE clips", "path"])
def test_a_filter_that_is_none_is_an_error_that_names_the_columns(index, where):
    with pytest.raises(ValueError, match=r"filter must be a condition on the columns id, path"):
        ExactSearch(index, where)


def test_equal_scores_come_in_the_order_of_their_keys(tmp_path):
    with IndexWriter(tmp_path / "i", settings()) as writer:
        same = video("/same").clips
        rows = [video(f"/{n}") for n in range(9)]
        writer.commit([type(row)(**(vars(row) | {"clips": same})) for row in rows])
    hits = ExactSearch(VideoIndex(tmp_path / "i")).search(same[0].vector, 4)
    assert [hit.id for hit in hits] == sorted(clip_id(f"/{n}", 0.0) for n in range(9))[:4]
    assert all(hit.score == pytest.approx(1) and hit.score <= 1 for hit in hits)


def test_an_empty_index_finds_nothing(tmp_path):
    IndexWriter(tmp_path / "i", settings()).close()
    assert (
        NearestClips(VideoIndex(tmp_path / "i")).search(np.ones(NUM_CHANNELS, np.float32), 3) == []
    )


def test_wrong_queries_are_errors(index):
    with pytest.raises(ValueError, match=r"query must be \(8,\) as the index's vectors"):
        ExactSearch(index).search(np.ones(3, np.float32), 1)
    with pytest.raises(ValueError, match="top must be at least 1"):
        ExactSearch(index).search(np.ones(NUM_CHANNELS, np.float32), 0)


def test_the_export_has_all_rows_and_the_settings(index, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    assert export_parquet(index, tmp_path / "rows.parquet") == index.num_rows
    table = parquet.read_table(tmp_path / "rows.parquet")
    found = dict(zip(table["id"].to_pylist(), table["vector"].to_pylist(), strict=True))
    assert found.keys() == vectors().keys()
    assert all(found[key] == pytest.approx(vector) for key, vector in vectors().items())
    assert b'"model": "first"' in table.schema.metadata[b"vidtldr"]
    assert len(list(tmp_path.iterdir())) == 1


def test_an_export_goes_into_a_directory_that_looks_like_an_address(index, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("movies:action", "memory:", "s3:"):
        (tmp_path / name).mkdir()
        assert export_parquet(index, f"{name}/rows.parquet") == index.num_rows
        assert [path.name for path in (tmp_path / name).iterdir()] == ["rows.parquet"]


def test_an_ann_index_says_what_it_finds_and_finds_it(tmp_path):
    with IndexWriter(tmp_path / "i", settings()) as writer:
        writer.commit([video(f"/{number}", 3) for number in range(200)])
        index = VideoIndex(tmp_path / "i")
        assert read_ann_settings(index) is None
        built = build_ann(index, num_queries=20)
        assert built.num_rows == 600
        assert built.recall >= 0.9
        writer.commit([video("/late")])
        writer.compact()
    index = VideoIndex(tmp_path / "i")
    assert read_ann_settings(index) == built
    nearest = NearestClips(index)
    assert not nearest.is_exact
    late = video("/late").clips[0].vector
    assert nearest.search(late, 3)[0].id == clip_id("/late", 0.0)
    exact = ExactSearch(index).search(late, 1)[0]
    assert nearest.search(late, 1)[0].score == pytest.approx(exact.score, abs=1e-5)
    only = AnnSearch(index, "path = '/7'").search(late, 9)
    assert {hit.id for hit in only} == {clip_id("/7", start) for start in (0.0, 10.0, 20.0)}


@pytest.mark.parametrize(
    "change", [{"num_probes": 10**9}, {"num_rows": "600"}, {"recall": None}, {"more": 1}]
)
def test_damaged_settings_of_an_ann_index_leave_search_exact(tmp_path, change):
    with IndexWriter(tmp_path, settings()) as writer:
        writer.commit([video("/a", 3)])
    index = VideoIndex(tmp_path)
    sound = AnnSettings(600, 20, 0.99, 1.0, 2.0, 3.0, 20)
    (tmp_path / "ann.json").write_text(json.dumps(asdict(sound)))
    assert read_ann_settings(index) == sound
    for text in (json.dumps(asdict(sound) | change), "[" * 10**5, "[]"):
        (tmp_path / "ann.json").write_text(text)
        assert read_ann_settings(index) is None
        assert NearestClips(index).is_exact


def test_an_ann_index_of_few_rows_is_refused(index):
    with pytest.raises(ValueError, match="at least 256 rows, got 120"):
        build_ann(index)
