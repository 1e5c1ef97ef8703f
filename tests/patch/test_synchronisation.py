"""A merged forward reads nothing back from its device, which would have to end all work first."""

from collections.abc import Callable, Iterator

import pytest
import torch
from support.tiny_models import clips, videomae
from support.tiny_umt import TINY, spread_weights
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

import vidtldr
from vidtldr.config import SCORES
from vidtldr.models.umt import build_vision_encoder

WAYS = [*((score, "x") for score in SCORES), (None, "keys"), (None, "random")]


def a_videomae() -> tuple[nn.Module, Tensor]:
    return videomae(), clips(2)


def a_umt() -> tuple[nn.Module, Tensor]:
    encoder = spread_weights(build_vision_encoder(TINY), seed=0)
    side = TINY.image_size
    return encoder, torch.rand(2, TINY.num_frames, 3, side, side)


@pytest.fixture(params=[a_videomae, a_umt])
def subject(request: pytest.FixtureRequest) -> tuple[nn.Module, Tensor]:
    build: Callable[[], tuple[nn.Module, Tensor]] = request.param
    return build()


@pytest.fixture
def waiting_is_an_error() -> Iterator[Callable[[], None]]:
    if not torch.cuda.is_available():
        pytest.skip("needs CUDA")
    yield lambda: torch.cuda.set_sync_debug_mode("error")
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize(("score", "metric"), WAYS)
def test_nothing_depends_on_data_that_would_be_read_back(
    subject: tuple[nn.Module, Tensor], score: str | None, metric: str
) -> None:
    model, x = subject
    vidtldr.apply_patch(model, r=[3, 2], score=score, metric=metric)
    # Fake tensors have shapes and no data. A copy from another device would pass here.
    with torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True) as mode:
        model(mode.from_tensor(x))
        with pytest.raises(DataDependentOutputException):
            bool(mode.from_tensor(x).max() > 0)


@pytest.mark.gpu
@pytest.mark.parametrize(("score", "metric"), WAYS)
def test_nothing_waits_for_the_gpu(
    subject: tuple[nn.Module, Tensor],
    score: str | None,
    metric: str,
    waiting_is_an_error: Callable[[], None],
) -> None:
    model, x = subject
    model, x = model.cuda(), x.cuda()
    for module in model.modules():  # VideoMAE's table of positions is no buffer: it stays behind
        if isinstance(table := getattr(module, "position_embeddings", None), Tensor):
            module.position_embeddings = nn.Buffer(table.cuda())
    vidtldr.apply_patch(model, r=[3, 2], score=score, metric=metric)
    with torch.inference_mode():
        model(x)  # kernels are compiled and loaded
        torch.cuda.synchronize()
        waiting_is_an_error()
        model(x)
        with pytest.raises(RuntimeError, match="synchronizing"):
            bool(x.max() > 0)
