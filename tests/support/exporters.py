"""What a person does to hand a model on: each exporter's own call, and a run of what it wrote.

Letters: `B` clips.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

Inputs = dict[str, Tensor]
#: Runs an exported model on inputs and returns its outputs in order.
Run = Callable[[Inputs], list[Tensor]]
Export = Callable[[nn.Module, Inputs, bool, Path], Run]


def flat(output: Any) -> list[Tensor]:
    """Every tensor of an output, as exporters put them in order."""
    if isinstance(output, Tensor):
        return [output]
    parts = output.values() if isinstance(output, Mapping) else output or ()
    return [tensor for part in parts if part is not None for tensor in flat(part)]


def dynamic_batch(inputs: Inputs) -> dict[str, Any]:
    """The shapes of `torch.export` with any number of clips."""
    return {name: {0: torch.export.Dim.DYNAMIC} for name in inputs}


def by_torch_export(model: nn.Module, inputs: Inputs, is_dynamic: bool, folder: Path) -> Run:
    """`torch.export.export`, saved and loaded."""
    shapes = dynamic_batch(inputs) if is_dynamic else None
    torch.export.save(
        torch.export.export(model, (), inputs, dynamic_shapes=shapes), folder / "model.pt2"
    )
    loaded = torch.export.load(folder / "model.pt2").module()
    return lambda given: flat(loaded(**given))


def by_onnx(model: nn.Module, inputs: Inputs, is_dynamic: bool, folder: Path) -> Run:
    """`torch.onnx.export`, run by ONNX Runtime."""
    import onnxruntime

    shapes, path = (dynamic_batch(inputs) if is_dynamic else None), folder / "model.onnx"
    torch.onnx.export(
        model, (), path, kwargs=inputs, dynamo=True, dynamic_shapes=shapes, verbose=False
    )
    session = onnxruntime.InferenceSession(path)
    names = [each.name for each in session.get_inputs()]

    def run(given: Inputs) -> list[Tensor]:
        return [
            torch.from_numpy(output)
            for output in session.run(None, {name: given[name].numpy() for name in names})
        ]

    return run


def by_openvino(model: nn.Module, inputs: Inputs, is_dynamic: bool, folder: Path) -> Run:
    """`openvino.convert_model` of the module, which traces it; run in float32."""
    import openvino

    fixed = {} if is_dynamic else {"input": [list(x.shape) for x in inputs.values()]}
    return _in_openvino(openvino.convert_model(model, example_input=inputs, **fixed))


def by_openvino_of_program(model: nn.Module, inputs: Inputs, is_dynamic: bool, folder: Path) -> Run:
    """`openvino.convert_model` of what `torch.export.export` returns; run in float32."""
    import openvino

    shapes = dynamic_batch(inputs) if is_dynamic else None
    program = torch.export.export(model, (), inputs, dynamic_shapes=shapes)
    return _in_openvino(openvino.convert_model(program))


def _in_openvino(converted: Any) -> Run:
    import openvino

    compiled = openvino.compile_model(converted, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(given: Inputs) -> list[Tensor]:
        outputs = compiled([given[name].numpy() for name in given])
        return [torch.from_numpy(output) for output in outputs.values()]

    return run


def by_aoti(model: nn.Module, inputs: Inputs, is_dynamic: bool, folder: Path) -> Run:
    """`torch._inductor.aoti_compile_and_package`, which compiles C++."""
    shapes = dynamic_batch(inputs) if is_dynamic else None
    program = torch.export.export(model, (), inputs, dynamic_shapes=shapes)
    path = str(folder / "model.pt2")
    torch._inductor.aoti_compile_and_package(program, package_path=path)
    loaded = torch._inductor.aoti_load_package(path)
    return lambda given: flat(loaded(**given))


EXPORTERS: dict[str, Export] = {
    "torch.export": by_torch_export,
    "onnx": by_onnx,
    "openvino": by_openvino,
    "openvino of a program": by_openvino_of_program,
    "aoti": by_aoti,
}
