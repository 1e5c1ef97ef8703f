import os

import pytest

from vidtldr.pipeline.encode_worker import load_and_describe


def test_a_model_is_loaded_with_telemetry_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker loads it by itself, and what its parent turned off is not inherited by all."""
    monkeypatch.delenv("HF_HUB_DISABLE_TELEMETRY", raising=False)
    found: list[str | None] = []

    def load() -> None:
        found.append(os.environ.get("HF_HUB_DISABLE_TELEMETRY"))
        raise LookupError

    with pytest.raises(LookupError):
        load_and_describe(load)  # type: ignore[arg-type]
    assert found == ["1"]
