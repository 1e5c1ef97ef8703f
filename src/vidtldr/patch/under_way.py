"""What threads do to a model at once: several forwards, but one change.

A patch belongs to the model and not to a thread. A forward that merges while another thread removes
the patch ends as it began; a patch is not put beside one, nor by two threads at once.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from threading import get_ident
from typing import Any
from weakref import ReferenceType, WeakKeyDictionary, ref

from torch import Tensor, nn

from vidtldr.hosts.registry import find_roots

__all__ = ["UnderWay", "changing"]

_CHANGED_BY: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()


class UnderWay:
    """The merging forwards of one patch, shared by everything that it put on the model.

    Attributes:
        is_over: Whether the patch was removed. Forwards that start now do not merge.
    """

    def __init__(self, is_over: bool = False) -> None:
        self.is_over = is_over
        self._has_warned = False
        # By thread. A forward that failed between two blocks leaves no tokens alive.
        self._tokens: dict[int, ReferenceType[Tensor]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy of the model has no forwards of its own yet."""
        return type(self), (self.is_over,)

    def keep(self, x: Tensor) -> None:
        """Note the tokens that this thread's forward has come to."""
        self._tokens[get_ident()] = ref(x)

    def end(self) -> None:
        """Note that this thread's forward has ended."""
        self._tokens.pop(get_ident(), None)

    def warn_once(self, message: str) -> None:
        """Warn, unless a forward of this patch did before."""
        if not self._has_warned:
            self._has_warned = True
            warnings.warn(message, stacklevel=2)

    def is_elsewhere(self) -> bool:
        """Whether another thread is in the middle of a forward."""
        here = get_ident()
        return any(
            thread != here and tokens() is not None for thread, tokens in list(self._tokens.items())
        )


@contextmanager
def changing(model: nn.Module) -> Iterator[None]:
    """Let one thread at a time change how a model merges; it may do so again inside.

    Raises:
        RuntimeError: If another thread does.
    """
    here, taken = get_ident(), []
    try:
        for root in find_roots(model):
            if _CHANGED_BY.get(root) == here:
                continue
            if _CHANGED_BY.setdefault(root, here) != here:
                raise RuntimeError(
                    "model must be patched by one thread at a time, got another thread that is "
                    "patching it or is inside `patched`. Patch it once before the threads start, "
                    "or give each of them a copy."
                )
            taken.append(root)
        yield
    finally:
        for root in taken:
            del _CHANGED_BY[root]
