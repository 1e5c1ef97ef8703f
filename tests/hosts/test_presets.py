import subprocess
import sys

import pytest

from vidtldr.hosts.config import MergeConfig
from vidtldr.hosts.presets import PRESETS, preset, preset_for
from vidtldr.models.umt import UMTConfig, build_vision_encoder

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
    assert preset(name) == MergeConfig(r=r)
    num_layers = 12 if "b16" in name else 24
    assert preset(name, num_layers=num_layers, num_tokens=2352).r == r
    preset(name).validate_for(num_layers, 2352)


def test_presets_are_read_only():
    with pytest.raises(TypeError):
        PRESETS["mine"] = MergeConfig(r=[1])


def test_an_unknown_name_lists_the_near_ones():
    with pytest.raises(ValueError, match="got 'umt-b16/msrvt'") as caught:
        preset("umt-b16/msrvt")
    assert "umt-b16/msrvtt-qa" in str(caught.value)
    assert "didemo" not in str(caught.value)


def test_a_name_like_no_other_lists_all():
    with pytest.raises(ValueError, match="preset must be a known name, got 'zzz'") as caught:
        preset("zzz")
    assert all(name in str(caught.value) for name in PRESETS)


def test_another_depth_is_refused_with_the_name_that_fits():
    with pytest.raises(ValueError, match="must be used on 12 layers, got a model of 24") as caught:
        preset("umt-b16/msvd-qa", num_layers=24)
    assert "Use preset 'umt-l16/msvd-qa'" in str(caught.value)
    with pytest.raises(ValueError, match="Give a schedule of your own with r"):
        preset("umt-b16/msvd-qa", num_layers=13)


def test_other_tokens_are_refused_with_a_scaled_schedule():
    with pytest.raises(ValueError, match="must be used on 2352 tokens") as caught:
        preset("umt-b16/msrvtt-retrieval", num_layers=12, num_tokens=784)
    assert "got a model of 784. Use r=[200, 66, 33], the same shares" in str(caught.value)


@pytest.mark.parametrize("name", list(PRESETS))
@pytest.mark.parametrize("num_tokens", [20, 49, 196, 784, 785, 1568, 4704])
def test_every_suggestion_fits(name, num_tokens):
    with pytest.raises(ValueError, match="tokens") as caught:
        preset(name, num_tokens=num_tokens)
    suggested = str(caught.value).split("r=[")[1].split("]")[0].split(", ")
    config = MergeConfig(r=[int(r) for r in suggested])
    config.validate_for(12, num_tokens)


def test_too_few_tokens_have_no_suggestion():
    with pytest.raises(ValueError, match="nothing to merge in so few tokens"):
        preset("umt-b16/anet-retrieval", num_tokens=4)


def test_a_loaded_model_is_checked():
    assert preset_for(small_encoder(12, 12), "umt-b16/anet-retrieval").r == (500,)
    with pytest.raises(ValueError, match=r"got a model of 784\. Use r="):
        preset_for(small_encoder(12, 4), "umt-b16/anet-retrieval")
    with pytest.raises(ValueError, match="got a model of 24"):
        preset_for(small_encoder(24, 12), "umt-b16/anet-retrieval")
    with pytest.raises(ValueError, match="known name"):
        preset_for(small_encoder(12, 12), "umt-b16/unknown")


def test_presets_need_no_torch():
    code = "import sys, vidtldr.hosts.presets; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
