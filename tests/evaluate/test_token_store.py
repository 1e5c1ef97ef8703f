import pytest
import torch

from vidtldr.config import MergeConfig
from vidtldr.evaluate.settings import Settings
from vidtldr.evaluate.token_store import TokenStore


def fill(store, encoding, films):
    rows = [row for row in encoding.encode_all(films.paths) if row.error is None]
    kept = {films.paths.index(row.path): row.tokens for row in rows}
    for index, tokens in kept.items():
        store.put(index, tokens)
    return kept


def assert_same(found, expected):
    assert torch.equal(found.x, expected.x)
    assert (found.mass is None) == (expected.mass is None)
    assert found.mass is None or torch.equal(found.mass, expected.mass)


BY_MASS = MergeConfig(r=[12], pooling="mass")


@pytest.mark.parametrize(("merge", "num_bytes"), [(None, 64 * 24 * 4), (BY_MASS, 52 * 25 * 4)])
@pytest.mark.parametrize("with_cache", [True, False])
@pytest.mark.parametrize("num_in_memory", [0, 2, 100])
def test_tokens_come_back_from_memory_or_disk(
    retrieval, films, tmp_path, monkeypatch, with_cache, num_in_memory, merge, num_bytes
):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", None)
    settings = Settings(cache_dir=tmp_path / "cache" if with_cache else None)
    encoding = settings.encoding(retrieval, merge)
    with TokenStore(encoding, films.paths, num_in_memory * num_bytes) as store:
        kept = fill(store, encoding, films)
        assert len(store._held) == min(num_in_memory, len(kept))
        for index, tokens in kept.items():
            assert_same(store.get(index), tokens)
            assert (tokens.mass is None) == (merge is None)
        spilled = list((tmp_path / "tmp").glob("vidtldr-tokens-*/*"))
        assert len(spilled) == (0 if with_cache else len(kept) - len(store._held))
    assert encoding.num_encoded == len(kept)
    assert list((tmp_path / "tmp").iterdir()) == []


def test_an_entry_that_broke_meanwhile_is_computed_again(retrieval, films, tmp_path):
    encoding = Settings(cache_dir=tmp_path).encoding(retrieval, None)
    with TokenStore(encoding, films.paths, 0) as store:
        kept = fill(store, encoding, films)
        for entry in tmp_path.glob("*/*/*.safetensors"):
            entry.write_bytes(b"")
        assert_same(store.get(0), kept[0])


def test_a_video_that_went_meanwhile_is_said(retrieval, films, tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes((films.directory / films.good[0]).read_bytes())
    encoding = Settings(cache_dir=tmp_path / "cache").encoding(retrieval, None)
    with TokenStore(encoding, [str(path)], 0) as store:
        store.put(0, encoding.encode(str(path)).tokens)
        path.unlink()
        with pytest.raises(ValueError, match="videos must not change while they are evaluated"):
            store.get(0)
