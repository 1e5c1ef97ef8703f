import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from support import tiny_models
from support.film import write_film, write_large_gif
from torch._dynamo.utils import counters

from vidtldr.config import MergeConfig
from vidtldr.patch.patching import apply_patch
from vidtldr.tasks.compiled_pretrained import compile_pretrained
from vidtldr.tasks.embed import (
    EmbeddedVideo,
    embed_videos,
    pretrained_embedder,
    pretrained_features,
    umt_embedder,
)
from vidtldr.tasks.embeddings_file import write_parquet
from vidtldr.tasks.pretrained import Pretrained
from vidtldr.video.transform import VideoTransform


def pretrained(model):
    transform = VideoTransform(resize=(32, 32), mean=0.5, std=0.5)
    return Pretrained(model, transform, tuple("abcdefg"), 6)


@pytest.mark.parametrize("merge", [None, MergeConfig(r=[20])])
def test_umt_gives_projected_unit_vectors(retrieval, videos, encoding_of, merge):
    encoding = encoding_of(retrieval, merge)
    embedder = umt_embedder(encoding)
    rows = list(embed_videos(embedder, videos.paths))
    assert [row.path for row in rows] == videos.paths
    for row, path in zip(rows, videos.paths, strict=True):
        with open(path, "rb") as file:
            assert row.id == hashlib.sha256(file.read()).hexdigest()[:32]
        features = encoding.encode(path)
        assert row.error == features.error
        if row.error is None:
            with torch.no_grad():
                expected = retrieval.vision_proj(features.pooled)
            expected = torch.nn.functional.normalize(expected, dim=-1)
            torch.testing.assert_close(row.vector, expected)
            assert row.vector.shape == (embedder.num_channels,)
            assert row.seconds == features.seconds


def test_a_clip_that_the_model_refuses_stops_no_other(films, tmp_path):
    small = write_film(tmp_path / "other.mp4", 12, size=(146, 64))
    classifier = Pretrained(tiny_models.videomae(), VideoTransform(crop=(32, 32)), (), 6)
    embedder = pretrained_embedder(classifier)
    broken = replace(embedder, reader=replace(embedder.reader, transform=VideoTransform()))
    rows = list(embed_videos(broken, [str(small), films.paths[0]]))
    assert all(row.vector is None and row.id for row in rows)
    assert all("size" in row.error for row in rows)


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs Linux")
def test_a_video_too_large_for_the_memory_stops_no_other(films, tmp_path):
    gif = str(write_large_gif(tmp_path / "large.gif", 9000))
    program = (
        "import resource, sys\n"
        "import torch\n"
        "from support.umt_sets import CONFIG\n"
        "from vidtldr.tasks.clip_reader import umt_reader\n"
        "from vidtldr.tasks.embed import Embedder, embed_videos\n"
        "gif, good = sys.argv[1:]\n"
        "reader = umt_reader(CONFIG)\n"
        "encode = lambda clips: clips.mean((1, 3, 4))\n"
        "model = Embedder(reader, 3, encode, None, dict, torch.device('cpu'))\n"
        "list(embed_videos(model, [good, good]))\n"
        "pages = int(open('/proc/self/statm').read().split()[0])\n"
        "resource.setrlimit(resource.RLIMIT_AS, (4096 * pages + 700_000_000, -1))\n"
        "for row in embed_videos(model, [good, gif, good]):\n"
        "    print(row.vector is not None, row.error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, gif, films.paths[0]],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, middle, last = done.stdout.splitlines()
    assert first == last == "True None"
    assert "reading it takes more memory than there is" in middle


def test_a_videomae_classifier_gives_what_enters_its_last_layer(films):
    model = tiny_models.videomae(use_mean_pooling=True)
    embedder = pretrained_embedder(pretrained(model))
    [row] = embed_videos(embedder, films.paths[:1])
    pixels = embedder.reader(films.paths[0]).values[None]
    with torch.no_grad():
        hidden = model.videomae(pixels).last_hidden_state
        expected = model.fc_norm(hidden.mean(1))[0]
        logits = model(pixels).logits[0]
    torch.testing.assert_close(row.vector, expected)
    torch.testing.assert_close(model.classifier(row.vector), logits)
    assert row.vector.shape == (embedder.num_channels,) == (48,)


def test_a_vivit_classifier_gives_its_class_token(films):
    model = tiny_models.vivit()
    [row] = embed_videos(pretrained_embedder(pretrained(model)), films.paths[:1])
    pixels = pretrained_embedder(pretrained(model)).reader(films.paths[0]).values[None]
    with torch.no_grad():
        expected = model.vivit(pixels).last_hidden_state[0, 0]
    torch.testing.assert_close(row.vector, expected)


def test_a_patched_classifier_merges(films):
    model = tiny_models.videomae(use_mean_pooling=True)
    [before] = embed_videos(pretrained_embedder(pretrained(model)), films.paths[:1])
    apply_patch(model, MergeConfig(r=[12]))
    [after] = embed_videos(pretrained_embedder(pretrained(model)), films.paths[:1])
    assert not torch.equal(before.vector, after.vector)


def test_a_model_without_a_last_layer_is_refused():
    with pytest.raises(NotImplementedError, match="under the name 'classifier', got Linear"):
        pretrained_embedder(pretrained(torch.nn.Linear(2, 2)))


def test_a_vector_that_is_not_finite_is_an_error(films):
    model = tiny_models.videomae(use_mean_pooling=True)
    with torch.no_grad():
        model.fc_norm.weight.fill_(torch.nan)
    [row] = embed_videos(pretrained_embedder(pretrained(model)), films.paths[:1])
    assert row.vector is None
    assert "must be finite, got NaN or inf" in row.error


def test_equal_files_have_equal_ids_and_a_missing_one_has_none(retrieval, films, encoding_of):
    paths = [films.paths[0], films.paths[0], films.paths[1], "/no/such/file.mp4"]
    ids = [row.id for row in embed_videos(umt_embedder(encoding_of(retrieval)), paths)]
    assert ids[0] == ids[1] != ids[2]
    assert ids[3] is None


def test_rows_are_written_as_parquet(retrieval, films, encoding_of, tmp_path):
    pq = pytest.importorskip("pyarrow.parquet", reason="pip install 'vidtldr[search]'")
    embedder = umt_embedder(encoding_of(retrieval))
    rows = list(embed_videos(embedder, films.paths))
    file = tmp_path / "features.parquet"
    about = {"model": "tiny"}
    assert write_parquet(rows, file, num_channels=12, about=about) == len(rows)
    table = pq.read_table(file)
    assert table.column_names == ["id", "path", "seconds", "vector", "error"]
    assert table.schema.metadata[b"model"] == b"tiny"
    for found, row in zip(table.to_pylist(), rows, strict=True):
        assert (found["id"], found["path"], found["error"]) == (row.id, row.path, row.error)
        assert found["vector"] == (None if row.vector is None else row.vector.tolist())
        assert found["seconds"] == row.seconds
    assert list(tmp_path.iterdir()) == [file]


def test_a_name_that_is_no_unicode_is_written(tmp_path):
    pq = pytest.importorskip("pyarrow.parquet", reason="pip install 'vidtldr[search]'")
    byte, letters = os.fsdecode(b"a\xff.mp4"), "a\\xff.mp4"  # two files, so two paths
    rows = [EmbeddedVideo(None, byte), EmbeddedVideo(None, letters)]
    write_parquet(rows, tmp_path / "f.parquet", num_channels=3)
    first, second = pq.read_table(tmp_path / "f.parquet").to_pylist()
    assert (first["path"], second["path"]) == ("a\\xff.mp4", "a\\x5cxff.mp4")
    assert first["vector"] is None


def test_a_directory_that_looks_like_an_address_is_written_to(tmp_path, monkeypatch):
    pytest.importorskip("pyarrow", reason="pip install 'vidtldr[search]'")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "movies:action").mkdir()
    rows = [EmbeddedVideo(None, "a.mp4")]
    assert write_parquet(rows, "movies:action/f.parquet", num_channels=3) == 1
    assert (tmp_path / "movies:action" / "f.parquet").is_file()


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    pytest.importorskip("pyarrow", reason="pip install 'vidtldr[search]'")
    file = tmp_path / "f.parquet"
    file.write_text("old")

    def rows():
        yield EmbeddedVideo(None, "a.mp4")
        raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        write_parquet(rows(), file, num_channels=3)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_without_pyarrow_the_install_line_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"pip install 'vidtldr\[search\]'"):
        write_parquet([], tmp_path / "f.parquet", num_channels=3)


