"""Keep the choice of pairs in float32 where OpenVINO lowers the precision of a model by itself.

On processors with bfloat16 it runs a model in that type. Rounded similarities would pair other
tokens, so the nodes that compute similarity, score and mass are marked as the engine wants it.

Letters: `B` clips, `N` tokens now.
"""

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from xml.etree import ElementTree

__all__ = ["keep_float32", "merges"]

# Nodes that compute nothing between a norm and the product of what it returns.
_MOVES = ("Broadcast", "Gather", "Reshape", "Slice", "StridedSlice", "Transpose")
# The attribute of OpenVINO's own transformations for it. Python can write it only into a file.
_MARK = {"name": "DisablePrecisionConversion", "version": "0", "value": "dynamic:f16,bf16"}


def keep_float32(model: Any) -> Any:
    """Mark what pairs tokens and weights them to run in float32.

    Args:
        model: An `openvino.Model` of a merging model, from `openvino.convert_model` or from a file.

    Returns:
        The same model with marks, as a new `openvino.Model`; saving it keeps them. OpenVINO 2026.4
        knows the mark; older ones may not.

    Raises:
        ValueError: If nothing merges in the model.
    """
    import openvino

    marked = _nodes_to_mark(model.get_ordered_ops())
    if not marked:
        raise ValueError(
            "model must be an exported model that merges tokens, got one without a choice of "
            "pairs. Call vidtldr.apply_patch before exporting."
        )
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.xml"
        openvino.save_model(model, path, compress_to_fp16=False)
        weights = path.with_suffix(".bin").read_bytes()  # which must outlive the folder
        return openvino.Core().read_model(_with_marks(path.read_text(), marked), weights=weights)


def merges(model: Any) -> bool:
    """Whether anything merges in an `openvino.Model`."""
    return bool(_nodes_to_mark(model.get_ordered_ops()))


def _nodes_to_mark(nodes: Iterable[Any]) -> set[str]:
    """Names of the nodes that compute similarities, scores and mass.

    Every `TopK` belongs to a choice of pairs, and what is scattered into a matrix (B, N) of reals
    is mass. What they are computed from is marked, as far up as the tokens, queries and keys.
    """
    marked: set[str] = set()
    for node in nodes:
        if node.get_type_name() == "TopK" or _scatters_mass(node):
            _mark_above(node, marked)
    return marked


def _mark_above(node: Any, marked: set[str]) -> None:
    pending, seen = [node], set()
    while pending:
        node = pending.pop()
        name = node.get_friendly_name()
        if name in seen or node.get_type_name() in ("Constant", "Parameter") or _ends_walk(node):
            continue
        seen.add(name)
        marked.add(name)
        above = [value.get_node() for value in node.input_values()]
        if node.get_type_name() != "MatMul" or all(map(_is_normed, above)):
            pending += above


def _ends_walk(node: Any) -> bool:
    """Whether a node makes tokens, queries or keys (a linear layer, a residual), or reads sizes."""
    inputs = [value.get_node() for value in node.input_values()]
    are_constant = [_is_constant(each) for each in inputs]
    if node.get_type_name() == "MatMul":
        return any(are_constant)
    if node.get_type_name() == "Add":
        of_layers = any(each.get_type_name() == "MatMul" and _ends_walk(each) for each in inputs)
        return of_layers or not any(are_constant)
    return node.get_type_name() in ("MVN", "Convolution", "ShapeOf")


def _is_constant(node: Any) -> bool:
    while node.get_type_name() in ("Convert", "Transpose", "Reshape") and node.get_input_size():
        node = node.input_value(0).get_node()
    return bool(node.get_type_name() == "Constant")


def _is_normed(node: Any) -> bool:
    """Whether a side of a product is a slice of what was divided by its length."""
    while node.get_type_name() in _MOVES:
        node = node.input_value(0).get_node()
    return node.get_type_name() in ("Divide", "NormalizeL2")


def _scatters_mass(node: Any) -> bool:
    if not node.get_type_name().startswith("Scatter"):
        return False
    output = node.output(0)
    is_matrix = output.get_partial_shape().rank.get_length() == 2
    return bool(is_matrix and output.get_element_type().is_real())


def _as_first_version(softmax: ElementTree.Element) -> None:
    """Write a softmax as OpenVINO's CPU plugin rewrites it, which would lose the mark.

    The first version of the operator does not know negative axes.
    """
    data, dims = softmax.find("data"), softmax.findall("output/port/dim")
    assert data is not None  # every SoftMax has an axis
    softmax.set("version", "opset1")
    data.set("axis", str(int(data.get("axis", "-1")) % len(dims)))


def _with_marks(xml: str, marked: set[str]) -> bytes:
    """Put the mark into each of these layers of an IR file."""
    root = ElementTree.fromstring(xml)
    for layer in root.iter("layer"):
        if layer.get("name") in marked:
            info = layer.find("rt_info")
            if info is None:  # where OpenVINO writes it: behind the data, before the ports
                info = ElementTree.Element("rt_info")
                has_data = layer.find("data") is not None
                layer.insert(int(has_data), info)
            ElementTree.SubElement(info, "attribute", _MARK)
            if layer.get("type") == "SoftMax":
                _as_first_version(layer)
    found: bytes = ElementTree.tostring(root)
    return found
