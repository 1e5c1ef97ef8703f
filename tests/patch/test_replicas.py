"""Replicas of `DataParallel`: each runs the weights of its own device."""

import copy
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from support.every_family import FAMILIES, equal, largest_difference, outputs
from support.exporters import flat
from torch import Tensor, nn

import vidtldr

#: In a replica, merged or not, torch computes the attention of their probe another way.
ROUNDING = {"SigLIP": 1e-6, "SigLIP 2 NaFlex": 1e-6}


@pytest.fixture
def two_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second device's parameters are 1.5 times the first's: torch copies to GPUs alone."""

    def copied(
        tensors: Sequence[Tensor], devices: Sequence[int], detach: bool = False
    ) -> list[list[Tensor]]:
        scales = [1, 1.5][: len(devices)]
        return [
            [scale * x.detach() if isinstance(x, nn.Parameter) else x for x in tensors]
            for scale in scales
        ]

    module = sys.modules["torch.nn.parallel.replicate"]  # the function hides it
    monkeypatch.setattr(module, "_broadcast_coalesced_reshape", copied)


def run(replica: nn.Module, inputs: dict[str, Tensor]) -> list[Tensor]:
    with torch.no_grad():
        return flat(replica(**inputs))


@pytest.mark.usefixtures("two_devices")
@pytest.mark.parametrize(
    ("name", "options"),
    [
        *((name, {}) for name in FAMILIES),
        ("UMT", {"pooling": "mass", "score": None}),
        ("SigLIP", {"pooling": "mass"}),
    ],
)
def test_replicas_of_a_patched_model_run_their_own_weights(
    name: str, options: dict[str, str]
) -> None:
    model, inputs = FAMILIES[name].build(), FAMILIES[name].inputs()
    plain = outputs(model, inputs)
    vidtldr.apply_patch(model, r=[9, 4], **options)
    before = outputs(model, inputs)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.5)
    replicas = torch.nn.parallel.replicate(model, [0, 1])
    with ThreadPoolExecutor(2) as pool:  # at once, as `DataParallel` runs them
        first, second = pool.map(lambda replica: run(replica, inputs), replicas)
    assert largest_difference(first, before) <= ROUNDING.get(name, 0)
    assert largest_difference(second, outputs(other, inputs)) <= ROUNDING.get(name, 0)
    assert largest_difference(second, before) > 1e-3
    assert equal(outputs(model, inputs), before)
    vidtldr.remove_patch(model)
    assert not any("_replicate_for_data_parallel" in vars(module) for module in model.modules())
    assert equal(outputs(model, inputs), plain)
