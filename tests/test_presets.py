import subprocess
import sys
from dataclasses import replace

import pytest

from vidtldr.config import MergeConfig
from vidtldr.models.umt import UMTConfig, build_vision_encoder
from vidtldr.patch.patching import apply_patch
from vidtldr.presets import PRESETS, validate_preset, validate_preset_for

SETS = ("msrvtt", "msvd", "anet", "didemo", "lsmdc", "ssv2-label", "ssv2-template")
TASKS = (*(f"{name}-retrieval" for name in SETS), "msrvtt-qa", "msvd-qa")


def small_encoder(num_layers, num_frames):
    """The tokens of the published models, but few channels: 196 patches a frame."""
    text = {"fusion_layer": 1, "num_hidden_layers": 2}
    return build_vision_encoder(UMTConfig(224, 16, num_frames, 8, num_layers, 2, 4, text))


def test_there_are_the_papers_18():
    assert sorted(PRESETS) == sorted(f"umt-{a}16/{task}" for a in "bl" for task in TASKS)


@pytest.mark.parametrize(
    ("name", "r"),
    [
        ("umt-b16/msrvtt-retrieval", (600, 200, 100)),
        ("umt-l16/msrvtt-retrieval", (550, 400)),
        ("umt-b16/msvd-retrieval", (450, 250, 200)),
        ("umt-l16/msvd-retrieval", (600, 200, 100, 100)),
        ("umt-b16/anet-retrieval", (500,)),
        ("umt-l16/anet-retrieval", (600, 300)),
        ("umt-b16/didemo-retrieval", (250, 150, 150, 150)),
        ("umt-l16/didemo-retrieval", (800, 100)),
        ("umt-b16/lsmdc-retrieval", (400, 150, 150)),
        ("umt-l16/lsmdc-retrieval", (250, 250, 200, 200)),
        ("umt-b16/ssv2-label-retrieval", (200, 200, 200, 100)),
        ("umt-l16/ssv2-label-retrieval", (450, 250, 100)),
        ("umt-b16/ssv2-template-retrieval", (400, 300)),
        ("umt-l16/ssv2-template-retrieval", (350, 300, 100, 50)),
        ("umt-b16/msrvtt-qa", (600, 200)),
        ("umt-l16/msrvtt-qa", (400, 400, 100)),
        ("umt-b16/msvd-qa", (600, 200)),
        ("umt-l16/msvd-qa", (400, 400, 100)),
    ],
)
def test_schedules_are_the_papers(name, r):
    assert PRESETS[name] == r
    assert MergeConfig(preset=name) == MergeConfig(r=r, score="sharpness")
    MergeConfig(preset=name).validate_for(12 if "b16" in name else 24, 2352)


def test_presets_are_read_only():
    with pytest.raises(TypeError):
        PRESETS["mine"] = (1,)


def test_an_unknown_name_lists_the_near_ones():
    with pytest.raises(ValueError, match="got 'umt-b16/msrvt'") as caught:
        validate_preset("umt-b16/msrvt")
    assert "umt-b16/msrvtt-qa" in str(caught.value)
    assert "didemo" not in str(caught.value)


def test_a_name_like_no_other_lists_all():
    with pytest.raises(ValueError, match="preset must be a known name, got 'zzz'") as caught:
        validate_preset("zzz")
    assert all(name in str(caught.value) for name in PRESETS)


def test_another_depth_is_refused_with_the_name_that_fits():
    with pytest.raises(ValueError, match="must be used on 12 layers, got a model of 24") as caught:
        validate_preset_for("umt-b16/msvd-qa", 24, 2352)
    assert "Use `preset='umt-l16/msvd-qa'`" in str(caught.value)
    with pytest.raises(ValueError, match="Give a schedule of your own with `r`"):
        validate_preset_for("umt-b16/msvd-qa", 13, None)


def test_other_tokens_are_refused_with_a_scaled_schedule():
    with pytest.raises(ValueError, match="must be used on 2352 tokens") as caught:
        validate_preset_for("umt-b16/msrvtt-retrieval", 12, 784)
    assert "got a model of 784. Use `r=[200, 66, 33]`, the same shares" in str(caught.value)


@pytest.mark.parametrize("name", list(PRESETS))
@pytest.mark.parametrize("num_tokens", [20, 49, 196, 784, 785, 1568, 4704])
def test_every_suggestion_fits(name, num_tokens):
    num_layers = 12 if "b16" in name else 24
    with pytest.raises(ValueError, match="tokens") as caught:
        validate_preset_for(name, num_layers, num_tokens)
    suggested = str(caught.value).split("r=[")[1].split("]")[0].split(", ")
    config = MergeConfig(r=[int(r) for r in suggested])
    config.validate_for(num_layers, num_tokens)


def test_too_few_tokens_have_no_suggestion():
    with pytest.raises(ValueError, match="nothing to merge in so few tokens"):
        validate_preset_for("umt-b16/anet-retrieval", 12, 4)


def test_a_loaded_model_is_checked():
    name = "umt-b16/anet-retrieval"
    apply_patch(small_encoder(12, 12), preset=name)
    with pytest.raises(ValueError, match=r"got a model of 784\. Use `r="):
        apply_patch(small_encoder(12, 4), preset=name)
    with pytest.raises(ValueError, match="got a model of 24"):
        apply_patch(small_encoder(24, 12), MergeConfig(preset=name))
    with pytest.raises(ValueError, match="known name"):
        apply_patch(small_encoder(12, 12), preset="umt-b16/unknown")


def test_a_copy_with_another_score_is_still_checked():
    config = replace(MergeConfig(preset="umt-b16/anet-retrieval"), score="received")
    assert config.r == (500,)
    with pytest.raises(ValueError, match="got a model of 24"):
        apply_patch(small_encoder(24, 12), config)
    assert MergeConfig.from_dict(config.to_dict()) == config


def test_a_preset_is_an_amount_of_its_own():
    with pytest.raises(ValueError, match="got r and preset"):
        MergeConfig(r=[1], preset="umt-b16/anet-retrieval")
    with pytest.raises(ValueError, match="got flop_ratio and preset"):
        MergeConfig(flop_ratio=0.5, preset="umt-b16/anet-retrieval")


def test_presets_need_no_torch():
    code = "import sys, vidtldr.presets; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