def test_importing_the_tasks_loads_no_pyarrow_transformers_or_av():
    code = (
        "import sys, vidtldr.tasks.embeddings_file, vidtldr.tasks.search, vidtldr.tasks.ask, "
        "vidtldr.tasks.zero_shot; "
        "print([m for m in ('pyarrow', 'transformers', 'av') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_clips_of_many_sizes_cannot_be_compiled_for():
    any_size = VideoTransform(resize=32, mean=0.5, std=0.5)
    with pytest.raises(
        ValueError, match="`compile` must be used where all clips get one size, got"
    ):
        compile_pretrained(Pretrained(tiny_models.videomae(), any_size, tuple("abcdefg"), 6))


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
@pytest.mark.skipif(
    tiny_models.TRANSFORMERS < (5, 18),
    reason="transformers before 5.18 compiles ViViT with a mask",
)
def test_a_compiled_pretrained_embeds_alike():
    classifier = pretrained(apply_patch(tiny_models.vivit(num_hidden_layers=2), r=[9]).double())
    compiled = compile_pretrained(classifier, 2)
    num_graphs = counters["stats"]["unique_graphs"]
    batch = tiny_models.clips(2)
    for clips in (batch, batch.double(), batch[:1]):  # cast here or before; too few: uncompiled
        expected = pretrained_embedder(classifier).encode(clips)
        found = pretrained_embedder(classifier, compiled=compiled).encode(clips)
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    assert counters["stats"]["unique_graphs"] == num_graphs


def test_features_are_those_of_their_own_thread() -> None:
    """Both threads hook the one model: each must keep what its own forward computed."""
    model = tiny_models.videomae()
    inputs = [tiny_models.clips(1, seed=seed) for seed in range(3)]
    expected = [pretrained_features(model, x) for x in inputs]
    with ThreadPoolExecutor(3) as pool:
        jobs = [(i, pool.submit(pretrained_features, model, inputs[i])) for i in [0, 1, 2] * 20]
        for i, job in jobs:
            assert torch.allclose(job.result(), expected[i], atol=1e-5)
