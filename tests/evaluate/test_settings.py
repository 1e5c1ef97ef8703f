import pytest

from vidtldr.config import MergeConfig
from vidtldr.evaluate.settings import Settings


@pytest.mark.parametrize("name", ["batch_size", "pair_batch_size", "num_readers"])
def test_counts_must_be_positive(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        Settings(**{name: 0})


def test_memory_must_not_be_negative():
    with pytest.raises(ValueError, match="memory_bytes must be at least 0, got -1"):
        Settings(memory_bytes=-1)


def test_the_protocols_reader_is_used(retrieval, tmp_path):
    settings = Settings(cache_dir=tmp_path, time_limit_seconds=7.0)
    encoding = settings.encoding(retrieval, MergeConfig(r=[3]), 30.0)
    assert encoding.reader.sampling.num_frames == retrieval.config.num_frames
    assert encoding.reader.sampling.policy == "middle"
    assert encoding.reader.max_seconds == 30.0
    assert encoding.reader.time_limit_seconds == 7.0
    assert encoding.merge == MergeConfig(r=[3])
