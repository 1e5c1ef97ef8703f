import json
import os
import pickle
import sys
import types
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.tiny_umt import EVEN, TINY, spread_weights
from torch.testing import assert_close

from vidtldr.models.umt import UMTAnswering, UMTRetrieval, convert_checkpoint, load_umt

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "dog", "cat"]


@pytest.fixture
def vocabulary(tmp_path):
    directory = tmp_path / "tokenizer"
    directory.mkdir()
    (directory / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    return directory


@pytest.fixture
def weights(tmp_path, retrieval):
    """A fine-tuned retrieval file as the authors publish it."""
    path = tmp_path / "retrieval.pth"
    torch.save({"model": retrieval.state_dict()}, path)
    return path


def pretrained_state(seed=11):
    """A pretrained file of the size EVEN: `bert.`, teacher parts and a tied masked-word head."""
    state = {}
    for name, value in spread_weights(UMTRetrieval(EVEN), seed).state_dict().items():
        state[name.replace("text_encoder.", "text_encoder.bert.")] = value
    for name, value in spread_weights(UMTAnswering(EVEN), seed).state_dict().items():
        if name.startswith("text_decoder.cls."):
            state[name.replace("text_decoder.", "text_encoder.")] = value
    head = "text_encoder.cls.predictions"
    state[f"{head}.decoder.weight"] = state["text_encoder.bert.embeddings.word_embeddings.weight"]
    state[f"{head}.bias"] = state[f"{head}.decoder.bias"]
    state["text_encoder.bert.embeddings.position_ids"] = torch.arange(9)[None]
    state["clip_teacher.conv1.weight"] = torch.zeros(2, 2)
    state["vision_encoder.clip_decoder.0.head.weight"] = torch.zeros(2, 2)
    return state


def assert_same_weights(model, state):
    assert model.state_dict().keys() == state.keys()
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_a_loaded_model_gives_the_same_scores(weights, retrieval, clips, texts):
    model = load_umt(weights, config=TINY)
    assert isinstance(model, UMTRetrieval)
    assert not model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    expected = retrieval.dual_scores(retrieval.encode_video(clips), retrieval.encode_text(*texts))
    scores = model.dual_scores(model.encode_video(clips), model.encode_text(*texts))
    assert torch.equal(scores, expected)


@pytest.mark.parametrize("kind", ["nested", "bare", "legacy", "safetensors"])
def test_every_kind_of_file_loads(tmp_path, retrieval, kind):
    state = retrieval.state_dict()
    path = tmp_path / ("umt.safetensors" if kind == "safetensors" else "umt.pth")
    if kind == "safetensors":
        save_file(state, path)
    else:
        content = {"model": state} if kind == "nested" else state
        torch.save(content, path, _use_new_zipfile_serialization=kind != "legacy")
    assert_same_weights(load_umt(str(path), config=TINY), state)


def test_half_precision_files_become_float32(tmp_path, retrieval):
    path = tmp_path / "half.pth"
    torch.save({name: value.half() for name, value in retrieval.state_dict().items()}, path)
    model = load_umt(path, config=TINY)
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32}


def test_an_answering_file_loads(tmp_path, answering):
    path = tmp_path / "qa.pth"
    torch.save({"model": answering.state_dict()}, path)
    model = load_umt(path, task="answering", config=TINY)
    assert isinstance(model, UMTAnswering)
    assert_same_weights(model, answering.state_dict())


def test_a_word_head_with_its_bias_under_the_old_name_loads(tmp_path, answering):
    state = answering.state_dict()
    state["text_decoder.cls.predictions.bias"] = state.pop(
        "text_decoder.cls.predictions.decoder.bias"
    )
    path = tmp_path / "qa.pth"
    torch.save(state, path)
    assert_same_weights(load_umt(path, task="answering", config=TINY), answering.state_dict())


def test_a_pretrained_file_starts_the_decoder_from_the_fusion_layers(tmp_path):
    state = pretrained_state()
    path = tmp_path / "pretrained.pth"
    torch.save({"model": state}, path)
    with pytest.warns(UserWarning, match="text_decoder was not trained for this task"):
        model = load_umt(path, task="answering", config=EVEN)
    assert model.untrained == ("text_decoder",)
    decoder = model.text_decoder.bert.encoder.layer
    encoder = model.text_encoder.encoder.layer
    assert len(decoder) == 2
    for ours, source in zip(decoder, encoder[1:], strict=True):
        for name, value in source.state_dict().items():
            assert torch.equal(ours.state_dict()[name], value), name


