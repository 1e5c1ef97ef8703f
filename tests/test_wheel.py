"""The wheel holds what the package needs at run time; it is built without a network."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "vidtldr"
MAX_BYTES = 16e6


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that no build directory is left in the checkout."""
    tree, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, tree / name)
    shutil.copytree(PACKAGE, tree / "src" / "vidtldr", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", str(tree), "--wheel-dir", str(out)]
    flags = ["--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*command, *flags], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    [path] = out.iterdir()
    return path


@pytest.mark.slow
def test_every_file_of_the_package_is_in_the_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if name.startswith("vidtldr/")}
    files = {
        path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    }
    assert names == {f"vidtldr/{path.relative_to(PACKAGE).as_posix()}" for path in files}
    bundled = {name for name in names if name.startswith("vidtldr/shapes/bundled/")}
    assert {Path(name).name for name in bundled} == {
        "config.json",
        "labels.json",
        "merge.json",
        "model.safetensors",
        "vocab.txt",
    }
    assert wheel.stat().st_size <= MAX_BYTES


@pytest.mark.slow
def test_the_demo_runs_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    """Unpacked elsewhere, in a process that cannot see the checkout."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); import vidtldr; "
        f"assert vidtldr.__file__.startswith({str(tmp_path)!r}), vidtldr.__file__; "
        "sys.argv = ['vidtldr', 'demo', '--num', '3']; from vidtldr.cli.main import main; main()"
    )
    command = [sys.executable, "-I", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "same answers at" in done.stdout  # of times a busy machine may tell nothing
