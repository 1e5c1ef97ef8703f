import ctypes
from pathlib import Path

import pytest

from vidtldr.ops.attention.native import build
from vidtldr.ops.attention.native.build import KernelError, load_library
from vidtldr.ops.cpp_compiler import cpp_compiler, finds_cpp_compiler

FAST = "-O0"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if not finds_cpp_compiler():
        pytest.skip(f"there is no C++ compiler {cpp_compiler()}")
    monkeypatch.setenv("VIDTLDR_CACHE", str(tmp_path))
    return tmp_path / "native"


def test_what_was_built_is_kept_for_the_owner_and_loaded_again(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_library(FAST)
    (kept,) = cache.iterdir()
    assert kept.stat().st_mode & 0o077 == 0
    assert cache.stat().st_mode & 0o077 == 0

    def refuse(*_: object) -> None:
        raise AssertionError("it was compiled again")

    monkeypatch.setattr(build, "_compile", refuse)
    load_library(FAST)
    for mode in (0o720, 0o702):  # others could have written it: it is not run
        kept.chmod(mode)
        with pytest.raises(AssertionError, match="compiled again"):
            load_library(FAST)


def test_a_damaged_file_is_built_anew(cache: Path) -> None:
    load_library(FAST)
    (kept,) = cache.iterdir()
    size = kept.stat().st_size
    kept.unlink()
    kept.write_bytes(b"\x7fELF" + bytes(100))
    kept.chmod(0o700)
    load_library(FAST)
    assert kept.stat().st_size == size


def test_where_nothing_can_be_kept_it_is_built_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("VIDTLDR_CACHE", str(blocked))
    assert isinstance(load_library(FAST), ctypes.CDLL)
    assert blocked.read_text() == "not a folder"


def test_other_flags_make_another_library(cache: Path) -> None:
    commands = [[cpp_compiler(), "-O3"], [cpp_compiler(), "-O2"]]
    assert len({build._digest(command) for command in commands}) == 2


def test_a_compiler_that_fails_is_named_with_its_reason() -> None:
    with pytest.raises(KernelError, match=r"does not build it: .*error.*no-such-option"):
        load_library("-no-such-option")


def test_without_a_home_there_is_none_and_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VIDTLDR_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nobody)
    with pytest.raises(KernelError, match="VIDTLDR_CACHE must be set"):
        load_library()


def test_another_openmp_than_torchs_is_not_mixed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "cpp_compiler", lambda: "/usr/bin/clang++")
    with pytest.raises(KernelError, match=r"built with g\+\+ for a torch with GNU's OpenMP"):
        load_library()


def test_elsewhere_than_on_linux_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(KernelError, match="on Linux only"):
        load_library()
