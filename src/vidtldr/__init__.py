"""Faster video transformers without training (vid-TLDR, Choi et al., CVPR 2024).

    >>> vidtldr.apply_patch(model, r=[600, 200, 100])
    >>> vidtldr.remove_patch(model)

Names load on first use, so that `import vidtldr` and the command line's help stay instant.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vidtldr.hosts.config import MergeConfig
    from vidtldr.hosts.patching import apply_patch, patched, remove_patch, trace
    from vidtldr.method.source import unmerge_tokens

__version__ = "0.1.0.dev0"

__all__ = [
    "MergeConfig",
    "__version__",
    "apply_patch",
    "patched",
    "remove_patch",
    "trace",
    "unmerge_tokens",
]

_HOMES = {
    "MergeConfig": "vidtldr.hosts.config",
    "apply_patch": "vidtldr.hosts.patching",
    "patched": "vidtldr.hosts.patching",
    "remove_patch": "vidtldr.hosts.patching",
    "trace": "vidtldr.hosts.patching",
    "unmerge_tokens": "vidtldr.method.source",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vidtldr' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
