from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from support.umt_sets import CONFIG, retrieval_model
from torch._dynamo.utils import counters

import vidtldr
from vidtldr.config import MergeConfig
from vidtldr.tasks.clip_reader import umt_reader
from vidtldr.tasks.video_features import VideoEncoding

MERGE = MergeConfig(r=[20, 8])
BY_MASS = MergeConfig(r=[20, 8], score=None, pooling="mass")


def test_one_row_a_video_and_a_bad_one_stops_no_other(retrieval, videos, encoding_of):
    rows = list(encoding_of(retrieval).encode_all(videos.paths))
    assert [row.path for row in rows] == videos.paths
    assert [row.error is None for row in rows] == [name in videos.good for name in videos.names]
    broken = rows[2]
    assert "cannot be read: FFmpeg" in broken.error
    assert broken.tokens is None
    assert broken.pooled is None
    for row in rows:
        if row.error is None:
            with torch.no_grad():
                pixels = umt_reader(CONFIG)(row.path).values
                expected = retrieval.encode_video(pixels[None])
            torch.testing.assert_close(row.tokens.x, expected.tokens[0])
            torch.testing.assert_close(row.pooled, expected.pooled[0])


def test_a_schedule_is_applied_and_the_model_left_as_it_was(retrieval, films, encoding_of):
    before = retrieval.encode_video(torch.zeros(1, 4, 3, 32, 32)).tokens
    row = encoding_of(retrieval, MERGE).encode(films.paths[0])
    assert row.tokens.x.shape == (64 - 28, 24)
    assert torch.equal(retrieval.encode_video(torch.zeros(1, 4, 3, 32, 32)).tokens, before)


def test_encodings_of_one_model_serve_threads_each_with_its_own_schedule(retrieval, encoding_of):
    encodings = [encoding_of(retrieval, merge) for merge in (None, MERGE, MergeConfig(r=[4]))]
    clip = torch.randn(1, 4, 3, 32, 32)
    expected = [encoding.encode_pixels(clip).pooled for encoding in encodings]
    with ThreadPoolExecutor(3) as pool:
        jobs = [(i, pool.submit(encodings[i].encode_pixels, clip)) for i in [0, 1, 2] * 20]
        for i, job in jobs:
            torch.testing.assert_close(job.result().pooled, expected[i])


def test_a_budget_is_turned_into_counts_once(retrieval, encoding_of):
    encoding = encoding_of(retrieval, merge=MergeConfig(num_tokens=40))
    assert encoding.merge == MergeConfig(num_tokens=40)
    assert encoding.schedule == MergeConfig(r=[10, 8, 6])  # in three of the four layers
    assert encoding.encode_pixels(torch.randn(1, 4, 3, 32, 32)).tokens.shape[1] == 40


def test_no_schedule_means_unmerged_even_on_a_patched_model(tokenizer, films, encoding_of):
    model = vidtldr.apply_patch(retrieval_model(tokenizer), MERGE)
    assert encoding_of(model).encode(films.paths[0]).tokens.x.shape == (64, 24)
    with torch.no_grad():
        assert model.encode_video(torch.zeros(1, 4, 3, 32, 32)).tokens.shape == (1, 36, 24)


def test_a_schedule_that_does_not_fit_is_refused_before_any_video(retrieval, encoding_of):
    with pytest.raises(ValueError, match=r"`r\[0\]` must be in \[0, 32\]"):
        encoding_of(retrieval, MergeConfig(r=[40]))


@pytest.mark.parametrize("batch_size", [2, 3, 20])
def test_batches_give_the_same_rows(retrieval, films, encoding_of, batch_size):
    single = list(encoding_of(retrieval, MERGE).encode_all(films.paths))
    batched = list(encoding_of(retrieval, MERGE).encode_all(films.paths, batch_size=batch_size))
    assert [row.path for row in batched] == films.paths
    for one, other in zip(single, batched, strict=True):
        assert one.error == other.error
        if one.error is None:
            torch.testing.assert_close(one.tokens.x, other.tokens.x, rtol=1e-4, atol=1e-5)


