"""Build the kernel once for this processor, and load it."""

import ctypes
import hashlib
import os
import platform
import shutil
import stat
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import torch

from vidtldr.cache import cache_directory
from vidtldr.files import whole_file
from vidtldr.ops.cpp_compiler import cpp_compiler, finds_cpp_compiler
from vidtldr.ops.processor import cpuinfo_fields

__all__ = ["KernelError", "load_library"]

SOURCES = Path(__file__).parent
# Without `-ffast-math`, which assumes that there is no NaN and no infinity.
FLAGS = ("-O3", "-std=c++17", "-fopenmp", "-fno-math-errno", "-fno-trapping-math", "-fPIC")
TIMEOUT_SECONDS = 300


class KernelError(Exception):
    """Why the kernel is not available, phrased as the end of a sentence."""


def load_library(*flags: str) -> ctypes.CDLL:
    """Load the kernel from the cache, or build it for this processor.

    Building takes a few seconds. The cache key is everything the build depends on: sources, flags,
    compiler, processor and torch.

    Args:
        flags: Additional compiler flags.

    Raises:
        KernelError: If there is no working compiler, the system is not Linux, or this torch uses a
            different OpenMP from g++.
    """
    if sys.platform != "linux":  # elsewhere torch uses another OpenMP than ours
        raise KernelError("it is built on Linux only")
    if not finds_cpp_compiler():
        raise KernelError(f"there is no C++ compiler {cpp_compiler()!r}; install g++")
    if "clang" in Path(cpp_compiler()).name or _openmp_of_torch() is None:
        raise KernelError("it is built with g++ for a torch with GNU's OpenMP; this is another")
    try:
        return _load_or_build(flags)
    except (OSError, RuntimeError) as error:  # no home, no temporary folder, a full disk
        raise KernelError(str(error)) from error


def _load_or_build(flags: tuple[str, ...]) -> ctypes.CDLL:
    command = [cpp_compiler(), *FLAGS, _for_this_processor(), *flags]
    name = f"attention-{_digest(command)}.so"
    kept = cache_directory("native") / name
    if _is_ours(kept):
        try:
            return ctypes.CDLL(str(kept))
        except OSError:  # damaged, or built on another system that shares the home
            pass
    return _built(command, kept)


def _built(command: list[str], kept: Path) -> ctypes.CDLL:
    """Compile and load the library; cache it if the folder is writable."""
    with tempfile.TemporaryDirectory(prefix="vidtldr-") as folder:
        library = Path(folder) / kept.name
        sources = ["-shared", str(SOURCES / "attention.cpp")]
        # Torch's own OpenMP, whatever its name: a second one would start its own threads.
        libraries = ["-Wl,--as-needed", str(_openmp_of_torch()), _torch_library()]
        _compile([*command, *sources, *libraries], library)
        try:
            loaded = ctypes.CDLL(str(library))
        except OSError as error:
            raise KernelError(f"what was built cannot be loaded: {error}") from error
        _keep(library, kept)
    return loaded


def _compile(command: list[str], library: Path) -> None:
    try:
        done = subprocess.run(
            [*command, "-o", str(library)],
            capture_output=True,
            text=True,
            errors="replace",
            env=os.environ | {"LC_ALL": "C"},  # "error" in English
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise KernelError(f"the compiler {command[0]!r} does not run: {error}") from error
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if "error" in line] or ["no reason"]
        raise KernelError(f"the compiler {command[0]!r} does not build it: {errors[0][:200]}")


def _keep(library: Path, kept: Path) -> None:
    """Cache the library atomically, so that no half-written file is loaded; skip if read-only."""
    with suppress(OSError):
        kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with whole_file(kept) as partial:
            partial.write_bytes(library.read_bytes())
            partial.chmod(0o700)


def _is_ours(file: Path) -> bool:
    """Whether the file exists and only this user can write it, since it will be executed."""
    try:
        statuses = [os.stat(file), os.stat(file.parent)]
    except OSError:
        return False
    others = stat.S_IWGRP | stat.S_IWOTH
    return all(each.st_uid == os.getuid() and not each.st_mode & others for each in statuses)


def _for_this_processor() -> str:
    return "-march=native" if platform.machine() in ("x86_64", "AMD64") else "-mcpu=native"


def _openmp_of_torch() -> str | None:
    """The GNU OpenMP library that torch has loaded; None if it uses another one."""
    maps = Path("/proc/self/maps").read_text().splitlines()
    files = (line.split(maxsplit=5)[-1] for line in maps if "/libgomp" in line)
    return next(files, None)


def _torch_library() -> str:
    return str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so")


def _digest(command: list[str]) -> str:
    found = hashlib.sha256(repr([command, torch.__version__, _processor()]).encode())
    found.update(_version_of(command[0]).encode())
    for source in sorted(SOURCES.glob("*.cpp")) + sorted(SOURCES.glob("*.h")):
        found.update(source.read_bytes())
    return found.hexdigest()[:32]


def _version_of(compiler: str) -> str:
    """Identify a compiler by its path, size and modification time."""
    path = shutil.which(compiler)
    assert path is not None
    status = os.stat(path)
    return f"{os.path.realpath(path)} {status.st_size} {status.st_mtime_ns}"


def _processor() -> list[str]:
    """Processor model and features, which `-march=native` depends on."""
    names = ("vendor_id", "model name", "cpu family", "model", "flags", "Features", "CPU part")
    fields = cpuinfo_fields()
    return [fields.get(name, "") for name in names]
