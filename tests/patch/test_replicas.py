"""Replicas of `DataParallel`: each runs the weights of its own device."""

import copy
from collections.abc import Callable

import pytest
import torch
from support.tiny_models import clips, spread_out_weights, videomae, vivit
from support.tiny_umt import TINY
from torch import Tensor, nn

import vidtldr
from vidtldr.models.umt.vision import VisionEncoder


def umt() -> nn.Module:
    return spread_out_weights(VisionEncoder(TINY))


def run(model: nn.Module) -> Tensor:
    with torch.no_grad():
        if isinstance(model, VisionEncoder):
            return model(clips()[:, :3, :, :12, :12]).pooled
        return model(pixel_values=clips()).logits


def replicate(model: nn.Module, change: Callable[[Tensor], Tensor]) -> nn.Module:
    """`torch.nn.parallel.replicate` on one device; `change` is what another device would hold."""
    modules = list(model.modules())
    replicas = [module._replicate_for_data_parallel() for module in modules]
    copies = dict(zip(map(id, modules), replicas, strict=True))
    for module, replica in zip(modules, replicas, strict=True):
        for name, child in module._modules.items():
            setattr(replica, name, None if child is None else copies[id(child)])
        for name, parameter in module._parameters.items():
            setattr(replica, name, None if parameter is None else change(parameter.detach()))
        for name, buffer in module._buffers.items():
            setattr(replica, name, buffer)
    return replicas[0]


@pytest.mark.parametrize(
    ("build", "options"),
    [(videomae, {}), (vivit, {}), (umt, {}), (umt, {"pooling": "mass", "score": None})],
)
def test_a_replica_of_a_patched_model_runs_its_own_weights(
    build: Callable[[], nn.Module], options: dict[str, str]
) -> None:
    model = vidtldr.apply_patch(build(), r=[9, 4], **options)
    before = run(model)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.5)
    replica = replicate(model, lambda weight: 1.5 * weight)
    assert torch.equal(run(replica), run(other))
    assert torch.equal(run(model), before)
    assert not torch.allclose(run(replica), before, atol=1e-3)
    vidtldr.remove_patch(model)
    assert not any("_replicate_for_data_parallel" in vars(module) for module in model.modules())
