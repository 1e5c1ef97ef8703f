"""Training a model that merges."""

from collections.abc import Callable

import pytest
import torch
from support.tiny_models import TRANSFORMERS, clips, logits, videomae, vivit
from torch import Tensor, nn

import vidtldr

R = [0, 9, 5]  # the first layer keeps the host's own forward
HOSTS = [videomae, vivit]


@pytest.mark.parametrize("build", HOSTS)
@pytest.mark.parametrize("use_reentrant", [False, True])
def test_gradient_checkpointing_gives_the_same_gradients(
    build: Callable[..., nn.Module], use_reentrant: bool
) -> None:
    model = vidtldr.apply_patch(build(), r=R).double().train()
    plain = gradients(model)
    model.gradient_checkpointing_enable(
        gradient_checkpointing_kwargs={"use_reentrant": use_reentrant}
    )
    if use_reentrant and TRANSFORMERS < (5, 18):  # which recomputes around the block
        with pytest.raises(RuntimeError, match=r"its mass is lost.*use use_reentrant=False"):
            gradients(model)
        return
    for found, expected in zip(gradients(model), plain, strict=True):
        assert torch.allclose(found, expected, rtol=1e-9, atol=1e-9)


def gradients(model: nn.Module) -> list[Tensor]:
    model.zero_grad()
    # Re-entrant checkpointing needs an input with a gradient.
    outputs = model(pixel_values=clips().to(next(model.parameters())).requires_grad_())
    # Two forwards before one backward: recomputation must find each one's own mass.
    again = model(pixel_values=clips(seed=1).to(next(model.parameters())).requires_grad_())
    (outputs.logits.square().sum() + again.logits.square().sum()).backward()
    return [
        parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None
    ]


def test_training_reaches_every_parameter() -> None:
    model = vidtldr.apply_patch(videomae(), r=R).train()
    gradients(model)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("build", HOSTS)
def test_attention_dropout_is_refused_in_training_only(build: Callable[..., nn.Module]) -> None:
    model = vidtldr.apply_patch(build(attention_probs_dropout_prob=0.1), r=R)
    logits(model)
    with pytest.raises(NotImplementedError, match=r"attention dropout must be 0 .* got 0.1"):
        logits(model.train())
