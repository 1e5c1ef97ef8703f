from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from vidtldr.ops import processor

Run = Callable[..., Result]
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(("flag", "num_notes"), [("avx512_bf16", 0), ("avx512_vnni", 1)])
def test_bfloat16_on_a_processor_without_it_is_noted_once(
    run: Run, model: str, video: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    flag: str, num_notes: int,
) -> None:  # fmt: skip
    (tmp_path / "cpuinfo").write_text(f"flags : fpu {flag}\n")
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "cpuinfo")
    arguments = ("classify", video, video, "--model", model, "--json", "--device", "cpu", "--dtype")
    arguments = (*arguments[:-1], "--flop-ratio", "1", "--dtype")  # no note on merging
    assert run(*arguments, "float32").stderr == ""
    result = run(*arguments, "bfloat16")
    assert result.exit_code == 0
    assert len(result.stderr.splitlines()) == num_notes
    if num_notes:
        assert result.stderr.startswith("note: this processor has no native bfloat16")