def test_settings_saved_beside_the_weights_are_no_obstacle(tmp_path, retrieval, monkeypatch):
    """The authors' training script saves its settings in a dict class of its own."""
    module = types.ModuleType("utils.easydict")

    class EasyDict(dict):
        def __init__(self, values):
            super().__init__(values)
            self.__dict__.update(values)

    EasyDict.__module__, EasyDict.__qualname__ = "utils.easydict", "EasyDict"
    module.EasyDict = EasyDict
    monkeypatch.setitem(sys.modules, "utils", types.ModuleType("utils"))
    monkeypatch.setitem(sys.modules, "utils.easydict", module)
    path = tmp_path / "best.pth"
    settings = EasyDict({"model": EasyDict({"temp": 0.07}), "seed": 42})
    torch.save({"model": retrieval.state_dict(), "config": settings, "epoch": 6}, path)
    monkeypatch.delitem(sys.modules, "utils.easydict")
    assert_same_weights(load_umt(path, config=TINY), retrieval.state_dict())


class Harmful:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


def test_code_in_a_pickle_does_not_run(tmp_path, retrieval):
    path, target = tmp_path / "evil.pth", tmp_path / "touched"
    torch.save({"model": retrieval.state_dict(), "x": Harmful(target)}, path)
    with pytest.raises(ValueError, match=r"an object that needs .* which could run code"):
        load_umt(path, config=TINY)
    assert not target.exists()


@pytest.mark.parametrize("kind", ["pickle", "legacy", "safetensors"])
@pytest.mark.parametrize("share", [0, 0.001, 0.5, 0.999])
def test_a_truncated_file_is_named_with_its_size(tmp_path, retrieval, kind, share):
    path = tmp_path / ("umt.safetensors" if kind == "safetensors" else "umt.pth")
    if kind == "safetensors":
        save_file(retrieval.state_dict(), path)
    else:
        torch.save(retrieval.state_dict(), path, _use_new_zipfile_serialization=kind == "pickle")
    size = int(path.stat().st_size * share)
    os.truncate(path, size)
    with pytest.raises(ValueError, match=rf"umt.*\({size} bytes\).*truncated"):
        load_umt(path, config=TINY)


@pytest.mark.parametrize("content", [b"<html>404</html>", pickle.dumps([1, 2])])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "umt.pth"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="weights must be"):
        load_umt(path, config=TINY)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            [torch.zeros(1)],
            "weights must be a dict of tensors, or hold one under 'model', got list",
        ),
        ({}, "got dict"),
        ({"temp": torch.zeros(1), "epoch": 3}, r"must hold tensors only, got 1 other .*\(epoch\)"),
    ],
)
def test_files_without_a_state_dict_are_refused(tmp_path, content, message):
    path = tmp_path / "umt.pth"
    torch.save(content, path)
    with pytest.raises(ValueError, match=message):
        load_umt(path, config=TINY)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"weights must be a file .*nothing\.pth"):
        load_umt(tmp_path / "nothing.pth")


def test_missing_unexpected_and_misshapen_weights_are_named(tmp_path, retrieval):
    state = retrieval.state_dict()
    for i in range(2):
        del state[f"vision_encoder.encoder.blocks.{i}.norm1.weight"]
    state["momentum.weight"] = torch.zeros(1)
    state["itm_head.bias"] = torch.zeros(3)
    path = tmp_path / "umt.pth"
    torch.save(state, path)
    with pytest.raises(ValueError, match="weights must fit the model") as caught:
        load_umt(path, config=TINY)
    message = str(caught.value)
    assert "2 missing (vision_encoder.encoder.blocks.0.norm1.weight, vision_encoder" in message
    assert "1 unexpected (momentum.weight)" in message
    assert "1 of another shape (itm_head.bias (3,) instead of (2,))" in message
    assert "looks like 2 vision layers of 12 channels and 3 text layers of 8" in message


def test_only_the_first_names_are_listed(weights):
    with pytest.raises(ValueError, match=r"\d\d\d missing \(([^,()]+, ){4}\.\.\.\)"):
        load_umt(weights)


def test_a_file_of_the_other_task_is_recognised(tmp_path, weights, answering):
    path = tmp_path / "qa.pth"
    torch.save(answering.state_dict(), path)
    with pytest.raises(
        ValueError, match=r"question-answering checkpoint\. Pass `task='answering'`"
    ):
        load_umt(path, config=TINY)
    with pytest.raises(ValueError, match=r"missing \(text_decoder\.cls"):
        load_umt(weights, task="answering", config=TINY)
    with pytest.raises(ValueError, match=r"a retrieval checkpoint\. Pass `task='retrieval'`"):
        load_umt(weights, task="answering", config=TINY)


@pytest.fixture
def both(tmp_path, retrieval, answering):
    """A file that serves both tasks: the projections of one, the decoder of the other."""
    path = tmp_path / "both.safetensors"
    decoder = {
        name: value for name, value in answering.state_dict().items() if "text_decoder." in name
    }
    save_file(retrieval.state_dict() | decoder, path)
    return path


def test_a_file_with_projections_and_decoder_serves_both_tasks(both, retrieval, answering):
    assert_same_weights(load_umt(both, config=TINY), retrieval.state_dict())
    model = load_umt(both, task="answering", config=TINY)
    assert model.untrained == ()
    decoder = "text_decoder."
    for name, value in model.state_dict().items():
        origin = answering if name.startswith(decoder) else retrieval
        assert torch.equal(value, origin.state_dict()[name]), name
    assert any(name.startswith(decoder) for name in model.state_dict())


