"""Budgets on models: what is worked out is what the counter counts. timm's are in test_timm.py."""

import copy
from collections.abc import Callable
from typing import Any, get_args

import pytest
import torch
from support.tiny_models import clips, videomae, vivit
from support.tiny_umt import TINY, spread_weights
from torch import Tensor, nn

import vidtldr
from vidtldr import MergeConfig
from vidtldr.bench.subject import build_subject
from vidtldr.budget.counts import (
    forward_costs,
    resolve_budget,
    resolved_r,
    tokens_after_layers,
)
from vidtldr.config import Metric, Score
from vidtldr.hosts.registry import find_host
from vidtldr.measure.flops import count_flops
from vidtldr.models.umt import build_vision_encoder


def tiny_umt() -> nn.Module:
    return spread_weights(build_vision_encoder(TINY), seed=0)


def bare_vivit() -> nn.Module:
    """With the pooler, which a classifier leaves out."""
    from transformers import VivitConfig, VivitModel

    sizes = {"image_size": 16, "num_frames": 4, "tubelet_size": [2, 4, 4], "num_hidden_layers": 3}
    sizes |= {"hidden_size": 24, "num_attention_heads": 2, "intermediate_size": 40}
    return VivitModel(VivitConfig(**sizes)).eval()


FAMILIES = {videomae: (6, 32), vivit: (6, 32), tiny_umt: (3, 12), bare_vivit: (4, 16)}
SCHEDULES = [(), (9,), (0, 5), (7, 3), (0, 0)]


def clip_of(build: Callable[[], nn.Module]) -> Tensor:
    num_frames, side = FAMILIES[build]
    return torch.randn(1, num_frames, 3, side, side)


def flops_of_root(model: nn.Module, clip: Tensor) -> int:
    """FLOPs of the transformer itself, by running it; a classifier around it is left out."""
    with torch.no_grad():
        return count_flops(lambda: find_host(model).root(clip))


@pytest.mark.parametrize("build", FAMILIES)
@pytest.mark.parametrize("r", SCHEDULES, ids=str)
@pytest.mark.parametrize("score", [*get_args(Score), None])
@pytest.mark.parametrize("metric", get_args(Metric))
def test_what_is_worked_out_is_what_is_counted(
    build: Callable[[], nn.Module], r: tuple[int, ...], score: Any, metric: Any
) -> None:
    model = build()
    config = MergeConfig(r=r, score=score, metric=metric)
    vidtldr.apply_patch(model, config)
    assert forward_costs(find_host(model), config).flops(r) == flops_of_root(model, clip_of(build))


