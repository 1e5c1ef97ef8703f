"""Faster video transformers without training (vid-TLDR, Choi et al., CVPR 2024).

    >>> vidtldr.apply_patch(model, r=[600, 200, 100])
    >>> vidtldr.remove_patch(model)

Names load on first use, so that `import vidtldr` and the command line's help stay instant.
"""

from typing import TYPE_CHECKING

from vidtldr.lazy import lazy_names

if TYPE_CHECKING:
    from vidtldr.config import MergeConfig
    from vidtldr.method.source import unmerge_tokens
    from vidtldr.patch.describe import describe
    from vidtldr.patch.patching import apply_patch, patched, remove_patch, trace

__version__ = "0.3.0"

__all__ = [
    "MergeConfig",
    "__version__",
    "apply_patch",
    "describe",
    "patched",
    "remove_patch",
    "trace",
    "unmerge_tokens",
]

_HOMES = {
    "MergeConfig": "vidtldr.config",
    "apply_patch": "vidtldr.patch.patching",
    "describe": "vidtldr.patch.describe",
    "patched": "vidtldr.patch.patching",
    "remove_patch": "vidtldr.patch.patching",
    "trace": "vidtldr.patch.patching",
    "unmerge_tokens": "vidtldr.method.source",
}

__getattr__, _ = lazy_names(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
