"""A FLOP budget where the input decides the number of tokens: the counts of a fixed number."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from support.tiny_encoders import timesformer
from support.tiny_models import clips, videomae, vivit
from torch import Tensor, nn

import vidtldr
from vidtldr.budget.by_size import BudgetBySize, budget_by_size
from vidtldr.budget.counts import resolve_budget, resolved_r
from vidtldr.config import MergeConfig
from vidtldr.hosts.host import Host
from vidtldr.hosts.registry import find_host
from vidtldr.hosts.videomae import VideoMAEHost
from vidtldr.hosts.vivit import VivitHost

CONFIG = MergeConfig(flop_ratio=0.8, layers=[0, 2], score="received")


def undecided(model: nn.Module) -> Host:
    host = copy.copy(find_host(model))
    host.num_tokens = None
    return host


def by_size(config: MergeConfig, host: Host) -> BudgetBySize:
    found = budget_by_size(config, host)
    assert found is not None
    return found


@pytest.mark.parametrize("build", [videomae, vivit, timesformer])
def test_counts_are_those_of_a_fixed_number_of_tokens(build: Any) -> None:
    model = build()
    host = find_host(model)
    assert host.num_mergeable is not None
    budget = by_size(CONFIG, undecided(model))
    assert budget.first_merging_layer == 0
    for _ in range(2):
        assert budget.r_for(host.num_mergeable) == resolve_budget(CONFIG, host).r
    assert budget.r_for(12) != budget.r_for(host.num_mergeable)


def test_other_schedules_are_known_before() -> None:
    host = undecided(videomae())
    for config in (MergeConfig(r=[3]), MergeConfig(ratio=[0.2]), MergeConfig(flop_ratio=1.0)):
        assert budget_by_size(config, host) is None
    assert budget_by_size(CONFIG, find_host(videomae())) is None
    assert resolve_budget(MergeConfig(flop_ratio=1.0), host) == MergeConfig(r=())
    assert resolved_r(CONFIG, host) is None


def test_a_budget_that_cannot_be_met_or_counted_is_refused() -> None:
    model = videomae()
    with pytest.raises(ValueError, match=r"`layers` must be in \[0, 3\]"):
        budget_by_size(MergeConfig(flop_ratio=0.8, layers=[7]), undecided(model))
    low = by_size(MergeConfig(flop_ratio=0.01), undecided(model))
    with pytest.raises(ValueError, match="`flop_ratio` must be at least"):
        low.r_for(48)
    find_host(model).root.more = nn.Conv2d(1, 1, 1)
    with pytest.raises(NotImplementedError, match="one convolution, which embeds patches, got 2"):
        budget_by_size(CONFIG, undecided(model))


def with_output(output: Any) -> MergeConfig:
    return replace(CONFIG, output=output)


@torch.no_grad()
def run(model: Any) -> Tensor:
    found: Tensor = model(pixel_values=clips()).logits
    return found


@pytest.mark.parametrize("output", ["tokens", "grid"])
@pytest.mark.parametrize(("build", "family"), [(videomae, VideoMAEHost), (vivit, VivitHost)])
def test_a_forward_merges_by_them(
    build: Any, family: type[Host], output: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build()
    expected = run(vidtldr.apply_patch(model, with_output(output)))
    assert not torch.equal(expected, run(vidtldr.remove_patch(model)))
    own = family.of

    def of(_: type[Host], root: nn.Module) -> Host:
        host = own(root)
        host.num_tokens = None
        return host

    monkeypatch.setattr(family, "of", classmethod(of))
    vidtldr.apply_patch(model, with_output(output))
    assert torch.equal(run(model), expected)
    assert torch.equal(run(copy.deepcopy(model)), expected)
    vidtldr.remove_patch(model)
