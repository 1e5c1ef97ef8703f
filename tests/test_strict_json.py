"""A key that is given twice: Python takes the last in silence, which is never what was meant."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vidtldr.config import MergeConfig
from vidtldr.models.umt.config import UMTConfig
from vidtldr.store.settings import read_settings
from vidtldr.strict_json import parse_json
from vidtldr.tasks.classify import parse_labels
from vidtldr.video.processor_config import read_processor_config

TWICE = '{"r": [600, 200],\n "score": "received",\n "r": [6, 2]}'


def test_a_key_twice_is_refused_with_its_place() -> None:
    with pytest.raises(json.JSONDecodeError, match=r"key 'r' twice: line 3 column 2"):
        parse_json(TWICE)
    with pytest.raises(json.JSONDecodeError, match="key 'a' twice"):
        parse_json('[{"b": {"a": 1, "a": 1}}]')
    assert parse_json('[{"a": 1}, {"a": 2}]') == [{"a": 1}, {"a": 2}]


READERS: list[tuple[str, Callable[[Path], Any]]] = [
    ("schedule.json", MergeConfig.from_pretrained),
    ("arch.json", UMTConfig.from_file),
    ("index.json", lambda path: read_settings(path.parent)),
    ("labels.json", lambda path: parse_labels(str(path))),
    ("preprocessor_config.json", lambda path: read_processor_config(path.parent)),
]


@pytest.mark.parametrize(("name", "read"), READERS)
def test_no_file_with_a_key_twice_is_read(
    name: str, read: Callable[[Path], Any], tmp_path: Path
) -> None:
    (tmp_path / name).write_text(TWICE)
    with pytest.raises(ValueError, match=r"key 'r' twice|that is no JSON"):
        read(tmp_path / name)
