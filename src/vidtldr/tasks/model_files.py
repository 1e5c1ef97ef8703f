"""Where a transformers model's files are: its directory, or the hub's cache. Imports no torch."""

import re
from pathlib import Path

from vidtldr.hub import HUB_ID, ask_hub, file_in_cache
from vidtldr.tasks.exported.formats import is_exported

__all__ = ["directory_here", "model_directory", "model_source", "validate_model_name"]

_CONFIG = "config.json"
_WEIGHTS = ("model.safetensors", "pytorch_model.bin", "model.safetensors.index.json")
_PROCESSORS = (
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "processor_config.json",
)
_TIMM = re.compile(r"(timm/|hf[-_]hub:).+|(\w+_)?(vit|deit|eva|beit)\w*_patch\d\w*(\..*)?")


def validate_model_name(name: str) -> None:
    """Check, without the network, that a name is a model directory or can be a hub id.

    Raises:
        FileNotFoundError: If it is neither.
        ValueError: If it is a file, or a model of timm.
    """
    path = Path(name)
    if name and path.is_dir():
        return
    if path.is_file():
        remedy = f"Write `model={path.parent}`."
        if is_exported(name):
            remedy = "Exported files are for classify, embed, index and search: name the model."
        elif not (path.parent / _CONFIG).is_file():
            remedy = f"For weights of UMT write `model=umt:{name}`."
        raise ValueError(f"`model` must be a directory, got the file {name!r}. {remedy}")
    if _TIMM.fullmatch(name):
        raise ValueError(
            f"`model` must be a model of transformers, got {name!r} of timm. Use it in "
            "Python: timm.create_model, then vidtldr.apply_patch."
        )
    if not HUB_ID.fullmatch(name):
        raise FileNotFoundError(
            f"`model` must be an existing directory, or OWNER/NAME on the hub, got {name!r}. Check "
            "the name."
        )


def model_source(name: str) -> str:
    """Return what transformers can load a model from without waiting in vain.

    A complete copy in the hub's cache is used as it is. Otherwise the hub is asked once whether it
    has the model, and may take 5 seconds to answer.

    Args:
        name: A directory, or the id of a model on the hub.

    Returns:
        The directory, the snapshot in the cache, or the id if the hub has the model.

    Raises:
        ValueError, FileNotFoundError: As `validate_model_name`, or if the hub does not have the
            model or cannot be reached.
    """
    validate_model_name(name)
    if Path(name).is_dir():
        return name
    config = file_in_cache(name, _CONFIG)
    if config is not None:
        snapshot = config.parent
        if _has_any(snapshot, _WEIGHTS) and _has_any(snapshot, _PROCESSORS):
            return str(snapshot)
    _ask_hub(name)
    return name


def directory_here(name: str) -> str | None:
    """The directory of a model that is on this machine; None if it would have to be downloaded.

    Args:
        name: An absolute path, or the id of a model on the hub.
    """
    from huggingface_hub import snapshot_download

    directory = Path(name)
    try:
        if not directory.is_absolute():
            directory = Path(snapshot_download(name, local_files_only=True))
        if directory.is_dir() and not (directory / "adapter_config.json").exists():  # names another
            return str(directory)
    except (OSError, ValueError):  # not in the cache, or no id of the hub
        pass
    return None


def model_directory(source: str) -> Path:
    """Return the directory of a model's preprocessor config, downloading it if need be.

    Args:
        source: Result of `model_source`.

    Raises:
        FileNotFoundError: If the model has no such config.
    """
    if Path(source).is_dir():
        return Path(source)
    from transformers.utils.hub import cached_file

    for file in _PROCESSORS:
        found = cached_file(source, file, _raise_exceptions_for_missing_entries=False)
        if found is not None:
            return Path(found).parent
    raise FileNotFoundError(
        f"`model` must have a {_PROCESSORS[0]}, got {source!r} without one. Name a model that has "
        "it."
    )


def _has_any(directory: Path, files: tuple[str, ...]) -> bool:
    return any((directory / file).is_file() for file in files)


def _ask_hub(name: str) -> None:
    asked = f"`model={name}`"
    try:
        ask_hub(name, _CONFIG, asked, ", so transformers cannot load it. Choose another model.")
    except ConnectionError as error:
        raise FileNotFoundError(
            f"{asked} is neither a directory here nor complete in the hub's cache, and {error}. "
            f"Run `hf download {name}` with a network."
        ) from error
