import sys

import pytest

from vidtldr.evaluate.mteb_model import load_mteb_model
from vidtldr.tasks.model_spec import ModelSpec


def test_without_mteb_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mteb", None)
    with pytest.raises(ImportError, match=r"mteb must be .* Run pip install 'vidtldr\[mteb\]'\."):
        load_mteb_model(ModelSpec())
