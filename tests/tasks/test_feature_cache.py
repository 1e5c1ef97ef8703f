import multiprocessing

import pytest
import torch

from vidtldr.models.umt.vision import VideoTokens
from vidtldr.tasks.feature_cache import CachedFeatures, FeatureCache

VIDEO = "ab" * 32


def features(mass=None):
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    return CachedFeatures(VideoTokens(x, mass), x.mean(0), 1.5, ("too short",))


def assert_same(found, expected):
    assert torch.equal(found.tokens.x, expected.tokens.x)
    assert torch.equal(found.pooled, expected.pooled)
    assert found[2:] == expected[2:]


def test_what_is_saved_is_read(tmp_path):
    cache = FeatureCache(tmp_path, {"weights": "x"})
    assert cache.load(VIDEO) == (None, None)
    cache.save(VIDEO, features())
    found, damage = FeatureCache(tmp_path, {"weights": "x"}).load(VIDEO)
    assert damage is None
    assert_same(found, features())


def test_half_types_and_an_unknown_length_survive(tmp_path):
    cache = FeatureCache(tmp_path, {})
    halves = VideoTokens(features().tokens.x.half())
    unusual = features()._replace(tokens=halves, seconds=None, notes=())
    cache.save(VIDEO, unusual)
    assert_same(cache.load(VIDEO)[0], unusual)


def test_mass_is_kept_where_there_is_one(tmp_path):
    cache, mass = FeatureCache(tmp_path, {}), torch.tensor([1.0, 3.5, 1.0, 2.0, 600.25])
    cache.save(VIDEO, features(mass))
    found, _ = cache.load(VIDEO)
    assert_same(found, features(mass))
    assert found.tokens.mass.equal(mass)
    cache.save(VIDEO, features())
    assert cache.load(VIDEO)[0].tokens.mass is None


def test_another_context_has_entries_of_its_own(tmp_path):
    FeatureCache(tmp_path, {"r": [1]}).save(VIDEO, features())
    assert FeatureCache(tmp_path, {"r": [2]}).load(VIDEO) == (None, None)


def cut(content):
    return content[: len(content) // 2]


def flip_a_bit_of_the_tensors(content):
    return content[:-3] + bytes([content[-3] ^ 1]) + content[-2:]


def lie_about_the_header(content):
    return b"\xff" * 8 + content[8:]


@pytest.mark.parametrize(
    "damage",
    [cut, flip_a_bit_of_the_tensors, lie_about_the_header, lambda _: b"", lambda _: b"{}" * 50],
)
def test_a_damaged_entry_is_not_used_and_said(tmp_path, damage):
    cache = FeatureCache(tmp_path, {})
    cache.save(VIDEO, features())
    path = cache.path_of(VIDEO)
    path.write_bytes(damage(path.read_bytes()))
    found, said = cache.load(VIDEO)
    assert found is None
    assert "is damaged" in said
    assert "computed again" in said
    cache.save(VIDEO, features())
    assert_same(cache.load(VIDEO)[0], features())


def test_an_entry_in_anothers_place_is_not_used(tmp_path):
    cache, other = FeatureCache(tmp_path, {}), "ba" * 32
    cache.save(VIDEO, features())
    cache.path_of(other).parent.mkdir()
    cache.path_of(VIDEO).rename(cache.path_of(other))
    assert "belongs to something else" in cache.load(other)[1]


def test_a_failed_write_leaves_nothing_behind(tmp_path, monkeypatch):
    cache = FeatureCache(tmp_path, {})

    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="no space left"):
        cache.save(VIDEO, features())
    assert [path for path in tmp_path.rglob("*") if ".partial" in path.name] == []
    assert cache.load(VIDEO) == (None, None)


def write_often(directory):
    cache = FeatureCache(directory, {})
    for _ in range(30):
        cache.save(VIDEO, features())


def test_several_writers_never_show_half_an_entry(tmp_path):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=write_often, args=(tmp_path,)) for _ in range(3)]
    for writer in writers:
        writer.start()
    cache, seen = FeatureCache(tmp_path, {}), 0
    while any(writer.is_alive() for writer in writers):
        found, damage = cache.load(VIDEO)
        assert damage is None
        seen += found is not None
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert seen
    assert_same(cache.load(VIDEO)[0], features())
