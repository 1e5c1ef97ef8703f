"""An embedder that needs no weights: it is loaded in the encoder's process by its name."""

import os
import signal
import sys
import time
from functools import partial

import torch
from torch import Tensor

from vidtldr.models.umt.vision import VideoTokens
from vidtldr.pipeline.request import IndexRequest
from vidtldr.tasks.clip_reader import ClipReader
from vidtldr.tasks.embed import Embedder
from vidtldr.video.sampling import Sampling
from vidtldr.video.transform import VideoTransform

NUM_CHANNELS = 24
SAID = "flat model: mean colours\n"


def load(weights: str = "first", seconds: float = 0.0, broken: str = "") -> Embedder:
    """Mean colours of 3 x 2 places in each of 4 frames, of which 24 channels are left."""
    sys.stderr.write(SAID)
    if broken == "load":
        raise ValueError("model must be good, got bad. Use another.")
    reader = ClipReader(
        Sampling(4), VideoTransform(resize=(24, 36), mean=0.5, std=0.5), time_limit_seconds=20.0
    )

    def encode(clips: Tensor) -> Tensor:
        time.sleep(seconds)
        if broken == "encode":
            raise ValueError("clips must be good, got bad. Use others.")
        if broken == "nan":
            return torch.full((len(clips), NUM_CHANNELS), torch.nan)
        if broken == "die on bright" and clips.mean(dim=(1, 2, 3, 4)).max() > 0.9:
            os.kill(os.getpid(), signal.SIGKILL)
        cells = clips.unflatten(3, (2, 12)).unflatten(5, (3, 12)).mean(dim=(4, 6))  # B T 3 2 3
        return cells.flatten(1).cpu()[:, :NUM_CHANNELS] + 0.01

    def encode_with_tokens(clips: Tensor) -> tuple[Tensor, list[VideoTokens]]:
        x = clips[:, :, 0, ::12, ::12].flatten(1)[:, :, None]
        return encode(clips), [VideoTokens(each, each[:, 0] + 1) for each in x]

    identity = {"weights": weights, "merge": None}
    return Embedder(
        reader, NUM_CHANNELS, encode, encode_with_tokens, lambda: identity, torch.device("cpu")
    )


def request(
    weights: str = "first", seconds: float = 0.0, broken: str = "", **options
) -> IndexRequest:
    """A request for it with few processes and small batches."""
    few = {"num_workers": 1, "batch_size": 2}
    return IndexRequest(partial(load, weights, seconds, broken), weights, **(few | options))
