"""Run an exported graph in the engine that it was written for.

Letters: `B` clips, `T` frames, `S` side of a frame in pixels.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vidtldr.tasks.exported.formats import FORMATS

__all__ = ["Run", "import_openvino", "load_graph", "require_packages"]

#: Runs a graph on clips (B, T, 3, S, S), float32, on the CPU; returns its outputs, float32.
Run = Callable[[Tensor], list[Tensor]]


def load_graph(path: Path, format_name: str, precision: str = "float32") -> Run:
    """Load an exported graph, to run on the CPU with as many threads as torch uses.

    Args:
        path: The file.
        format_name: One of `FORMATS`. A file of `"aoti"` is machine code: it can do anything.
        precision: What it computes in, `"float32"` or `"bfloat16"`.

    Raises:
        ImportError: If a package of the format is missing.
        ValueError: If the engine cannot load the file; says what the engine says.
    """
    require_packages(FORMATS[format_name].packages, format_name)
    load = {"onnx": _onnx, "openvino": _openvino, "aoti": _aoti, "pt2": _program}[format_name]
    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[precision]
    try:
        return load(path, dtype)
    except Exception as error:  # each engine has errors of its own
        words = " ".join(str(error).split())[:300] or type(error).__name__
        raise ValueError(
            f"`model` must be a file that {FORMATS[format_name].engine} can load, got "
            f"{str(path)!r} ({words}). Export it again."
        ) from error


def require_packages(names: Sequence[str], format_name: str) -> None:
    """Check that packages of a format are installed.

    Raises:
        ImportError: If one is not.
    """
    for name in names:
        try:
            import_openvino() if name == "openvino" else import_module(name)
        except ImportError as error:
            raise ImportError(
                f"`format={format_name}` needs the package {name}, which cannot be imported "
                f"({error}). Run pip install 'vidtldr[export]'."
            ) from error


def import_openvino() -> Any:
    """Import OpenVINO without its telemetry, which sends events on import unless told not to."""
    if "openvino" not in sys.modules:
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    return import_module("openvino")


def _onnx(path: Path, _: torch.dtype) -> Run:
    import onnxruntime

    onnxruntime.disable_telemetry_events()  # which only builds for Windows have
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    # Sharp attention has subnormal numbers, with which products are up to 20 times slower.
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    [name] = [each.name for each in session.get_inputs()]
    return lambda clips: [
        torch.from_numpy(output) for output in session.run(None, {name: clips.numpy()})
    ]


def _openvino(path: Path, dtype: torch.dtype) -> Run:
    openvino = import_openvino()
    hints = {
        "INFERENCE_PRECISION_HINT": "bf16" if dtype == torch.bfloat16 else "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    compiled = openvino.compile_model(path, "CPU", hints)

    def run(clips: Tensor) -> list[Tensor]:
        request = compiled.create_infer_request()  # one a call, for calls from several threads
        outputs = request.infer([clips.numpy()])
        return [torch.from_numpy(output).clone() for output in outputs.values()]

    return run


def _aoti(path: Path, dtype: torch.dtype) -> Run:
    loaded = torch._inductor.aoti_load_package(str(path))
    return _in_torch(loaded, dtype)


def _program(path: Path, dtype: torch.dtype) -> Run:
    with _no_pickles():
        program = torch.export.load(path)
    return _in_torch(program.module(), dtype)


def _in_torch(call: Callable[..., Any], dtype: torch.dtype) -> Run:
    def run(clips: Tensor) -> list[Tensor]:
        with torch.inference_mode():
            outputs = call(pixel_values=clips.to(dtype))
        return [output.float().clone() for output in outputs]

    return run


@contextmanager
def _no_pickles() -> Iterator[None]:
    """`torch.export.load` tries an unsafe load where a safe one fails; this makes both safe."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
