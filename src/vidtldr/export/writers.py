"""Write what `torch.export` made of a model in the format of an engine."""

from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from vidtldr.export.openvino import keep_float32, merges
from vidtldr.tasks.exported.engines import (
    engine_errors,
    import_openvino,
    quiet_engines,
)

__all__ = ["write_program"]


def write_program(program: ExportedProgram, path: Path, format_name: str, dtype: str) -> None:
    """Write a program; the packages of the format are there (`require_packages`).

    Args:
        program: Result of `export_program`, of a model in `dtype`, but for OpenVINO in float32.
        path: The file; what the format writes beside it is named after it.
        format_name: One of `FORMATS`.
        dtype: What the engine is to compute in.

    Raises:
        ValueError: If the exporter cannot write the model; says what the exporter says.
    """
    write = {"onnx": _onnx, "openvino": _openvino, "aoti": _aoti, "pt2": _pt2}[format_name]
    what = f"`format` must be one whose exporter can write this model, got {format_name!r}"
    with quiet_engines(), engine_errors(what):
        write(program, path, dtype)


def _onnx(program: ExportedProgram, path: Path, _: str) -> None:
    torch.onnx.export(program, (), path, verbose=False)


def _openvino(program: ExportedProgram, path: Path, dtype: str) -> None:
    openvino: Any = import_openvino()
    converted = openvino.convert_model(program)
    if dtype != "float32" and merges(converted):
        converted = keep_float32(converted)
    openvino.save_model(converted, path, compress_to_fp16=False)


def _aoti(program: ExportedProgram, path: Path, _: str) -> None:
    torch._inductor.aoti_compile_and_package(program, package_path=str(path))


def _pt2(program: ExportedProgram, path: Path, _: str) -> None:
    torch.export.save(program, path)
