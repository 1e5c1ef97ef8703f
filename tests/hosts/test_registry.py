from pathlib import Path

import pytest
import torch
from support.shown_pages import DOCS, blocks
from support.tiny_models import videomae, vivit
from torch import nn

import vidtldr
from vidtldr.hosts.host import Host
from vidtldr.hosts.registry import FAMILIES, REFUSED, register


@pytest.mark.parametrize("kind", ["joint_space_time", "space_only"])
def test_timesformer_of_another_attention_is_refused_with_the_reason(kind: str) -> None:
    from transformers import TimesformerConfig, TimesformerForVideoClassification

    tiny = TimesformerConfig(
        hidden_size=24, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    tiny.attention_type = kind
    with pytest.raises(NotImplementedError, match="attention_type must be 'divided_space_time'"):
        vidtldr.apply_patch(TimesformerForVideoClassification(tiny), r=[1])


def test_pretraining_videomae_is_refused_with_the_reason() -> None:
    from transformers import VideoMAEConfig, VideoMAEForPreTraining

    tiny = VideoMAEConfig(
        hidden_size=24, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    with pytest.raises(
        NotImplementedError, match="its decoder puts every visible token back in its place"
    ):
        vidtldr.apply_patch(VideoMAEForPreTraining(tiny), r=[1])


def test_a_tower_with_attention_in_windows_is_refused_with_the_reason() -> None:
    from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLVisionConfig
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import (
        Qwen2_5_VisionTransformerPretrainedModel,
    )

    config = Qwen2_5_VLVisionConfig(depth=1, hidden_size=32, num_heads=2, intermediate_size=32)
    with pytest.raises(NotImplementedError, match="would save 4 % of the FLOPs"):
        vidtldr.apply_patch(Qwen2_5_VisionTransformerPretrainedModel(config), r=[1])


def test_every_refusal_names_a_package_that_exists() -> None:
    """A renamed package would turn a refusal into 'unknown family' without anybody noticing."""
    import transformers

    root = Path(transformers.__file__).parent
    for name in REFUSED:
        library, _, rest = name.partition(".models.")
        if library == "transformers":
            assert (root / "models" / rest.split(".")[0]).is_dir(), name


def test_an_unknown_model_lists_the_families() -> None:
    with pytest.raises(ValueError, match="model must be of a known family") as error:
        vidtldr.apply_patch(nn.Linear(2, 2), r=[1])
    assert all(family.family in str(error.value) for family in FAMILIES)


def test_two_known_models_in_one_module_are_ambiguous() -> None:
    both = nn.ModuleList([videomae(), vivit()])
    with pytest.raises(
        ValueError, match=r"model must hold one known model, got 2 \(VideoMAE .*, ViViT"
    ):
        vidtldr.apply_patch(both, r=[1])


def test_what_is_no_module_is_refused() -> None:
    with pytest.raises(TypeError, match=r"a torch module or a pipeline .*, got Tensor"):
        vidtldr.apply_patch(torch.zeros(1), r=[1])


def test_a_family_of_ones_own_is_added_as_the_docs_show(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("vidtldr.hosts.registry.FAMILIES", list(FAMILIES))
    page = "\n".join(blocks(DOCS / "add-a-model.md", "python"))
    exec(compile(page, "add-a-model.md", "exec"), {"__name__": "mine"})
    printed = capsys.readouterr().out
    assert "Encoder (my project): 4 layers, tokens: 65" in printed
    assert "FLOPs: 69" in printed or "FLOPs: 70" in printed


@pytest.mark.parametrize("family", [Host, videomae, object])
def test_what_is_no_whole_family_is_not_registered(family: object) -> None:
    with pytest.raises(TypeError, match="family must"):
        register(family)  # type: ignore[arg-type]
    assert family not in FAMILIES
