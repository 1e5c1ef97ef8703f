"""Remedies are taken from the library itself: one that is reworded there fails here."""

import pytest
from support.umt_official_names import (
    PUBLISHED,
    answering_shapes,
    constant_tensors,
    retrieval_shapes,
)

from vidtldr.cli.terminal import in_flags
from vidtldr.models.umt.architecture import likely_architecture
from vidtldr.presets import validate_preset_for


def test_sizes_are_named_by_their_flag() -> None:
    large = constant_tensors(retrieval_shapes(PUBLISHED["l16"]))
    assert in_flags(likely_architecture(large, "retrieval")).endswith("Pass --arch l16.")
    other = constant_tensors(answering_shapes(PUBLISHED["b16"]))
    message = in_flags(likely_architecture(other, "retrieval"))
    assert message.endswith("otherwise use it with ask or evaluate answering.")


@pytest.mark.parametrize(
    ("num_layers", "num_tokens", "remedy"),
    [
        (24, 2352, "Use --preset umt-l16/msvd-qa."),
        (3, 2352, "Give a schedule of your own with --r."),
        (12, 784, "Use --r 200,66, the same shares of 784 tokens."),
    ],
)
def test_schedules_are_named_by_their_flag(num_layers: int, num_tokens: int, remedy: str) -> None:
    with pytest.raises(ValueError, match="must be used on") as caught:
        validate_preset_for("umt-b16/msvd-qa", num_layers, num_tokens)
    assert in_flags(str(caught.value)).endswith(remedy)


def test_other_messages_stay_as_they_are() -> None:
    assert in_flags("r[0] must be in [0, 3], got 4.") == "r[0] must be in [0, 3], got 4."
