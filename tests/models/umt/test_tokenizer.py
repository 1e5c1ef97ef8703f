import subprocess
import sys

import pytest
import torch
from support.tiny_umt import TINY

from vidtldr.models.umt.config import UMTConfig
from vidtldr.models.umt.tokenizer import TextTokenizer

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [*SPECIAL, "a", "red", "blue", "dog", "cat", "runs", "on", "the", "street", "##s"]


@pytest.fixture
def vocabulary(tmp_path):
    directory = tmp_path / "tokenizer"
    directory.mkdir()
    (directory / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    return directory


def test_a_directory_with_a_vocabulary_is_enough(vocabulary):
    tokenize = TextTokenizer(vocabulary, TINY.text_config())
    tokens = tokenize(["A red dog runs", "cats", "a a a a a a a a"], 6)
    assert tokens.input_ids.tolist() == [
        [2, 5, 6, 8, 10, 3],
        [2, 9, 14, 3, 0, 0],
        [2, 5, 5, 5, 5, 3],
    ]
    assert tokens.attention_mask.tolist() == [[1] * 6, [1] * 4 + [0] * 2, [1] * 6]
    assert tokens.input_ids.dtype == torch.int64


def test_a_separator_written_in_a_text_is_one_token(vocabulary):
    tokenize = TextTokenizer(str(vocabulary), TINY.text_config())
    assert tokenize(["dog [SEP]"], 5).input_ids.tolist() == [[2, 8, 3, 3, 0]]


def test_a_tokenizer_object_is_used_as_it_is(vocabulary):
    loaded = TextTokenizer(vocabulary, TINY.text_config()).load()
    assert TextTokenizer(loaded, TINY.text_config()).load() is loaded


def test_a_missing_directory_is_refused_at_once(tmp_path):
    with pytest.raises(ValueError, match="tokenizer must be a directory or a tokenizer, got"):
        TextTokenizer(tmp_path / "nowhere", TINY.text_config())


def test_too_many_words_are_refused(vocabulary):
    (vocabulary / "vocab.txt").write_text("\n".join(WORDS + [f"w{i}" for i in range(30)]) + "\n")
    with pytest.raises(ValueError, match="at most vocab_size=29 words, got 45"):
        TextTokenizer(vocabulary, TINY.text_config())(["a"], 4)


def test_the_default_tokenizer_is_refused_for_another_vocabulary():
    with pytest.raises(ValueError, match="tokenizer must be given for vocab_size=29, got None"):
        TextTokenizer(None, TINY.text_config()).load()


@pytest.mark.parametrize(("name", "tokenizer"), [("b16", "base"), ("l16", "large")])
def test_the_default_tokenizer_is_looked_for_in_the_cache_only(name, tokenizer, monkeypatch):
    import transformers

    asked = []

    def missing(name, **options):
        asked.append((name, options))
        raise OSError("not cached")

    monkeypatch.setattr(transformers.BertTokenizer, "from_pretrained", missing)
    tokenize = TextTokenizer(None, UMTConfig.named(name).text_config())
    with pytest.raises(ValueError, match=f"hf download bert-{tokenizer}-uncased"):
        tokenize(["a"], 4)
    assert asked == [(f"bert-{tokenizer}-uncased", {"local_files_only": True})]


def test_importing_umt_loads_no_transformers():
    code = "import sys, vidtldr.models.umt; print('transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
