"""Config and weights of a model of transformers, never running code of the checkpoint's own."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from vidtldr.hosts.lost_biases import name_lost_biases
from vidtldr.tasks.config_sizes import validate_sizes

__all__ = ["load_weights", "read_config", "reason_of"]

_WITHOUT_POOLER = {"add_pooling_layer": False}
_BLOCK_KEY = re.compile(r"\.layers?\.\d+\.")


def read_config(name: str) -> Any:
    """Read a model's config.

    Args:
        name: A directory or hub id, as of `model_source`.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If transformers cannot read it, or it states sizes that no model has.
    """
    from transformers import AutoConfig, PretrainedConfig

    try:
        validate_sizes(PretrainedConfig.get_config_dict(name)[0])
        return AutoConfig.from_pretrained(name, trust_remote_code=False)
    except OSError as error:
        raise FileNotFoundError(
            f"`model` must have a config.json, got {name!r} without one that can be read. Name a "
            "directory that save_pretrained wrote."
        ) from error
    except Exception as error:  # a hostile config can raise anything
        raise ValueError(
            f"model must have a config.json that transformers can read, got {name!r}: "
            f"{reason_of(error)}. Correct the file; code of its own is never run."
        ) from error


def load_weights(name: str, model_class: str, dtype: torch.dtype | None) -> nn.Module:
    """Load a model with all its weights and with fused attention.

    Args:
        name: A directory or hub id, as of `model_source`.
        model_class: Name of the class in transformers.
        dtype: Dtype of the weights; None for the checkpoint's own.

    Raises:
        ValueError: If weights are missing or do not fit the config.
        ImportError: If the model needs a package that is not installed.
    """
    import transformers

    try:
        model, info = getattr(transformers, model_class).from_pretrained(
            name,
            **_WITHOUT_POOLER if model_class in ("ViTModel", "DeiTModel") else {},
            dtype="auto" if dtype is None else dtype,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, by name
        )
    except ImportError as error:
        raise ImportError(
            f"`model={name}` needs a package that is not installed: {reason_of(error)}"
        ) from error
    except Exception as error:  # a hostile config or file can raise anything
        raise ValueError(
            f"model must have weights that fit its config, got {name!r}: {reason_of(error)}. Copy "
            "the whole config.json and model.safetensors there."
        ) from error
    _validate_weights(name, info)
    if getattr(model.config, "quantization_config", None) and not hasattr(model, "hf_quantizer"):
        raise ValueError(
            f"`model={name}` is quantized by a method that transformers does not know. Name the "
            "model that it was made from."
        )
    return _with_fused_attention(model)


def _validate_weights(name: str, info: Mapping[str, Any]) -> None:
    """Refuse a checkpoint whose weights are not those of its config; `info` is transformers'."""
    missing = sorted(info["missing_keys"])
    lost = name_lost_biases(missing)
    if lost is not None:
        raise ValueError(
            f"model must have all its weights, got {name!r} without {len(missing)} of them: "
            f"{lost}. Install transformers 5.18 or later."
        )
    mismatched = sorted(info["mismatched_keys"])
    if mismatched:
        key, *shapes = mismatched[0]
        saved, wanted = (tuple(shape) for shape in shapes)
        rest = f", and {len(mismatched) - 1} more" if len(mismatched) > 1 else ""
        raise ValueError(
            f"`model={name}` has weights that do not fit its config: {key} is {saved} in the file "
            f"and {wanted} by config.json{rest}. Correct config.json; for a classifier, id2label "
            "must name every class."
        )
    if missing:
        # transformers would initialise them randomly and give random predictions.
        raise ValueError(
            f"model must have all its weights, got {name!r} without {len(missing)} of them "
            f"({', '.join(missing[:3])}). Use a complete checkpoint; to classify, a fine-tuned one."
        )
    unexpected = sorted(key for key in info["unexpected_keys"] if _BLOCK_KEY.search(key))
    if unexpected:
        raise ValueError(
            f"model must use all the blocks of its checkpoint, got {name!r} with a config that "
            f"leaves out {len(unexpected)} weights ({', '.join(unexpected[:3])}). Correct "
            "num_hidden_layers in config.json."
        )


def _with_fused_attention(model: Any) -> nn.Module:
    """Use fused attention if supported, whatever the config says, for a fair unmerged baseline."""
    if model._supports_sdpa:
        model.set_attn_implementation("sdpa")
    assert isinstance(model, nn.Module)
    return model


def reason_of(error: Exception) -> str:
    """The class and the first line of an error of another library."""
    lines = str(error).replace("`", "'").strip().splitlines()  # not this package's arguments
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
