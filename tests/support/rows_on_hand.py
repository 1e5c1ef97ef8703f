"""Rows without videos."""

import numpy as np

from vidtldr.store.rows import ClipRow, FailureRow, FileState, KeptTokens, VideoRows
from vidtldr.store.settings import IndexSettings

NUM_CHANNELS = 8


def settings(**changes) -> IndexSettings:
    usual = {
        "model": "first",
        "schedule": "r=2",
        "num_channels": NUM_CHANNELS,
        "identity": {"weights": "abc", "merge": {"r": [2]}, "dtype": "torch.float32"},
    }
    return IndexSettings(**(usual | changes))


def video(path: str, num_clips: int = 1, seed: int = 0, size: int = 1) -> VideoRows:
    rng = np.random.default_rng([seed, *path.encode()])
    clips = [
        ClipRow(
            10.0 * number,
            10.0 * number + 10,
            rng.standard_normal(NUM_CHANNELS, dtype=np.float32),
            KeptTokens(
                rng.standard_normal((3, 4)).astype(np.float16),
                rng.random(3, dtype=np.float32),
            ),
        )
        for number in range(num_clips)
    ]
    return VideoRows(path, FileState(size, 2, f"hash{seed}"), 64, 48, "h264", (), tuple(clips))


def failure(path: str, reason: str = "broken") -> FailureRow:
    return FailureRow(path, FileState(0, 0), reason)
