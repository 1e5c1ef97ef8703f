"""Run an exported graph in the engine that it was written for.

Letters: `B` clips, `T` frames, `S` side of a frame in pixels.
"""

import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vidtldr.tasks.exported.formats import FORMATS, Format
from vidtldr.tasks.pretrained import DTYPES

__all__ = [
    "Run",
    "engine_errors",
    "import_openvino",
    "load_graph",
    "quiet_engines",
    "require_packages",
    "run_in_torch",
    "validate_dtype",
]

#: Runs a graph on clips (B, T, 3, S, S), float32, on the CPU; returns its outputs, float32.
Run = Callable[[Tensor], list[Tensor]]


def load_graph(path: Path, format_name: str, dtype: str = "float32") -> Run:
    """Load an exported graph, to run on the CPU with as many threads as torch uses.

    Args:
        path: The file; if its format `is_code`, it can do anything.
        format_name: One of `FORMATS`.
        dtype: What it computes in, `"float32"` or `"bfloat16"`.

    Raises:
        ImportError: If a package of the format is missing.
        ValueError: If this processor does not compute in `dtype`, or the engine cannot load the
            file; says what the engine says.
    """
    require_packages(FORMATS[format_name])
    load = {"onnx": _onnx, "openvino": _openvino, "aoti": _aoti, "pt2": _program}[format_name]
    validate_dtype(format_name, dtype)
    what = f"`model` must be a file that {FORMATS[format_name].engine} can load, got {str(path)!r}"
    with quiet_engines(), engine_errors(what):
        return load(path, DTYPES[dtype])


def require_packages(of: Format, *, to_write: bool = False) -> None:
    """Check that what a format needs is there.

    Args:
        of: The format.
        to_write: Whether to write it, too.

    Raises:
        ImportError: If a package is missing.
    """
    for name in (*of.packages, *(of.writers if to_write else ())):
        try:
            import_openvino() if name == "openvino" else import_module(name)
        except ImportError as error:
            raise ImportError(
                f"{of.engine} needs the package {name}, which cannot be imported ({error}). Run "
                "pip install 'vidtldr[export]'."
            ) from error


@contextmanager
def engine_errors(what: str) -> Iterator[None]:
    """Turn the errors of engines and exporters, each its own, into a `ValueError`.

    Args:
        what: Beginning of the message.
    """
    try:
        yield
    except (OSError, MemoryError, ImportError):
        raise
    except Exception as error:
        words = " ".join(str(error).split())[:300] or type(error).__name__
        raise ValueError(f"{what} ({words}). Export it again, or choose another format.") from error


@contextmanager
def quiet_engines() -> Iterator[None]:
    """Without what engines and exporters print, log and warn about their own code."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(sys.stderr):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def validate_dtype(format_name: str, dtype: str) -> None:
    """Check that this processor computes in a dtype where an engine would choose another.

    Raises:
        ValueError: If it does not.
    """
    if format_name != "openvino" or dtype != "bfloat16":
        return
    capabilities = import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if "BF16" not in capabilities:
        raise ValueError(
            "`dtype` must be float32 in OpenVINO on this processor, which has no bfloat16, got "
            "'bfloat16'. Export it in float32."
        )


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
    return run_in_torch(loaded, dtype)


def _program(path: Path, dtype: torch.dtype) -> Run:
    return run_in_torch(torch.export.load(path).module(), dtype)


def run_in_torch(call: Callable[..., Any], dtype: torch.dtype) -> Run:
    """Run what takes clips as `pixel_values` and returns a tuple of tensors."""

    def run(clips: Tensor) -> list[Tensor]:
        with torch.inference_mode():
            outputs = call(pixel_values=clips.to(dtype))
        return [output.float().clone() for output in outputs]

    return run
