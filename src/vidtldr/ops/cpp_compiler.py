"""The C++ compiler for CPU code: the one that torch uses."""

import os
import shutil
import sys

__all__ = ["cpp_compiler", "finds_cpp_compiler"]


def finds_cpp_compiler() -> bool:
    """Whether the C++ compiler is installed."""
    return shutil.which(cpp_compiler()) is not None


def cpp_compiler() -> str:
    """The compiler's name as in torch's own config, which tries no other."""
    return os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
