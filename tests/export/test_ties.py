"""Equal proposals win in order of position in an exported graph, too."""

from pathlib import Path

import pytest
import torch
from support.exporters import EXPORTERS, Inputs
from torch import Tensor, nn

from vidtldr.method.matching import match_tokens

NEEDS = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("openvino",)}


class Matching(nn.Module):
    def __init__(self, r: int) -> None:
        super().__init__()
        self.r = r

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The kept sources, and the merged ones in order of position with their destinations."""
        match = match_tokens(x, self.r, num_prefix_tokens=1)
        src, order = match.src.topk(self.r, largest=False)
        return match.kept, src, match.dst.gather(1, order)


def few_directions(batch: int, seed: int) -> Inputs:
    """Tokens of three directions and none: most proposals are equal."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(0, 4, (batch, 42), generator=generator)
    return {"x": torch.eye(4)[:, :3].contiguous()[drawn]}


@pytest.mark.parametrize(
    "exporter",
    ["torch.export", *(pytest.param(name, marks=pytest.mark.export) for name in NEEDS)],
)
@pytest.mark.parametrize("r", [1, 7, 20])
def test_equal_proposals_win_in_order_of_position(exporter: str, r: int, tmp_path: Path) -> None:
    for package in NEEDS.get(exporter, ()):
        pytest.importorskip(package, reason="it is in the environment of `make test-export`")
    model = Matching(r)
    run = EXPORTERS[exporter](model, few_directions(2, 0), True, tmp_path)
    for seed in range(1, 6):
        inputs = few_directions(3, seed)
        for found, expected in zip(run(inputs), model(**inputs), strict=True):
            assert found.equal(expected)