def test_the_second_time_features_come_from_the_cache_to_the_bit(
    retrieval, films, encoding_of, tmp_path
):
    first = encoding_of(retrieval, MERGE, cache_dir=tmp_path)
    second = encoding_of(retrieval, MERGE, cache_dir=tmp_path)
    fresh = list(first.encode_all(films.paths))
    cached = list(second.encode_all(films.paths))
    assert (first.num_encoded, second.num_encoded) == (5, 0)
    assert [row.from_cache for row in cached] == [row.error is None for row in cached]
    for one, other in zip(fresh, cached, strict=True):
        assert (one.seconds, one.notes, one.error) == (other.seconds, other.notes, other.error)
        if one.error is None:
            assert torch.equal(one.tokens.x, other.tokens.x)
            assert torch.equal(one.pooled, other.pooled)


def test_a_mix_of_cached_and_missing_videos_keeps_its_order_in_batches(
    retrieval, films, encoding_of, tmp_path
):
    list(encoding_of(retrieval, cache_dir=tmp_path).encode_all(films.paths[1::2]))
    encoding = encoding_of(retrieval, cache_dir=tmp_path)
    rows = list(encoding.encode_all(films.paths * 3, batch_size=2))
    assert [row.path for row in rows] == films.paths * 3
    for row in rows:
        if row.error is None:
            expected = encoding_of(retrieval).encode(row.path).tokens.x
            torch.testing.assert_close(row.tokens.x, expected, rtol=1e-4, atol=1e-5)


def test_another_file_under_an_old_name_is_computed(retrieval, films, encoding_of, tmp_path):
    cache, video = tmp_path / "cache", tmp_path / "video.mp4"
    for source, is_known in ((0, False), (1, False), (0, True)):
        video.write_bytes((films.directory / films.good[source]).read_bytes())
        row = encoding_of(retrieval, cache_dir=cache).encode(str(video))
        assert row.from_cache == is_known
        expected = encoding_of(retrieval).encode(str(films.directory / films.good[source]))
        assert torch.equal(row.tokens.x, expected.tokens.x)


def test_everything_that_decides_the_features_is_in_the_key(
    retrieval, tokenizer, encoding_of, tmp_path
):
    other_weights = retrieval_model(tokenizer)
    with torch.no_grad():
        next(other_weights.vision_encoder.parameters()).flatten()[0] += 1
    reader = umt_reader(CONFIG)
    encodings = [
        encoding_of(retrieval, cache_dir=tmp_path),
        encoding_of(retrieval, MERGE, cache_dir=tmp_path),
        encoding_of(retrieval, MergeConfig(r=[20, 8], score="received"), cache_dir=tmp_path),
        encoding_of(retrieval, MergeConfig(r=[20, 8], linkage="cosine"), cache_dir=tmp_path),
        encoding_of(retrieval, MergeConfig(r=[20, 8], spare_norms=3), cache_dir=tmp_path),
        encoding_of(retrieval, BY_MASS, cache_dir=tmp_path),
        encoding_of(other_weights, cache_dir=tmp_path),
        encoding_of(retrieval, cache_dir=tmp_path, autocast=torch.bfloat16),
        VideoEncoding(retrieval, umt_reader(CONFIG, max_seconds=30.0), cache_dir=tmp_path),
        VideoEncoding(retrieval_model(tokenizer).double(), reader, cache_dir=tmp_path),
    ]
    assert len({encoding.cache.directory for encoding in encodings}) == len(encodings)
    assert len(list(tmp_path.glob("*/context.json"))) == len(encodings)


def test_a_damaged_cache_entry_is_computed_again_and_said(retrieval, films, encoding_of, tmp_path):
    list(encoding_of(retrieval, cache_dir=tmp_path).encode_all(films.paths))
    [entry, *_] = sorted(tmp_path.glob("*/*/*.safetensors"))
    entry.write_bytes(entry.read_bytes()[:-1])
    encoding = encoding_of(retrieval, cache_dir=tmp_path)
    rows = list(encoding.encode_all(films.paths))
    assert encoding.num_encoded == 1
    [said] = [row for row in rows if row.error is None and not row.from_cache]
    assert "is damaged" in said.notes[-1]
    again = encoding_of(retrieval, cache_dir=tmp_path)
    assert all(row.notes == () for row in again.encode_all(films.paths))
    assert again.num_encoded == 0


