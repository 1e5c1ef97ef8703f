"""The paper's GMACs of UMT's vision encoder, by our counter; 1 MAC = 2 FLOPs."""

import pytest
import torch

import vidtldr
from vidtldr.measure.flops import count_flops
from vidtldr.models.umt import build_vision_encoder


@pytest.mark.parametrize(
    ("size", "name", "gmacs"),
    [
        ("b16", None, 303.3),
        ("b16", "umt-b16/msrvtt-retrieval", 178.0),
        ("b16", "umt-b16/anet-retrieval", 227.6),
        ("b16", "umt-b16/didemo-retrieval", 212.8),
        ("b16", "umt-b16/msrvtt-qa", 188.5),
        ("l16", None, 984.6),
        ("l16", "umt-l16/msrvtt-retrieval", 543.4),
        ("l16", "umt-l16/anet-retrieval", 563.1),
        ("l16", "umt-l16/msvd-qa", 569.8),
    ],
)
def test_gmacs_are_the_papers_within_a_per_cent(size: str, name: str | None, gmacs: float) -> None:
    with torch.device("meta"):
        model = build_vision_encoder(size)
        if name is not None:
            vidtldr.apply_patch(model, preset=name)
        clip = torch.empty(1, 12, 3, 224, 224)
        with torch.inference_mode():
            flops = count_flops(lambda: model(clip))
    assert flops / 2e9 == pytest.approx(gmacs, rel=0.01)