@pytest.mark.parametrize("build", FAMILIES)
@pytest.mark.parametrize("score", ["sharpness", "received", "representation-shift", None])
@pytest.mark.parametrize("saving", [0.1, 0.5, 0.9])
def test_a_budget_of_flops_is_met_by_the_counter(
    build: Callable[[], nn.Module], score: Any, saving: float
) -> None:
    """`saving` is the part that is asked for of all that two layers can save."""
    model, clip = build(), clip_of(build)
    host, unmerged = find_host(model), flops_of_root(model, clip)
    half = (host.num_tokens - host.num_prefix_tokens) // 2
    vidtldr.apply_patch(model, r=[half, half // 2], score=score)
    flop_ratio = 1 - saving * (1 - flops_of_root(model, clip) / unmerged)
    vidtldr.apply_patch(model, flop_ratio=flop_ratio, layers=[0, 1], score=score)
    token = 1 / host.num_tokens  # so few tokens are a coarse measure
    assert flop_ratio - token <= flops_of_root(model, clip) / unmerged <= flop_ratio


def videomae_b() -> nn.Module:
    from transformers import VideoMAEConfig, VideoMAEForVideoClassification

    return VideoMAEForVideoClassification(VideoMAEConfig(num_labels=400)).eval()


def vivit_b() -> nn.Module:
    from transformers import VivitConfig, VivitForVideoClassification

    return VivitForVideoClassification(VivitConfig(num_frames=16)).eval()


PUBLISHED = [
    (videomae_b, (1, 16, 3, 224, 224)),
    pytest.param(vivit_b, (1, 16, 3, 224, 224), marks=pytest.mark.slow),
    (lambda: build_vision_encoder("b16"), (1, 12, 3, 224, 224)),
    pytest.param(lambda: build_vision_encoder("l16"), (1, 12, 3, 224, 224), marks=pytest.mark.slow),
    (lambda: build_subject("clip-b16").model, (1, 3, 224, 224)),
    (lambda: build_subject("siglip-b16").model, (1, 3, 224, 224)),
    pytest.param(
        lambda: build_subject("dinov2-b14").model, (1, 3, 518, 518), marks=pytest.mark.slow
    ),
    pytest.param(
        lambda: build_subject("vjepa2-l", 16).model, (1, 16, 3, 256, 256), marks=pytest.mark.slow
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize(("build", "shape"), PUBLISHED)
def test_published_sizes_meet_their_budgets_within_a_per_cent(
    build: Callable[[], nn.Module], shape: tuple[int, ...]
) -> None:
    with torch.device("meta"), torch.inference_mode():
        model, clip = build(), torch.empty(shape)
        unmerged = count_flops(lambda: model(clip))
        found = {}
        for flop_ratio in (0.9, 0.6, 0.5):
            for score in ("sharpness", "representation-shift"):
                vidtldr.apply_patch(model, flop_ratio=flop_ratio, score=score)
                found[flop_ratio, score] = count_flops(lambda: model(clip)) / unmerged
    for (flop_ratio, _), share in found.items():
        # The classifier around the transformer, a few millionths, is not in the budget.
        token = 1 / (find_host(model).num_tokens or 1)  # so few tokens are a coarse measure
        assert flop_ratio - max(0.001, token) < share <= flop_ratio + 1e-5


@pytest.mark.parametrize("build", [videomae, vivit])
@pytest.mark.parametrize("num_tokens", [49, 48, 47, 31, 25, 14, 6])
@pytest.mark.parametrize("layers", [[0, 1], [1, 3], None])
def test_so_many_tokens_leave_the_last_layer(
    build: Callable[..., nn.Module], num_tokens: int, layers: list[int] | None
) -> None:
    model = build()
    prefix = find_host(model).num_prefix_tokens
    lowest = prefix + (6 if layers is None else 12)  # three quarters of four layers are three
    if not lowest <= num_tokens <= 48 + prefix:
        with pytest.raises(
            ValueError, match=rf"`num_tokens` must be in \[{lowest}, {48 + prefix}\]"
        ):
            vidtldr.apply_patch(model, num_tokens=num_tokens, layers=layers)
        return
    vidtldr.apply_patch(model, num_tokens=num_tokens, layers=layers)
    with vidtldr.trace(model) as trace, torch.no_grad():
        model(pixel_values=clips())
    assert trace.num_tokens[-1] == num_tokens


def test_a_budget_that_saves_nothing_leaves_the_model_alone() -> None:
    model = videomae()
    for budget in ({"flop_ratio": 1.0}, {"num_tokens": 48}):
        vidtldr.apply_patch(model, **budget)
        assert not any("forward" in vars(block) for block in find_host(model).blocks)


def test_what_was_asked_for_survives_and_comes_back() -> None:
    model = vidtldr.apply_patch(videomae(), flop_ratio=0.8, layers=[0, 1], weighting="mask")
    asked = {vars(b)["forward"].asked for b in find_host(model).blocks}
    assert asked == {MergeConfig(flop_ratio=0.8, layers=[0, 1], weighting="mask")}
    with torch.no_grad():
        before = model(pixel_values=clips()).logits
        with vidtldr.patched(model, r=[3]):
            assert not torch.equal(model(pixel_values=clips()).logits, before)
        assert torch.equal(model(pixel_values=clips()).logits, before)
        assert torch.equal(copy.deepcopy(model)(pixel_values=clips()).logits, before)
    assert {vars(b)["forward"].asked for b in find_host(model).blocks} == asked


def test_a_resolved_budget_is_the_same_config_with_counts() -> None:
    host = find_host(videomae())
    config = MergeConfig(num_tokens=30, layers=[0, 1], score=None, metric="keys")
    found = resolve_budget(config, host)
    assert found == MergeConfig(r=found.r, score=None, metric="keys")
    assert 48 - sum(found.r) == 30
    for plain in (MergeConfig(r=[3]), MergeConfig(ratio=[0.2])):
        assert resolve_budget(plain, host) is plain


def test_counts_are_known_whatever_was_given() -> None:
    host = find_host(vivit())
    assert resolved_r(MergeConfig(r=[3, 0, 1]), host) == (3, 0, 1)
    assert resolved_r(MergeConfig(ratio=[0.25, 0.1]), host) == (12, 3)
    assert resolved_r(MergeConfig(num_tokens=40, score="sharpness"), host) == (9,)
    host.num_tokens = None
    assert resolved_r(MergeConfig(ratio=[0.25]), host) is None
    assert resolved_r(MergeConfig(r=[3]), host) == (3,)


@pytest.mark.parametrize("budget", [{"flop_ratio": 0.9}, {"num_tokens": 30}])
def test_a_number_of_tokens_that_the_input_decides_is_refused(budget: dict[str, Any]) -> None:
    host = find_host(videomae())
    host.num_tokens = None
    (name,) = budget
    message = rf"`{name}` must be used on a model of a fixed number of tokens, .* Use `ratio=\[0.25"
    with pytest.raises(ValueError, match=message):
        resolve_budget(MergeConfig(**budget), host)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"flop_ratio": 0.2},
            r"`flop_ratio` must be at least 0\.\d+ where layers 0, 1, 2 merge \(at most half of "
            r"the tokens in each\), got 0.2. Raise it, or let more or earlier layers merge",
        ),
        (
            {"flop_ratio": 0.9, "layers": [0, 4]},
            r"`layers` must be in \[0, 3\] .* got 4. They count",
        ),
        ({"num_tokens": 30, "layers": [4]}, r"`layers` must be in \[0, 3\] \(the model's layers\)"),
    ],
)
def test_a_budget_that_does_not_fit_the_model_is_refused(
    fields: dict[str, Any], message: str
) -> None:
    model = vidtldr.apply_patch(videomae(), r=[3])
    with pytest.raises(ValueError, match=message):
        vidtldr.apply_patch(model, **fields)
    assert vars(find_host(model).blocks[0])["forward"].asked == MergeConfig(r=[3])