def test_features_that_are_not_finite_are_an_error_and_not_kept(tokenizer, films, tmp_path):
    model = retrieval_model(tokenizer)
    with torch.no_grad():
        model.vision_encoder.blocks[0].mlp.fc1.weight[0, 0] = torch.nan
    encoding = VideoEncoding(model, umt_reader(CONFIG), cache_dir=tmp_path)
    row = encoding.encode(films.paths[0])
    assert row.tokens is None
    assert "must be finite, got NaN or inf" in row.error
    assert list(tmp_path.glob("*/*/*.safetensors")) == []


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA out of memory.")])
def test_a_lack_of_memory_stops_no_other_video(retrieval, films, encoding_of, error, monkeypatch):
    encoding = encoding_of(retrieval)
    encode, calls = encoding.encode_pixels, []

    def second_fails(clips):
        calls.append(clips)
        if len(calls) == 2:
            raise error
        return encode(clips)

    monkeypatch.setattr(encoding, "encode_pixels", second_fails)
    rows = list(encoding.encode_all(films.paths[:2] + films.paths[3:5]))
    assert [row.error is None for row in rows] == [True, False, True, True]
    assert "encoding it takes more memory than there is" in rows[1].error
    assert rows[1].tokens is None


def test_autocast_keeps_tokens_in_the_half_type(retrieval, films, encoding_of):
    encoding = encoding_of(retrieval, MERGE, autocast=torch.bfloat16)
    row = encoding.encode(films.paths[0])
    exact = encoding_of(retrieval, MERGE).encode(films.paths[0])
    assert row.tokens.x.dtype == torch.bfloat16
    assert torch.nn.functional.cosine_similarity(row.pooled, exact.pooled, dim=0) > 0.9


@pytest.mark.parametrize("autocast", [None, torch.bfloat16])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_mass_goes_along_with_the_tokens(
    retrieval, films, encoding_of, tmp_path, autocast, batch_size
):
    options = {"cache_dir": tmp_path, "autocast": autocast}
    encoding = encoding_of(retrieval, BY_MASS, **options)
    rows = list(encoding.encode_all(films.paths, batch_size=batch_size))
    cached = list(encoding_of(retrieval, BY_MASS, **options).encode_all(films.paths))
    for row, again in zip(rows, cached, strict=True):
        if row.error is not None:
            continue
        pixels = umt_reader(CONFIG)(row.path).values
        expected = encoding.encode_pixels(pixels[None]).mass[0]
        assert row.tokens.mass.dtype == torch.float32
        assert row.tokens.mass.shape == (64 - 28,)
        if autocast is None:  # halves may pair other tokens in another batch
            torch.testing.assert_close(row.tokens.mass, expected, rtol=1e-3, atol=1e-3)
        assert again.from_cache
        assert torch.equal(again.tokens.mass, row.tokens.mass)
        assert torch.equal(again.tokens.x, row.tokens.x)


def test_every_video_is_a_step(retrieval, films, encoding_of):
    steps = []
    rows = encoding_of(retrieval).encode_all(films.paths, on_step=lambda: steps.append(1))
    for number, _ in enumerate(rows, start=1):
        assert len(steps) == number


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("merge", [MERGE, BY_MASS])
def test_compiled_features_are_the_uncompiled_ones_to_rounding(
    retrieval, tokenizer, films, encoding_of, merge
):
    compiled = encoding_of(retrieval, merge, compile_for=2)
    assert compiled.compiled.compile_seconds > 0
    num_graphs = counters["stats"]["unique_graphs"]
    rows = list(compiled.encode_all([films.paths[0], *films.paths[3:]] * 2, batch_size=2))
    plain = list(encoding_of(retrieval, merge).encode_all([films.paths[0], *films.paths[3:]] * 2))
    # Four compiled batches of two; the last clip alone makes no second graph.
    list(compiled.encode_all(films.paths[:1]))
    assert counters["stats"]["unique_graphs"] == num_graphs
    exact = VideoEncoding(retrieval_model(tokenizer).double(), umt_reader(CONFIG), merge)
    for row, uncompiled in zip(rows, plain, strict=True):
        true = exact.encode(row.path)
        for found, same, truth in (
            (row.tokens.x, uncompiled.tokens.x, true.tokens.x),
            (row.pooled, uncompiled.pooled, true.pooled),
        ):
            rounding = torch.finfo(torch.float32).eps * truth.abs().max()
            bound = 2 * ((same.double() - truth).abs().max() + rounding)
            assert (found.double() - truth).abs().max() <= bound
        if merge.pooling == "mass":
            torch.testing.assert_close(row.tokens.mass, uncompiled.tokens.mass)


def test_what_cannot_be_compiled_is_refused_at_once(tokenizer, encoding_of):
    model = retrieval_model(tokenizer).train()
    with pytest.raises(ValueError, match="model must be in evaluation mode to compile"):
        encoding_of(model, MERGE, compile_for=1)
