import pytest
from support import tiny_models

import vidtldr
from vidtldr import MergeConfig


def test_an_unpatched_model_is_said_not_to_merge() -> None:
    found = vidtldr.describe(tiny_models.videomae())
    assert (found.config, found.r, found.flop_ratio) == (None, None, None)
    assert str(found).endswith("not merging (no patch)")
    assert "VideoMAE" in str(found)


def test_a_patched_model_says_what_its_schedule_comes_to() -> None:
    model = tiny_models.videomae()
    before = vidtldr.describe(model)
    vidtldr.apply_patch(model, flop_ratio=0.8, score="received")
    found = vidtldr.describe(model)
    assert found.config == MergeConfig(flop_ratio=0.8, score="received")
    assert found.r is not None
    assert found.tokens_after_layers is not None
    assert before.num_tokens is not None
    assert found.tokens_after_layers[-1] == before.num_tokens - sum(found.r)
    assert found.flop_ratio is not None
    assert 0.6 < found.flop_ratio <= 0.8
    lines = repr(found).splitlines()
    assert lines[1] == "merging by MergeConfig(flop_ratio=0.8, score='received')"
    assert lines[2] == f"removed in each layer: {', '.join(map(str, found.r))}"
    vidtldr.remove_patch(model)
    assert vidtldr.describe(model) == before


def test_what_cannot_be_known_is_left_out() -> None:
    with pytest.raises(TypeError, match="model must be a torch module"):
        vidtldr.describe("a model")  # type: ignore[arg-type]


def test_a_trace_and_a_patched_block_say_what_they_are() -> None:
    model = vidtldr.apply_patch(tiny_models.videomae(), r=[4])
    with vidtldr.trace(model) as trace:
        assert repr(trace).endswith("no whole forward yet)")
        model(pixel_values=tiny_models.clips())
    assert "merged in layers [0]" in repr(trace)
    block = trace.blocks[0]
    assert repr(block.forward) == "MergingForward(layer=0, MergeConfig(r=(4,), output='tokens'))"