def test_a_file_for_both_tasks_is_converted_for_each(tmp_path, both, vocabulary, retrieval):
    for task in ("retrieval", "answering"):
        out = tmp_path / task
        convert_checkpoint(both, out, task=task, config=TINY, tokenizer=vocabulary)
        stored = load_file(out / "model.safetensors")
        assert ("itm_head.weight" in stored) == (task == "retrieval")
        assert any("text_decoder." in name for name in stored) == (task == "answering")


def test_a_directory_that_names_no_task_serves_both(tmp_path, both, vocabulary):
    directory = convert_checkpoint(both, tmp_path / "out", config=TINY, tokenizer=vocabulary)
    saved = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({"config": saved["config"]}))
    (directory / "model.safetensors").write_bytes(both.read_bytes())
    assert isinstance(load_umt(directory), UMTRetrieval)
    assert isinstance(load_umt(directory, task="answering"), UMTAnswering)


def test_a_vision_only_file_is_recognised(tmp_path):
    path = tmp_path / "vision.pth"
    torch.save({"blocks.0.norm1.weight": torch.zeros(12)}, path)
    with pytest.raises(ValueError, match="not look like a multi-modality UMT checkpoint"):
        load_umt(path, config=TINY)


def test_an_unknown_task_lists_the_choices(weights):
    with pytest.raises(ValueError, match=r"task must be one of \('retrieval', 'answering'\)"):
        load_umt(weights, task="captioning", config=TINY)


def test_a_converted_directory_loads_with_no_further_arguments(
    tmp_path, weights, vocabulary, retrieval
):
    directory = convert_checkpoint(weights, tmp_path / "out", config=TINY, tokenizer=vocabulary)
    model = load_umt(directory)
    assert model.config == TINY
    assert_same_weights(model, retrieval.state_dict())
    assert model.tokenizer(["dog cat"], 5).input_ids.tolist() == [[2, 5, 6, 3, 0]]
    assert not list(directory.glob(".*.partial*"))
    assert len({path.stat().st_mode for path in directory.glob("*.*[ns]")}) == 1
    assert load_umt(directory, config=TINY).config == TINY


def test_a_converted_directory_can_be_converted_again(tmp_path, weights, vocabulary, retrieval):
    first = convert_checkpoint(weights, tmp_path / "one", config=TINY, tokenizer=vocabulary)
    second = convert_checkpoint(first, tmp_path / "two")
    assert_same_weights(load_umt(second), retrieval.state_dict())


def test_a_converted_answering_model_keeps_its_task_and_its_warning(tmp_path, vocabulary):
    path = tmp_path / "pretrained.pth"
    torch.save({"model": pretrained_state()}, path)
    with pytest.warns(UserWarning, match="text_decoder was not trained"):
        directory = convert_checkpoint(
            path, tmp_path / "out", task="answering", config=EVEN, tokenizer=vocabulary
        )
    with pytest.warns(UserWarning, match="text_decoder was not trained"):
        model = load_umt(directory, task="answering")
    assert model.untrained == ("text_decoder",)
    with pytest.raises(ValueError, match=r"task must be 'answering', which .* got 'retrieval'"):
        load_umt(directory)


def test_tied_word_embeddings_are_written_out(tmp_path, vocabulary):
    path = tmp_path / "pretrained.pth"
    torch.save({"model": pretrained_state()}, path)
    with pytest.warns(UserWarning, match="text_decoder was not trained"):
        directory = convert_checkpoint(
            path, tmp_path / "out", task="answering", config=EVEN, tokenizer=vocabulary
        )
    saved = load_file(directory / "model.safetensors")
    names = [name for name in saved if name.endswith(("word_embeddings.weight", "decoder.weight"))]
    assert len(names) == 3
    for name in names:
        assert_close(saved[name], saved[names[0]], rtol=0, atol=0)


def test_a_directory_keeps_its_own_configuration(tmp_path, weights, vocabulary):
    directory = convert_checkpoint(weights, tmp_path / "out", config=TINY, tokenizer=vocabulary)
    with pytest.raises(ValueError, match="config must be left out or equal the one in"):
        load_umt(directory, config="l16")


def test_a_directory_that_was_not_converted_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="Write one with `convert_checkpoint`"):
        load_umt(tmp_path)


def test_converting_overwrites_nothing(tmp_path, weights, vocabulary):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").touch()
    with pytest.raises(ValueError, match="destination must be new or empty"):
        convert_checkpoint(weights, tmp_path / "out", config=TINY, tokenizer=vocabulary)


def test_converting_without_a_tokenizer_leaves_nothing_behind(tmp_path, weights):
    with pytest.raises(ValueError, match="tokenizer must be given for vocab_size=29"):
        convert_checkpoint(weights, tmp_path / "out", config=TINY)
    assert not (tmp_path / "out").exists()
