from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from support.tiny_shapes import TINY_SHAPES, tiny_model

from vidtldr.bundled import BUNDLED
from vidtldr.models.umt import UMTAnswering, UMTRetrieval, load_umt
from vidtldr.shapes.language import vocabulary
from vidtldr.shapes.model import ShapesUMT, normalise, shapes_config
from vidtldr.shapes.world import ShapesWorld
from vidtldr.tasks.ask import answer_tokens
from vidtldr.tasks.clip_reader import umt_reader
from vidtldr.tasks.text_features import prompt_tokens


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    save_file(tiny_model().state_dict(), tmp_path / "tiny.safetensors")
    return tmp_path / "tiny.safetensors"


def test_the_model_is_of_the_size_that_the_issue_asks_for() -> None:
    config = shapes_config()
    num_tokens = config.num_frames * (config.image_size // config.patch_size) ** 2
    assert 500 <= num_tokens <= 1200
    assert config.text_config().vocab_size == len(vocabulary())
    with torch.device("meta"):
        model = ShapesUMT(config)
    assert 2 * sum(value.numel() for value in model.state_dict().values()) <= 15e6  # fp16


def test_the_same_file_serves_retrieval(weights: Path) -> None:
    model, clip = tiny_model(), normalise(ShapesWorld(num_frames=4).clips([0, 1]).frames)
    loaded = load_umt(weights, config=TINY_SHAPES, tokenizer=BUNDLED)
    assert type(loaded) is UMTRetrieval
    with torch.no_grad():
        expected, found = model.encode_video(clip), loaded.encode_video(clip)
        tokens = prompt_tokens(loaded.tokenizer, ["a red oval", "a star that spins"], "texts")
        scores = loaded.dual_scores(found, loaded.encode_text(*tokens))
        assert torch.equal(expected.tokens, found.tokens)
        assert torch.equal(model.dual_scores(expected, model.encode_text(*tokens)), scores)
        assert scores.unique().numel() == 4


def test_the_same_file_serves_answering_and_so_does_the_model_itself(weights: Path) -> None:
    model = tiny_model()
    loaded = load_umt(weights, task="answering", config=TINY_SHAPES, tokenizer=BUNDLED)
    assert type(loaded) is UMTAnswering
    assert loaded.untrained == ()
    clip = normalise(ShapesWorld(num_frames=4).clips([2]).frames)
    texts = prompt_tokens(loaded.tokenizer, ["what color is the oval", "what moves"], "texts")
    candidates = answer_tokens(loaded, ["red", "moves left", "two"], 5)
    with torch.no_grad():
        found, own = (
            m.rank_answers(clip, *texts, *candidates, 3) for m in (loaded, model.answering())
        )
    assert torch.equal(found.ids, own.ids)
    assert torch.equal(found.probabilities, own.probabilities)


def test_answering_shares_the_weights() -> None:
    model = tiny_model()
    answering = model.answering()
    own = {name: value.data_ptr() for name, value in model.named_parameters()}
    for name, value in answering.named_parameters():
        assert value.data_ptr() == own[name], name
    assert answering.tokenizer is model.tokenizer


def test_pixels_are_normalised_as_the_reader_of_files_does_it() -> None:
    frames = ShapesWorld(num_frames=2).clips([0, 5]).frames
    transform = umt_reader(shapes_config()).transform
    expected = torch.stack([transform(clip.permute(0, 2, 3, 1)) for clip in frames])
    assert torch.allclose(normalise(frames), expected, atol=1e-5)
