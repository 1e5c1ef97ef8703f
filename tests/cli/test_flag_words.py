"""Remedies are taken from the library itself: one that is reworded there fails here."""

import pytest
import torch
from models.umt.official_names import (
    PUBLISHED,
    answering_shapes,
    constant_tensors,
    retrieval_shapes,
)

from vidtldr.cli.flag_words import in_flags
from vidtldr.evaluate.metrics import best_ranks
from vidtldr.hosts.presets import preset
from vidtldr.models.umt.architecture import likely_architecture


def test_sizes_are_named_by_their_flag() -> None:
    large = constant_tensors(retrieval_shapes(PUBLISHED["l16"]))
    assert in_flags(likely_architecture(large, "retrieval")).endswith("Pass --arch l16.")
    other = constant_tensors(answering_shapes(PUBLISHED["b16"]))
    message = in_flags(likely_architecture(other, "retrieval"))
    assert message.endswith("It is for ask, evaluate answering and convert --task answering.")


@pytest.mark.parametrize(
    ("sizes", "remedy"),
    [
        ({"num_layers": 24}, "Use --preset umt-l16/msvd-qa."),
        ({"num_layers": 3}, "Give a schedule of your own with --r."),
        ({"num_tokens": 784}, "Use --r 200,66, the same shares of 784 tokens."),
    ],
)
def test_schedules_are_named_by_their_flag(sizes: dict[str, int], remedy: str) -> None:
    with pytest.raises(ValueError, match="must be used on") as caught:
        preset("umt-b16/msvd-qa", **sizes)
    assert in_flags(str(caught.value)).endswith(remedy)


def test_the_type_of_numbers_is_named_by_its_flag() -> None:
    with pytest.raises(ValueError, match="must be numbers") as caught:
        best_ranks(torch.full((2, 2), torch.nan), [[0], [1]])
    assert in_flags(str(caught.value)).endswith("got NaN. Use --dtype float32.")


def test_other_messages_stay_as_they_are() -> None:
    assert in_flags("r[0] must be in [0, 3], got 4.") == "r[0] must be in [0, 3], got 4."
