import json

import pytest
import torch
from safetensors.torch import load_file
from support.tiny_umt import TINY, spread_weights, token_ids
from torch.overrides import TorchFunctionMode

from vidtldr.models.umt import UMTAnswering, UMTConfig, UMTRetrieval


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def retrieval():
    return spread_weights(UMTRetrieval(TINY), seed=1)


@pytest.fixture(scope="module")
def answering():
    return spread_weights(UMTAnswering(TINY), seed=2)


@pytest.fixture
def clips():
    """Three clips that differ, one of them constant."""
    clips = torch.randn(3, 3, 3, 12, 12, generator=torch.Generator().manual_seed(3))
    clips[1] = 0.5
    return clips


@pytest.fixture
def texts():
    """Five texts of 3 to 7 tokens: ids and mask."""
    return token_ids(4, (5, 7))


@pytest.fixture
def assert_close_to_reference():
    """|fast - f64| <= 2 (|reference at the fast dtype - f64| + rounding), largest errors."""

    def check(fast, eager, exact):
        rounding = torch.finfo(fast.dtype).eps * exact.abs().max()
        allowed = 2 * ((eager.double() - exact).abs().max() + rounding)
        error = (fast.double() - exact).abs().max()
        assert fast.shape == exact.shape
        assert error <= allowed, f"error {error:.2e} is above {allowed:.2e}"

    return check


class CallCounter(TorchFunctionMode):
    """Counts calls of torch functions by name."""

    def __init__(self):
        super().__init__()
        self.counts = {}

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = getattr(func, "__name__", "")
        self.counts[name] = self.counts.get(name, 0) + 1
        return func(*args, **(kwargs or {}))


@pytest.fixture
def count_calls():
    return CallCounter


@pytest.fixture(scope="session")
def umt_golden(golden):
    """The authors' numbers: directory, metadata, tensors and the small model's configuration."""
    directory = golden / "umt"
    meta = json.loads((directory / "meta.json").read_text())
    vision = meta["config"]["vision"]
    config = UMTConfig(
        vision["img_size"],
        vision["patch_size"],
        vision["num_frames"],
        vision["encoder_embed_dim"],
        vision["encoder_depth"],
        vision["encoder_num_heads"],
        meta["config"]["embed_dim"],
        meta["config"]["text"],
    )
    return directory, meta, load_file(directory / "expected.safetensors"), config
