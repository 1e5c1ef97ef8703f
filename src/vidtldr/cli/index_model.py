"""The model of an index: how it is named, remembered, and loaded in another process."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from vidtldr.cli.embed_videos import load_embedder
from vidtldr.cli.merge_options import MergeOptions
from vidtldr.cli.umt_options import PREFIX, UMTOptions
from vidtldr.hosts.config import MergeConfig
from vidtldr.store.settings import SETTINGS_FILE, IndexSettings, read_settings
from vidtldr.tasks.embed import Embedder

__all__ = ["IndexModel", "model_of_index", "typed_model"]

_REMEMBERED = ("model", "arch", "tokenizer", "frames", "dtype")


class IndexModel(NamedTuple):
    """A model and a schedule, as they were typed or remembered."""

    umt: UMTOptions
    merge: MergeConfig | None
    preset: str | None

    def loader(
        self, time_limit_seconds: float, compile_for: int | None = None
    ) -> Callable[[], Embedder]:
        """What loads it, in this process or, as it can be pickled, in another one."""
        return partial(_load, self, time_limit_seconds, compile_for)

    def options(self) -> dict[str, Any]:
        """What to remember of it."""
        about = {name: getattr(self.umt, name) for name in _REMEMBERED}
        return about | {"merge": None if self.merge is None else self.merge.to_dict()}


def typed_model(umt: UMTOptions, merging: MergeOptions, directory: Path) -> IndexModel:
    """The model that is meant: the typed one, or where none is typed that of an index there.

    Raises:
        ValueError, FileNotFoundError: If what is typed is not well formed, or not there.
    """
    merge = merging.parse()
    is_typed = merge is not None or any(
        getattr(umt, name) != getattr(UMTOptions(), name) for name in _REMEMBERED
    )
    if not is_typed and (directory / SETTINGS_FILE).exists():
        return model_of_index(read_settings(directory), umt)
    if umt.is_umt:
        _ = umt.checkpoint  # is there
    else:
        umt.validate_for_classifier(merging.preset)
    return IndexModel(_lasting(umt), merge, merging.preset)


def model_of_index(settings: IndexSettings, umt: UMTOptions) -> IndexModel:
    """The model that an index was made with, on the device that is typed now.

    Raises:
        FileNotFoundError: If its files are not where they were.
    """
    options: Mapping[str, Any] = settings.options
    known = {name: options[name] for name in _REMEMBERED if name in options}
    umt = UMTOptions(**known, device=umt.device)
    if umt.is_umt:
        _ = umt.checkpoint
    merge = options.get("merge")
    return IndexModel(umt, None if merge is None else MergeConfig.from_dict(merge), None)


def _load(model: IndexModel, time_limit_seconds: float, compile_for: int | None) -> Embedder:
    """Load the model; what is to be said of it goes to stderr."""
    return load_embedder(*model, time_limit_seconds, compile_for)[0]


def _lasting(umt: UMTOptions) -> UMTOptions:
    """With paths that hold from anywhere."""
    changes: dict[str, Any] = {}
    if umt.model is not None and umt.is_umt:
        changes["model"] = PREFIX + str(umt.checkpoint.resolve())
    elif umt.model is not None and Path(umt.model).is_dir():
        changes["model"] = str(Path(umt.model).resolve())
    for name in ("arch", "tokenizer"):
        value = getattr(umt, name)
        if value is not None and Path(value).exists():
            changes[name] = str(Path(value).resolve())
    return replace(umt, **changes)
