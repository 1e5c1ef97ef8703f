import pytest
import torch
from torch import Tensor

from vidtldr.method.matching import match_tokens
from vidtldr.method.merging import merge_tokens
from vidtldr.method.saliency import masked_saliency
from vidtldr.method.source import unmerge_tokens, update_source


def merge_step(x: Tensor, mass: Tensor, sharpness: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    match = match_tokens(x, 5, 1)
    merged, mass = merge_tokens(x, mass, match, masked_saliency(sharpness))
    source = update_source(torch.arange(x.shape[1]).expand(x.shape[0], -1), match)
    return unmerge_tokens(merged, source), mass, source


@pytest.mark.slow
def test_the_whole_method_compiles_to_one_graph() -> None:
    arguments = torch.randn(2, 16, 8), torch.ones(2, 16), -torch.rand(2, 15)
    compiled = torch.compile(merge_step, fullgraph=True)
    for found, expected in zip(compiled(*arguments), merge_step(*arguments), strict=True):
        assert torch.allclose(found, expected, atol=1e-6)
