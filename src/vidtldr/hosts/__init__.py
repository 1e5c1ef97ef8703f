"""Adapters to the model families: how to run a block in two halves. No maths."""

from typing import TYPE_CHECKING

from vidtldr.lazy import lazy_names

if TYPE_CHECKING:
    from vidtldr.hosts.host import (
        Attend,
        Attended,
        AttentionFlops,
        BlockSizes,
        Host,
        is_a,
        join_heads,
        split_heads,
    )
    from vidtldr.hosts.pooling_step import PoolingStep
    from vidtldr.hosts.registry import register

__all__ = [
    "Attend",
    "Attended",
    "AttentionFlops",
    "BlockSizes",
    "Host",
    "PoolingStep",
    "is_a",
    "join_heads",
    "register",
    "split_heads",
]

_HOMES = dict.fromkeys(__all__, f"{__name__}.host")
_HOMES |= {"PoolingStep": f"{__name__}.pooling_step", "register": f"{__name__}.registry"}
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