def test_the_lowest_share_that_is_named_can_be_had() -> None:
    model = videomae()
    with pytest.raises(ValueError, match="flop_ratio") as caught:
        vidtldr.apply_patch(model, flop_ratio=0.2, layers=[0, 1])
    lowest = float(str(caught.value).split("at least ")[1].split()[0])
    vidtldr.apply_patch(model, flop_ratio=lowest, layers=[0, 1])
    with pytest.raises(ValueError, match="flop_ratio"):
        vidtldr.apply_patch(model, flop_ratio=lowest - 0.001, layers=[0, 1])


def test_convolutions_besides_the_patch_embedding_are_refused_for_flops_alone() -> None:
    model = videomae()
    embeddings = model.videomae.embeddings.patch_embeddings
    embeddings.projection = nn.Sequential(embeddings.projection, nn.Conv3d(48, 48, 1))
    with pytest.raises(
        NotImplementedError, match=r"one convolution, .* got 2: .* Use `num_tokens`"
    ):
        vidtldr.apply_patch(model, flop_ratio=0.9)
    vidtldr.apply_patch(model, num_tokens=40)


def test_unknown_blocks_are_refused_before_they_are_counted() -> None:
    model = videomae()
    block = model.videomae.encoder.layer[3]
    block.attention.attention.__class__ = type("Other", (type(block.attention.attention),), {})
    with pytest.raises(NotImplementedError, match=r"got .*Other in block 3: its forward is not"):
        vidtldr.apply_patch(model, flop_ratio=0.9)


@pytest.mark.parametrize("build", [videomae, vivit])
@pytest.mark.parametrize(
    "config", [None, MergeConfig(r=[9, 0, 5]), MergeConfig(ratio=[0.3]), MergeConfig(num_tokens=30)]
)
def test_tokens_that_are_worked_out_are_those_of_a_trace(
    build: Callable[[], Any], config: MergeConfig | None
) -> None:
    model = build()
    expected = tokens_after_layers(config, find_host(model))
    if config is not None:
        vidtldr.apply_patch(model, config)
    with torch.no_grad(), vidtldr.trace(model) as trace:
        model(pixel_values=clips(1))
    assert trace.num_tokens == expected


class PackedLinear(nn.Module):
    """A linear layer of another library, whose cost is not known here."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.register_buffer("packed", linear.weight.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.packed.T


def int8(model: nn.Module) -> nn.Module:
    return torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("build", [videomae, vivit, tiny_umt])
def test_a_model_of_dynamic_int8_costs_what_it_did(build: Callable[[], nn.Module]) -> None:
    model, quantized, clip = build(), int8(build()), clip_of(build)
    merge = MergeConfig(flop_ratio=0.8)
    costs = [forward_costs(find_host(each), merge) for each in (model, quantized)]
    assert costs[0] == costs[1]
    r = resolved_r(merge, find_host(quantized))
    assert r == resolved_r(merge, find_host(model))
    vidtldr.apply_patch(quantized, merge)
    assert flops_of_root(quantized, clip) == costs[1].flops(r)
    assert vidtldr.describe(quantized).flop_ratio == costs[1].flops(r) / costs[1].flops()


@pytest.mark.parametrize("amount", [{"flop_ratio": 0.8}, {"speedup": 1.1}])
def test_a_linear_layer_of_unknown_cost_is_refused(amount: dict[str, float]) -> None:
    model = videomae()
    dense = model.videomae.encoder.layer[1].output
    dense.dense = PackedLinear(dense.dense)
    with pytest.raises(NotImplementedError, match=r"got .*PackedLinear\. Use `num_tokens`, "):
        vidtldr.apply_patch(model, **amount)
    vidtldr.apply_patch(model, num_tokens=40)
    assert vidtldr.describe(model).flop_ratio is None
