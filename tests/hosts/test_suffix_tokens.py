"""Extra tokens behind the patches, by a family of one's own whose class token comes last."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import vidtldr
from vidtldr.budget.counts import forward_costs
from vidtldr.config import MergeConfig
from vidtldr.hosts import Attend, Attended, BlockSizes, Host, join_heads, register
from vidtldr.hosts.registry import FAMILIES, find_host
from vidtldr.measure.flops import count_flops

NUM_PATCHES, CHANNELS, HEADS = 23, 24, 3


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.qkv = nn.LayerNorm(CHANNELS), nn.Linear(CHANNELS, 3 * CHANNELS)
        self.mlp = nn.Sequential(nn.Linear(CHANNELS, 48), nn.GELU(), nn.Linear(48, CHANNELS))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x)).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        x = x + join_heads(F.scaled_dot_product_attention(q, k, v))
        return x + self.mlp(x)


class Encoder(nn.Module):
    """Class tokens in front, or behind."""

    def __init__(self, num_front: int, num_behind: int) -> None:
        super().__init__()
        self.num_front, self.num_behind = num_front, num_behind
        self.embed = nn.Conv1d(3, CHANNELS, 2, stride=2)
        self.extra = nn.Parameter(torch.randn(1, num_front + num_behind, CHANNELS))
        self.blocks = nn.ModuleList(Block() for _ in range(4))

    def forward(self, signal: Tensor) -> Tensor:
        x = self.embed(signal).transpose(1, 2)
        extra = self.extra.expand(len(x), -1, -1)
        x = torch.cat([extra[:, : self.num_front], x, extra[:, self.num_front :]], dim=1)
        for block in self.blocks:
            x = block(x)
        return x


class EncoderHost(Host):
    family = "Encoder with extras behind"

    @staticmethod
    def matches(module: nn.Module) -> bool:
        return isinstance(module, Encoder)

    @classmethod
    def of(cls, root: Any) -> "EncoderHost":
        num_tokens = root.num_front + NUM_PATCHES + root.num_behind
        behind = root.num_behind
        return cls(root, root.blocks, root.num_front, num_tokens, num_suffix_tokens=behind)

    @staticmethod
    def attention_half(block: Any, x: Tensor, attend: Attend) -> Attended:
        q, k, v = block.qkv(block.norm(x)).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        attended = attend(q, k, v, scale=q.shape[-1] ** -0.5)
        return Attended(x + join_heads(attended.x), attended.score, k)

    @staticmethod
    def mlp_half(block: Any, x: Tensor) -> Tensor:
        y: Tensor = x + block.mlp(x)
        return y

    @staticmethod
    def walked_around(block: Any) -> dict[str, nn.Module]:
        return {f"{__name__}.Block": block}

    @staticmethod
    def sizes(block: Any) -> BlockSizes:
        return BlockSizes(HEADS, CHANNELS // HEADS, (block.mlp,))

    @staticmethod
    def attention_dropout(block: Any) -> float:
        return 0.0


@pytest.fixture
def encoders(monkeypatch: pytest.MonkeyPatch) -> tuple[Encoder, Encoder]:
    """The same weights with three extras in front, and with one of them in front, two behind."""
    monkeypatch.setattr("vidtldr.hosts.registry.FAMILIES", list(FAMILIES))
    register(EncoderHost)
    torch.manual_seed(0)
    front, behind = Encoder(3, 0).double().eval(), Encoder(1, 2).double().eval()
    behind.load_state_dict(front.state_dict())
    return front, behind


@pytest.fixture
def signal() -> Tensor:
    return torch.randn(2, 3, 2 * NUM_PATCHES, generator=torch.Generator().manual_seed(1)).double()


def extras_in_front(x: Tensor) -> Tensor:
    return torch.cat([x[:, :1], x[:, -2:], x[:, 1:-2]], dim=1)


@pytest.mark.parametrize("output", ["tokens", "grid"])
@pytest.mark.parametrize(
    "choices", [{}, {"metric": "keys"}, {"score": "representation-shift"}, {"score": None}]
)
@torch.no_grad()
def test_where_extras_stand_makes_no_difference(
    encoders: tuple[Encoder, Encoder], signal: Tensor, output: str, choices: dict[str, Any]
) -> None:
    results = []
    for model in encoders:
        vidtldr.apply_patch(model, r=[5, 0, 7, 5], output=output, **choices)
        with vidtldr.trace(model) as trace:
            x = model(signal)
        results.append((x, trace))
    (front, one), (behind, other) = results
    assert torch.allclose(extras_in_front(behind), front, atol=1e-12)
    assert torch.allclose(extras_in_front(other.mass[..., None])[..., 0], one.mass)
    assert other.num_tokens == one.num_tokens
    places = torch.arange(other.num_tokens[-1]).expand(2, -1)[..., None]
    renamed = extras_in_front(places)[..., 0].argsort(1)  # where each token stands in the other
    moved = renamed.gather(1, extras_in_front(other.source[..., None])[..., 0])
    assert torch.equal(moved, one.source)
    assert torch.equal(other.source[:, -2:], places[:, -2:, 0])
    assert other.saliency.keys() == one.saliency.keys()
    for layer, expected in one.saliency.items():
        assert torch.allclose(other.saliency[layer], expected)


@torch.no_grad()
def test_costs_and_counts_leave_them_out(encoders: tuple[Encoder, Encoder], signal: Tensor) -> None:
    _, model = encoders
    host = find_host(model)
    assert (host.num_extra_tokens, host.num_mergeable) == (3, NUM_PATCHES)
    config = MergeConfig(r=(5, 0, 7))
    vidtldr.apply_patch(model, config)
    counted = count_flops(lambda: model(signal[:1]))
    assert forward_costs(host, config).flops(config.r) == counted
    vidtldr.apply_patch(model, num_tokens=20, layers=[0])
    assert model(signal).shape[1] == 20
    with pytest.raises(ValueError, match=r"`r\[0\]` must be in \[0, 11\] \(half of 23 mergeable"):
        vidtldr.apply_patch(model, r=[12])
