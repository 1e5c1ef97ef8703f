"""Files with the published names and shapes load strictly: nothing missing, nothing left over."""

import dataclasses
import warnings

import pytest
import torch
from support import umt_official_names as official_names
from support.umt_official_names import PUBLISHED, constant_tensors

from vidtldr.models.umt import UMTConfig, load_umt

IGNORED_IN_RETRIEVAL = ("clip_teacher.", "vision_encoder.clip_decoder.", "text_encoder.cls.")
NOT_IN_ANSWERING = (
    *IGNORED_IN_RETRIEVAL,
    "vision_encoder.pool_norm.",
    "vision_proj.",
    "text_proj.",
    "itm_head.",
    "temp",
)


def save(tmp_path, state):
    path = tmp_path / "umt.pth"
    torch.save({"model": state, "epoch": 3}, path)
    assert path.stat().st_size < 2**21
    return path


def with_four_frames(name):
    return dataclasses.replace(UMTConfig.named(name), num_frames=4)


def plain(name):
    """Our name for a name in a file; None where the file holds a constant or a second copy."""
    if name.endswith(("position_ids", "cls.predictions.bias")):
        return None
    return name.replace("text_encoder.bert.", "text_encoder.")


def assert_every_weight_is_the_files(model, state, ignored):
    """Each weight has the file's number, and each number of the file is used."""
    numbers = {plain(name): value for name, value in state.items() if not name.startswith(ignored)}
    numbers.pop(None, None)
    weights = model.state_dict()
    assert weights.keys() == numbers.keys()
    for name, value in weights.items():
        assert value.shape == numbers[name].shape, name
        assert torch.equal(value.flatten()[:1], numbers[name].flatten()[:1]), name


@pytest.mark.parametrize("name", PUBLISHED)
def test_fine_tuned_retrieval_files_load_strictly(tmp_path, name):
    state = constant_tensors(official_names.retrieval_shapes(PUBLISHED[name]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = load_umt(save(tmp_path, state), config=name)
    assert_every_weight_is_the_files(model, state, IGNORED_IN_RETRIEVAL)
    assert model.untrained == ()


@pytest.mark.parametrize("name", PUBLISHED)
def test_fine_tuned_answering_files_load_strictly(tmp_path, name):
    state = constant_tensors(official_names.answering_shapes(PUBLISHED[name]))
    bias = state["text_decoder.cls.predictions.bias"]
    state["text_decoder.cls.predictions.decoder.bias"] = bias
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = load_umt(save(tmp_path, state), task="answering", config=name)
    assert_every_weight_is_the_files(model, state, NOT_IN_ANSWERING)
    assert model.untrained == ()


@pytest.mark.parametrize("name", PUBLISHED)
def test_pretrained_files_load_strictly_for_retrieval(tmp_path, name):
    state = constant_tensors(official_names.pretrained_shapes(PUBLISHED[name]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = load_umt(save(tmp_path, state), config=with_four_frames(name))
    assert_every_weight_is_the_files(model, state, IGNORED_IN_RETRIEVAL)
    assert model.untrained == ()


def test_a_pretrained_file_with_twelve_frames_warns(tmp_path):
    state = constant_tensors(official_names.pretrained_shapes(PUBLISHED["b16"]))
    with pytest.warns(UserWarning, match=r"trained with 4 frames, but config\.num_frames is 12"):
        load_umt(save(tmp_path, state))


@pytest.mark.parametrize("name", PUBLISHED)
def test_pretrained_files_give_the_decoder_their_fusion_layers(tmp_path, name):
    sizes = PUBLISHED[name]
    state = constant_tensors(official_names.pretrained_shapes(sizes))
    config = with_four_frames(name)
    with pytest.warns(UserWarning, match="text_decoder was not trained for this task"):
        model = load_umt(save(tmp_path, state), task="answering", config=config)
    assert model.untrained == ("text_decoder",)
    weights = model.state_dict()
    decoder = {key for key in weights if key.startswith("text_decoder.")}
    assert len(decoder) == len(weights) - len(
        [key for key in weights if key.startswith(("vision_encoder.", "text_encoder."))]
    )
    for key in decoder:
        source = key.replace("text_decoder", "text_encoder")
        if ".layer." in key:
            head, tail = source.split(".layer.")
            depth, rest = tail.split(".", 1)
            source = f"{head}.layer.{int(depth) + sizes.fusion_layer}.{rest}"
        assert torch.equal(weights[key].flatten()[:1], state[source].flatten()[:1]), key


def test_the_wrong_named_configuration_is_recognised(tmp_path):
    state = constant_tensors(official_names.retrieval_shapes(PUBLISHED["l16"]))
    with pytest.raises(ValueError, match=r"The file looks like 'l16' .*Pass `config='l16'`\.$"):
        load_umt(save(tmp_path, state), config="b16")
