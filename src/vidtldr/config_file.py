"""Configs as files, here and on the hub. Does not import torch."""

import json
from dataclasses import asdict, replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from vidtldr.config import MergeConfig
from vidtldr.files import read_json, write_json
from vidtldr.hub import HUB_ID, ask_hub, fetch_file, file_in_cache, upload_file
from vidtldr.presets import PRESETS

__all__ = ["CONFIG_FILE", "push_config", "read_config", "recorded", "write_config"]

CONFIG_FILE = "merge_config.json"
_MAX_BYTES = 2**20  # a thousand are usual
_MAX_REASON = 1000


def read_config(
    source: str | PathLike[str],
    argument: str,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
) -> MergeConfig:
    """Read a config as `MergeConfig.from_pretrained` does.

    Args:
        source: A directory, a JSON file, or the id of a model on the hub.
        argument: What the caller calls it, for messages.
        revision: Branch, tag or commit on the hub.
        token: Token for the hub.

    Raises:
        FileNotFoundError, ValueError: As `MergeConfig.from_pretrained`.
    """
    name = fspath(source)
    file = _file_here(name, argument)
    try:
        if file is None:
            file = _file_on_hub(name, argument, revision, token)
        _validate_size(file.stat().st_size)
        return MergeConfig.from_dict(read_json(file))
    except (ValueError, TypeError) as error:
        why = str(error).replace("`", "")[:_MAX_REASON]  # the file has the fields, not the caller
        shown = str(file or name)
        raise ValueError(f"{argument} must have a schedule in {shown!r}: {why}") from error


def write_config(config: MergeConfig, file: Path) -> None:
    """Write a config and where it comes from, atomically.

    Raises:
        OSError: If it cannot be written.
    """
    write_json(file, _values(config))


def push_config(
    config: MergeConfig,
    repo_id: str,
    *,
    private: bool | None,
    token: str | bool | None,
    create_pr: bool,
) -> str:
    """Upload a config as `MergeConfig.push_to_hub` does, and return the address of the commit.

    Raises:
        OSError: If the hub refuses it or cannot be reached.
    """
    content = (json.dumps(_values(config), indent=2) + "\n").encode()
    return upload_file(
        repo_id, CONFIG_FILE, content, private=private, token=token, create_pr=create_pr
    )


def recorded(config: MergeConfig, model: object) -> MergeConfig:
    """Add the kind of a model that a config is for.

    Raises:
        TypeError, ValueError, NotImplementedError: As `find_host`, or if the config does not fit
            the model.
    """
    from vidtldr.budget.counts import resolve_budget
    from vidtldr.hosts.registry import find_host

    host = find_host(model)
    config.validate_kind(host.kind)
    if not config.is_budget:
        config.validate_for(len(host.blocks), host.num_mergeable)
    elif config.speedup is None and host.num_mergeable is not None:  # that one is measured
        resolve_budget(config, host)
    return replace(config, made_for=host.kind)


def _values(config: MergeConfig) -> dict[str, Any]:
    """Everything that a file holds; a preset by its name, so that it is refused as before."""
    values = config.to_dict()
    if config.preset is not None:
        del values["r"]
        values = {"preset": config.preset} | values
    if config.made_for is not None:
        values["made_for"] = asdict(config.made_for)
    if config.measured is not None:
        values["measured"] = dict(config.measured)
    return values


def _file_here(name: str, argument: str) -> Path | None:
    """The file that a name means on this machine; None if it can only mean the hub."""
    path = Path(name)
    if name and path.is_dir():
        if not (path / CONFIG_FILE).is_file():
            raise FileNotFoundError(
                f"{argument} must be a directory with a {CONFIG_FILE}, got {name!r} without one. "
                "Name another, or write one with config.save_pretrained."
            )
        return path / CONFIG_FILE
    if path.is_file():
        return path
    if name in PRESETS:
        raise ValueError(
            f"{argument} must be the name of a saved schedule, got the preset {name!r}. Write "
            f"`preset={name}`."
        )
    if name.endswith(".json") or not HUB_ID.fullmatch(name):
        raise FileNotFoundError(
            f"{argument} must be a JSON file, a directory with a {CONFIG_FILE}, or OWNER/NAME on "
            f"the hub, got {name!r}. Check the name."
        )
    return None


def _file_on_hub(name: str, argument: str, revision: str | None, token: str | bool | None) -> Path:
    """The file in the hub's cache, fetched if the hub has another; the cached one without a hub."""
    asked = f"{argument} {name!r}"
    if_missing = ". Name a model that has one, or give an amount, such as `flop_ratio=0.6`."
    try:
        about = ask_hub(name, CONFIG_FILE, asked, if_missing, revision=revision, token=token)
        _validate_size(about.size or 0)
        return fetch_file(name, CONFIG_FILE, revision=revision, token=token)
    except ConnectionError as error:
        cached = file_in_cache(name, CONFIG_FILE, revision)
        if cached is not None:
            return cached
        raise FileNotFoundError(
            f"{asked} is neither a directory here nor in the hub's cache, and {error}. Check the "
            f"name, or run `hf download {name} {CONFIG_FILE}` with a network."
        ) from error


def _validate_size(num_bytes: int) -> None:
    if num_bytes > _MAX_BYTES:
        raise ValueError(
            f"{CONFIG_FILE} must have at most {_MAX_BYTES:,} bytes, got {num_bytes:,}. It is no "
            "file of this package."
        )
