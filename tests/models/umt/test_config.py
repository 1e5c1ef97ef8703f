import dataclasses
import json

import pytest
from support.tiny_umt import TEXT, TINY

from vidtldr.models.umt import UMTConfig


@pytest.mark.parametrize(
    ("name", "hidden", "layers", "heads", "embed", "fusion"),
    [("b16", 768, 12, 12, 512, 9), ("l16", 1024, 24, 16, 768, 19)],
)
def test_named_configurations_are_the_published_ones(name, hidden, layers, heads, embed, fusion):
    config = UMTConfig.named(name)
    text = config.text_config()
    assert (config.image_size, config.patch_size, config.num_frames) == (224, 16, 12)
    assert (config.hidden_size, config.num_layers, config.num_heads) == (hidden, layers, heads)
    assert config.embed_dim == embed
    assert (text.hidden_size, text.num_hidden_layers, text.fusion_layer) == (hidden, layers, fusion)
    assert (text.vocab_size, text.max_position_embeddings) == (30522, 512)


def test_arguments_go_by_position():
    assert UMTConfig(96, 16, 4, 96, 4, 3, 48, TEXT).embed_dim == 48


def test_a_file_gives_back_what_was_written(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(TINY.to_dict()))
    assert UMTConfig.from_file(path) == TINY


def test_unknown_keys_of_the_text_configuration_are_accepted():
    config = dataclasses.replace(TINY, text={**TEXT, "encoder_width": 1, "anything": None})
    assert config.text_config() == TINY.text_config()


def test_an_unknown_name_lists_the_choices():
    with pytest.raises(ValueError, match=r"config must be one of \('b16', 'l16'\).*got 'h14'"):
        UMTConfig.named("h14")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 13}, r"image_size must be a multiple of patch_size=4, got 13"),
        ({"num_heads": 5}, r"hidden_size must be a multiple of num_heads=5, got 12"),
        ({"num_frames": 0}, r"num_frames must be a positive int, got 0"),
        (
            {"num_frames": 10**9},
            r"num_frames must be at most \d+ with \d+ patches a frame",
        ),
        (
            {"image_size": 2**20, "patch_size": 1},
            r"num_frames must be at most 0 with 10995116",
        ),
        ({"image_size": 10**12}, r"image_size must be at most 1048576, got 1000000000000"),
        ({"num_layers": 10**9}, r"num_layers must be at most 1000, got 1000000000"),
        (
            {"text": {**TEXT, "num_hidden_layers": 10**9}},
            r"hidden_layers'\] must be at most 1000",
        ),
        ({"text": {**TEXT, "vocab_size": 10**12}}, r"vocab_size'\] must be at most 1048576"),
        ({"text": {}}, r"text must hold 'fusion_layer'"),
        ({"text": {**TEXT, "fusion_layer": 3}}, r"must be in \[0, 3\), got 3"),
        ({"text": {**TEXT, "num_attention_heads": 3}}, r"must be a multiple of .*got 8"),
    ],
)
def test_impossible_sizes_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TINY, **changes)


def test_another_activation_is_not_supported():
    with pytest.raises(NotImplementedError, match="must be 'gelu', got 'relu'"):
        dataclasses.replace(TINY, text={**TEXT, "hidden_act": "relu"})


def test_a_file_with_other_keys_names_them():
    values = TINY.to_dict() | {"depth": 3}
    del values["embed_dim"]
    with pytest.raises(ValueError, match=r"missing \['embed_dim'\] and unknown \['depth'\]"):
        UMTConfig.from_dict(values)
