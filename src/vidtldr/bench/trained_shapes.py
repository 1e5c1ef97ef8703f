"""Load the weights of any training stage of the bundled model."""

from pathlib import Path

from torch import Tensor

from vidtldr.models.umt.vision import VisionEncoder
from vidtldr.models.weights_file import read_tensors
from vidtldr.shapes.model import ShapesUMT, shapes_config

__all__ = ["load_shapes", "load_shapes_encoder"]

_WITHOUT_POOLING = ("pool_norm.weight", "pool_norm.bias")
_HEADS_OF_TRAINING = "patch_words."


def load_shapes(weights: Path) -> ShapesUMT:
    """Load the model trained on the world of shapes.

    Args:
        weights: `model.safetensors`, or `training.pt`, the checkpoint of the stages that train the
            whole model.

    Returns:
        The model in evaluation mode, on the CPU, float32.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds another model, or the masked pretraining, which has no text encoder.
    """
    model = ShapesUMT(shapes_config())
    tensors = _tensors(weights)
    _refuse_other_names(weights, set(tensors), set(model.state_dict()))
    model.load_state_dict(tensors)
    return model.eval()


def load_shapes_encoder(weights: Path) -> VisionEncoder:
    """Load its vision encoder, also from a masked-pretraining checkpoint.

    Args:
        weights: As for `load_shapes`, or `pretraining.pt`, with which the norm after the mean keeps
            its initial values.

    Raises:
        FileNotFoundError, ValueError: As `load_shapes`.
    """
    tensors = _tensors(weights)
    if any(name.startswith("vision_encoder.") for name in tensors):
        return load_shapes(weights).vision_encoder
    encoder = VisionEncoder(shapes_config())
    # MaskedVideo holds the encoder and the decoder of the hidden patches.
    own = {n.removeprefix("encoder."): v for n, v in tensors.items() if n.startswith("encoder.")}
    own = {name: value for name, value in own.items() if not name.startswith("pool_norm.")}
    expected = set(encoder.state_dict()) - set(_WITHOUT_POOLING)
    _refuse_other_names(weights, set(own), expected)
    encoder.load_state_dict(own, strict=False)
    return encoder.eval()


def _tensors(weights: Path) -> dict[str, Tensor]:
    """Load the state dict of a file as float32."""
    if not weights.is_file():
        raise FileNotFoundError(
            f"weights must be an existing file, got {str(weights)!r}. Check the path."
        )
    return {
        name.removeprefix("model."): value
        for name, value in read_tensors(weights, nested_as=("module",)).items()
        if not name.startswith(_HEADS_OF_TRAINING)
    }


def _refuse_other_names(weights: Path, found: set[str], expected: set[str]) -> None:
    if found != expected:
        example = sorted(found ^ expected)[0]
        raise ValueError(
            f"weights must be of the model of recipes/shapes/train.py, got {str(weights)!r}, "
            f"which differs in {len(found ^ expected)} names such as {example!r}. Pass its "
            "model.safetensors."
        )
