import json

import pytest
import torch

from vidtldr.bundled import BUNDLED, bundled_merge
from vidtldr.models.umt import UMTAnswering, UMTRetrieval, load_umt
from vidtldr.patch.patching import apply_patch, trace
from vidtldr.shapes.language import LABELS, vocabulary
from vidtldr.shapes.model import shapes_config
from vidtldr.tasks.text_features import prompt_tokens


@pytest.fixture(scope="module")
def model() -> UMTRetrieval:
    return load_umt(BUNDLED)


def test_the_directory_has_all_that_loading_needs() -> None:
    assert {file.name for file in BUNDLED.iterdir()} == {
        "config.json",
        "labels.json",
        "merge.json",
        "model.safetensors",
        "vocab.txt",
    }
    assert (BUNDLED / "model.safetensors").stat().st_size <= 15e6
    assert json.loads((BUNDLED / "labels.json").read_text()) == list(LABELS)
    assert json.loads((BUNDLED / "config.json").read_text()) == {
        "config": shapes_config().to_dict()
    }
    assert (BUNDLED / "vocab.txt").read_text().split() == list(vocabulary())


def test_it_loads_for_both_tasks(model: UMTRetrieval) -> None:
    assert model.config == shapes_config()
    answering = load_umt(BUNDLED, task="answering")
    assert isinstance(answering, UMTAnswering)
    assert answering.untrained == ()
    assert all(value.isfinite().all() for value in answering.state_dict().values())


def test_the_tokenizer_knows_every_word_as_one_token(model: UMTRetrieval) -> None:
    words = list(vocabulary())[5:]
    ids, _ = prompt_tokens(model.tokenizer, words, "words")
    assert ids[:, 1].tolist() == list(range(5, 5 + len(words)))
    assert model.tokenizer.load()(LABELS[0])["input_ids"][0] == vocabulary().index("[CLS]")


def test_the_preset_merges_in_the_model(model: UMTRetrieval) -> None:
    apply_patch(model, bundled_merge())
    with torch.no_grad(), trace(model) as recorded:
        model.encode_video(torch.randn(1, 8, 3, 96, 96))
    assert recorded.num_tokens[-1] < 512
