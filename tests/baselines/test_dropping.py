from collections.abc import Callable

import pytest
import torch
from support import tiny_encoders, tiny_towers
from support.tiny_models import clips, videomae, vivit
from torch import nn

from vidtldr.baselines.dropping import can_drop, dropping_twin
from vidtldr.hosts.registry import find_host
from vidtldr.patch.patching import trace


@torch.no_grad()
@pytest.mark.parametrize(("build", "num_tokens"), [(videomae, 48), (vivit, 49)])
def test_so_many_tokens_are_gone_and_the_class_token_is_not(
    build: Callable[[], nn.Module], num_tokens: int
) -> None:
    model = build()
    x = clips()
    before = model(pixel_values=x).logits
    torch.manual_seed(5)
    dropping = dropping_twin(model, (0, 20, 7))
    with trace(dropping) as recorded:
        found = dropping(pixel_values=x).logits
    assert recorded.num_tokens == [num_tokens, num_tokens - 20, num_tokens - 27, num_tokens - 27]
    assert torch.equal(model(pixel_values=x).logits, before)
    assert not torch.allclose(found, before)
    if find_host(model).num_prefix_tokens:  # all patches but one may go: the class token stays
        alone = dropping_twin(model, (48,))(pixel_values=x).logits
        assert alone.isfinite().all()


@torch.no_grad()
def test_dropping_nothing_is_the_model_itself() -> None:
    model = videomae()
    assert torch.equal(
        dropping_twin(model, (0, 0))(pixel_values=clips()).logits,
        model(pixel_values=clips()).logits,
    )


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (tiny_encoders.clip, True),
        (tiny_encoders.siglip, True),
        (tiny_encoders.dinov3, False),  # its layers turn tokens by their places
        (tiny_encoders.vjepa2, False),
        (tiny_encoders.dinov2_backbone, False),  # maps are made of all places
        (lambda: tiny_towers.llava_onevision()[0], False),
    ],
)
def test_tokens_are_dropped_only_where_nothing_needs_their_places(
    build: Callable[[], nn.Module], expected: bool
) -> None:
    model = build()
    assert can_drop(find_host(model)) is expected
    if not expected:
        with pytest.raises(NotImplementedError):
            dropping_twin(model, [3])
