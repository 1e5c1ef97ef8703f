import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.tiny_files import VIDEOMAE_PROCESSOR, write_model
from support.tiny_models import TRANSFORMERS, videomae
from torch import nn
from transformers import VideoMAEForVideoClassification

import vidtldr
from vidtldr.hosts import lost_biases
from vidtldr.hosts.lost_biases import name_lost_biases, warn_about_lost_biases
from vidtldr.tasks.pretrained import load_pretrained

MISSING = "videomae.encoder.layer.0.attention.attention.query.bias"
LOSES_THEM = (5, 6) <= TRANSFORMERS < (5, 18)


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A checkpoint with the names of published files, whose biases are all 0.5."""
    model = videomae(num_hidden_layers=2)
    with torch.no_grad():
        for layer in model.videomae.encoder.layer:
            layer.attention.attention.query.bias.fill_(0.5)
            layer.attention.attention.value.bias.fill_(0.5)
    write_model(tmp_path, model, VIDEOMAE_PROCESSOR)
    weights = {_published_name(name): t for name, t in load_file(_weights_of(tmp_path)).items()}
    assert sum(name.endswith(("q_bias", "v_bias")) for name in weights) == 4
    save_file(weights, _weights_of(tmp_path), metadata={"format": "pt"})
    return tmp_path


def _weights_of(directory: Path) -> Path:
    return directory / "model.safetensors"


def _published_name(name: str) -> str:
    return name.replace("query.bias", "q_bias").replace("value.bias", "v_bias")


@pytest.mark.skipif(LOSES_THEM, reason="this version of transformers loses them")
def test_biases_of_a_published_checkpoint_arrive(published: Path) -> None:
    model = VideoMAEForVideoClassification.from_pretrained(published)
    for layer in model.videomae.encoder.layer:
        attention = layer.attention.attention
        for bias in (attention.query.bias, attention.value.bias):
            assert torch.equal(bias, torch.full_like(bias, 0.5))


@pytest.mark.skipif(not LOSES_THEM, reason="this version of transformers finds them")
def test_where_they_are_lost_the_loader_refuses_with_the_reason(published: Path) -> None:
    with pytest.raises(ValueError, match=r"without 4 of them: transformers 5\.\d+.* loads publi"):
        load_pretrained(str(published), torch.device("cpu"), None)


@pytest.mark.parametrize("found", ["5.5.4", "5.18.0", "5.23.0", "6.0.0.dev0"])
def test_other_versions_lose_nothing(monkeypatch: pytest.MonkeyPatch, found: str) -> None:
    monkeypatch.setattr(lost_biases, "_version", lambda: found)
    assert name_lost_biases([MISSING]) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_about_lost_biases([_without_bias()])


def _without_bias() -> nn.Linear:
    linear = nn.Linear(3, 3)
    nn.init.zeros_(linear.bias)
    return linear


def _quantized(linear: nn.Linear) -> nn.Module:
    return torch.ao.nn.quantized.dynamic.Linear(linear.in_features, linear.out_features)


class Adapter(nn.Module):
    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("change", [Adapter, _quantized], ids=["adapter", "quantized"])
def test_of_replaced_projections_nothing_is_known(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[nn.Linear], nn.Module]
) -> None:
    monkeypatch.setattr(lost_biases, "_version", lambda: "5.17.0")
    lost_biases._warn.cache_clear()
    replaced = change(_without_bias())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_about_lost_biases([replaced])
    with pytest.warns(UserWarning, match="the biases of queries are all zero"):
        warn_about_lost_biases([_without_bias()])


@pytest.mark.parametrize("found", ["5.6.0", "5.17.1"])
def test_a_version_that_loses_them_is_named(monkeypatch: pytest.MonkeyPatch, found: str) -> None:
    monkeypatch.setattr(lost_biases, "_version", lambda: found)
    assert name_lost_biases(["classifier.bias"]) is None
    reason = name_lost_biases([MISSING])
    assert reason is not None
    assert reason.startswith(f"transformers {found} loads published VideoMAE")


def test_apply_patch_warns_once_of_biases_that_are_all_zero(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lost_biases, "_version", lambda: "5.17.0")
    lost_biases._warn.cache_clear()
    empty, full = videomae(num_hidden_layers=2), videomae(num_hidden_layers=2)
    for layer in empty.videomae.encoder.layer:
        nn.init.zeros_(layer.attention.attention.query.bias)
    with pytest.warns(UserWarning, match=r"Install transformers 5\.18 or later and"):
        vidtldr.apply_patch(empty, r=[4])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vidtldr.apply_patch(empty, r=[5])
    lost_biases._warn.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vidtldr.apply_patch(full, r=[4])
