"""TimeSformer: whole tubes merge, by one match in all frames."""

import pytest
import torch
from support import tiny_encoders
from support.tiny_encoders import inputs_of

import vidtldr
from vidtldr.budget.counts import tokens_after_layers
from vidtldr.hosts.registry import find_host


def test_a_tube_merges_alike_in_all_frames() -> None:
    model = vidtldr.apply_patch(tiny_encoders.timesformer(), r=[9, 0, 5])
    with torch.no_grad(), vidtldr.trace(model) as trace:
        hidden = model.timesformer(**inputs_of(model)).last_hidden_state
    assert trace.num_tokens == [1 + 3 * n for n in (16, 16, 11, 11)]
    assert hidden.shape[1] == trace.num_tokens[-1]
    frames = (trace.source[:, 1:] - 1).unflatten(1, (25, 3))
    assert torch.equal(frames % 3, torch.arange(3).expand(2, 25, 3))
    assert torch.equal(frames // 3, (frames // 3)[..., :1].expand(2, 25, 3))
    weights = trace.source_weight[:, 1:].unflatten(1, (25, 3))
    assert torch.equal(weights, weights[..., :1].expand_as(weights))
    assert vidtldr.unmerge_tokens(hidden, trace.source).shape == (2, 76, 48)


def test_counts_are_tubes_and_numbers_of_tokens_are_tokens() -> None:
    model = tiny_encoders.timesformer()
    host = find_host(model)
    assert (host.num_tokens, host.num_mergeable, host.num_extra_tokens) == (76, 25, 1)
    with pytest.raises(ValueError, match=r"`r\[0\]` must be in \[0, 12\] \(half of 25"):
        vidtldr.apply_patch(model, r=[13])
    vidtldr.apply_patch(model, num_tokens=1 + 3 * 20)
    config = vidtldr.MergeConfig(num_tokens=61)
    assert sum(vidtldr.describe(model).r or ()) == 5
    with torch.no_grad(), vidtldr.trace(model) as trace:
        model(**inputs_of(model))
    assert trace.num_tokens == tokens_after_layers(config, host)
    assert trace.num_tokens[-1] == 61


@pytest.mark.parametrize(
    ("num_tokens", "message"),
    [
        (60, "`num_tokens` must be 1 and a multiple of 3 .* got 60. Pass 58"),
        (79, r"`num_tokens` must be in \[40, 76\] where layer 0 merges .* got 79"),
        (37, r"`num_tokens` must be in \[40, 76\] where layer 0 merges .* got 37"),
    ],
)
def test_a_number_of_tokens_that_tubes_cannot_leave_is_refused(
    num_tokens: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        vidtldr.apply_patch(tiny_encoders.timesformer(), num_tokens=num_tokens, layers=[0])


def test_a_flop_budget_is_met() -> None:
    model = vidtldr.apply_patch(tiny_encoders.timesformer(), flop_ratio=0.7)
    assert 0.65 < (vidtldr.describe(model).flop_ratio or 0) <= 0.7


def test_every_choice_of_the_method_merges_tubes() -> None:
    model = tiny_encoders.timesformer()
    for choices in (
        {"metric": "keys"},
        {"metric": "random"},
        {"score": None},
        {"score": "received"},
        {"score": "flatness"},
        {"score": "sharpness-per-head"},
        {"score": "representation-shift"},
        {"impl": "reference"},
    ):
        vidtldr.apply_patch(model, r=[9, 0, 5], **choices)
        with torch.no_grad(), vidtldr.trace(model) as trace:
            assert model(**inputs_of(model)).logits.isfinite().all()
        assert trace.num_tokens[-1] == 1 + 3 * 11


@pytest.mark.parametrize("output", ["tokens", "grid"])
def test_hidden_states_and_attention_maps_that_are_asked_for(output: str) -> None:
    """Maps are those of layers before the first merging one."""
    model = vidtldr.apply_patch(tiny_encoders.timesformer(), r=[0, 5], output=output)
    with torch.no_grad():
        found = model(**inputs_of(model), output_attentions=True, output_hidden_states=True)
    assert found.attentions[0].shape == (6, 3, 26, 26)
    assert found.attentions[1:] == (None,) * 3
    widths = [76, 76, *[61 if output == "tokens" else 76] * 3]
    assert [x.shape[1] for x in found.hidden_states] == widths


def test_baselines_that_would_break_tubes_are_refused() -> None:
    from vidtldr.baselines.dropping import dropping_twin
    from vidtldr.baselines.materialised import eager_twin

    model = tiny_encoders.timesformer()
    with pytest.raises(NotImplementedError, match="without rotary positions, divided attention"):
        dropping_twin(model, [3])
    with pytest.raises(NotImplementedError, match="without rotary positions, divided attention"):
        eager_twin(model)
