"""Write what `torch.export` made of a model in the format of an engine."""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from vidtldr.export.openvino import keep_float32, merges
from vidtldr.tasks.exported.engines import import_openvino, require_packages
from vidtldr.tasks.exported.formats import FORMATS

__all__ = ["write_program"]


def write_program(program: ExportedProgram, path: Path, format_name: str, precision: str) -> None:
    """Write a program.

    Args:
        program: Result of `export_program`, of a model in `precision`, but for OpenVINO in float32.
        path: The file; what the format writes beside it is named after it.
        format_name: One of `FORMATS`.
        precision: What the engine is to compute in.

    Raises:
        ImportError: If a package of the format is missing.
        ValueError: If the exporter cannot write the model; says what the exporter says.
    """
    of = FORMATS[format_name]
    require_packages((*of.packages, *of.writers), format_name)
    write = {"onnx": _onnx, "openvino": _openvino, "aoti": _aoti, "pt2": _pt2}[format_name]
    try:
        with _quiet_exporters():
            write(program, path, precision)
    except Exception as error:  # each exporter has errors of its own
        words = " ".join(str(error).split())[:300] or type(error).__name__
        raise ValueError(
            f"`format` must be one that can hold this model, got {format_name!r}, whose exporter "
            f"cannot write it ({words}). Choose another."
        ) from error


@contextmanager
def _quiet_exporters() -> Iterator[None]:
    """Without what exporters print and warn about their own code."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(sys.stderr):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _onnx(program: ExportedProgram, path: Path, _: str) -> None:
    torch.onnx.export(program, (), path, verbose=False)


def _openvino(program: ExportedProgram, path: Path, precision: str) -> None:
    openvino: Any = import_openvino()
    converted = openvino.convert_model(program)
    if precision != "float32" and merges(converted):
        converted = keep_float32(converted)
    openvino.save_model(converted, path, compress_to_fp16=False)


def _aoti(program: ExportedProgram, path: Path, _: str) -> None:
    torch._inductor.aoti_compile_and_package(program, package_path=str(path))


def _pt2(program: ExportedProgram, path: Path, _: str) -> None:
    torch.export.save(program, path)
