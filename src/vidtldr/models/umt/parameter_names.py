"""Map the names in UMT's published files to those of our modules, which follow fine-tuned files.

Facts: pretrained files use `text_encoder.bert.` and hold the masked-word head and the projections
onto the CLIP teacher; fine-tuned retrieval files have neither; question-answering files add
`text_decoder.` and lack the projections of retrieval. Any file may hold the teacher itself. Our
own files may serve both tasks: they have the projections and the decoder.

Source: OpenGVLab/unmasked_teacher, multi_modality: models/umt.py, models/umt_qa.py,
tasks/shared_utils.py, MODEL_ZOO.md.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from torch import Tensor

__all__ = ["NamedWeights", "Task", "canonical_weights"]

Task = Literal["retrieval", "answering"]

TRAINING_ONLY = (
    "clip_teacher.",  # the teacher that unmasked tokens were aligned with
    "vision_encoder.clip_decoder.",  # projections onto the teacher
    "text_encoder.cls.",  # masked-word head (it initialises the answer decoder, see below)
)
RECOMPUTED = (
    "text_encoder.embeddings.position_ids",  # 0, 1, 2, ...
    "text_decoder.bert.embeddings.position_ids",
)
RETRIEVAL_ONLY = ("vision_encoder.pool_norm.", "vision_proj.", "text_proj.", "itm_head.", "temp")
ANSWERING_ONLY = ("text_decoder.",)
IGNORED: dict[Task, tuple[str, ...]] = {
    "retrieval": TRAINING_ONLY + RECOMPUTED,
    "answering": TRAINING_ONLY + RECOMPUTED + RETRIEVAL_ONLY,
}
LAYER = re.compile(r"text_encoder\.encoder\.layer\.(\d+)\.(.+)")


class NamedWeights(NamedTuple):
    """Weights under our names.

    Attributes:
        tensors: What the task needs, and anything unknown.
        pretrained: Whether the file is from pretraining (not fine-tuned on a task).
        untrained: Parts that the file lacks and that were made from others.
    """

    tensors: dict[str, Tensor]
    pretrained: bool
    untrained: tuple[str, ...]


def canonical_weights(state: Mapping[str, Tensor], task: Task, fusion_layer: int) -> NamedWeights:
    """Rename the weights of a published file, drop what is not used, add what it lacks.

    For answering, a file without an answer decoder gets one made from its fusion layers, embeddings
    and masked-word head, as the authors do to start fine-tuning; the part is reported as
    untrained.

    Args:
        state: Tensors by name in the file.
        task: What the weights are for.
        fusion_layer: First text layer that attends to the video.
    """
    tensors = {_without_bert(name): value for name, value in state.items()}
    tensors = _without_bias_copy(tensors)
    pretrained = any(name.startswith("text_encoder.cls.") for name in tensors)
    untrained: tuple[str, ...] = ()
    if task == "answering" and not _any_starts(tensors, "text_decoder."):
        tensors |= _decoder_from_fusion_layers(tensors, fusion_layer)
        untrained = ("text_decoder",)
    ignored = IGNORED[task]
    if task == "retrieval" and _any_starts(tensors, "itm_head."):
        ignored += ANSWERING_ONLY  # without the head, it is an answering file and is refused
    kept = {name: value for name, value in tensors.items() if not _is_listed(name, ignored)}
    return NamedWeights(kept, pretrained, untrained)


def _is_listed(name: str, listed: tuple[str, ...]) -> bool:
    """Whether a name is in the list; entries ending in a dot are prefixes."""
    return name in listed or name.startswith(tuple(entry for entry in listed if entry[-1] == "."))


def _any_starts(names: Iterable[str], prefix: str) -> bool:
    return any(name.startswith(prefix) for name in names)


def _without_bert(name: str) -> str:
    prefix = "text_encoder.bert."
    return f"text_encoder.{name.removeprefix(prefix)}" if name.startswith(prefix) else name


def _without_bias_copy(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Keep one copy of a word head's bias, which files hold under two names."""
    end = "cls.predictions.bias"
    copies = [name for name in tensors if name.endswith(end)]
    for name in copies:
        bias = tensors.pop(name)
        tensors.setdefault(name.removesuffix("bias") + "decoder.bias", bias)
    return tensors


def _decoder_from_fusion_layers(
    tensors: Mapping[str, Tensor], fusion_layer: int
) -> dict[str, Tensor]:
    decoder = {}
    for name, value in tensors.items():
        layer = LAYER.fullmatch(name)
        if layer and int(layer[1]) >= fusion_layer:
            depth = int(layer[1]) - fusion_layer
            decoder[f"text_decoder.bert.encoder.layer.{depth}.{layer[2]}"] = value
        elif name.startswith("text_encoder.embeddings."):
            decoder[name.replace("text_encoder.", "text_decoder.bert.", 1)] = value
        elif name.startswith("text_encoder.cls."):
            decoder[name.replace("text_encoder.", "text_decoder.", 1)] = value
    return decoder
