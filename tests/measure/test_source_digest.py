from pathlib import Path

import pytest

from vidtldr.measure import source_digest as module


def digest_of(root: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(module, "ROOT", root)
    return module.source_digest.__wrapped__("tune")


def test_it_changes_with_code_that_computes_and_with_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for room in ("ops", "cli", "tune"):
        (tmp_path / room / "inner").mkdir(parents=True)
    (tmp_path / "ops" / "inner" / "a.py").write_text("1")
    first = digest_of(tmp_path, monkeypatch)
    (tmp_path / "cli" / "b.py").write_text("1")
    assert digest_of(tmp_path, monkeypatch) == first
    (tmp_path / "ops" / "inner" / "a.py").rename(tmp_path / "ops" / "a.py")
    moved = digest_of(tmp_path, monkeypatch)
    (tmp_path / "ops" / "a.py").write_text("2")
    changed = digest_of(tmp_path, monkeypatch)
    (tmp_path / "tune" / "c.py").write_text("")
    assert len({first, moved, changed, digest_of(tmp_path, monkeypatch)}) == 4


def test_the_code_that_runs_is_hashed() -> None:
    names = {file.name for file in (module.ROOT / "ops").rglob("*.py")}
    assert "blocked.py" in names
    assert all((module.ROOT / room).is_dir() for room in module.MERGING)
