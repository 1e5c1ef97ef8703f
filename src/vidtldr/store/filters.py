"""SQL conditions on the clips of an index.

LanceDB ignores what follows a condition (`; ...`, `LIMIT 1`), and a deeply nested one overflows its
stack, which ends the process.
"""

import re
from typing import Any

from vidtldr.store.checksums import CHECKSUM
from vidtldr.store.schema import CLIPS
from vidtldr.store.video_index import VideoIndex

__all__ = ["MAX_WORDS", "condition_of", "count_where"]

#: Words and operators of a filter; LanceDB's stack overflows at about three times as many.
MAX_WORDS = 400
_MAX_CHARACTERS = 1_000_000
_TOKEN = re.compile(
    r"(?P<space>[\s,]+)"
    r"|(?P<literal>'(?:[^']|'')*'|\d[\w.]*)"
    r"""|(?P<word>"(?:[^"]|"")*"|`[^`]*`|[^\W\d]\w*+(?!'))"""
    r"|(?P<refused>[;$?\0]|--|/\*|\w+')"  # an end, parameters, comments, strings such as N'a'
    r"|(?P<operator>\|\||::|<>|[<>!]=|.)",
    re.DOTALL,
)


def condition_of(where: str) -> str:
    """The condition of a filter as LanceDB must get it, in parentheses so that nothing follows it.

    Raises:
        ValueError: If it is more than one condition, or too long.
    """
    if len(where) > _MAX_CHARACTERS:
        raise _refused(where, f"{len(where):,} characters; at most {_MAX_CHARACTERS:,} are taken")
    num_words = depth = 0
    for token in _TOKEN.finditer(where):
        if token.lastgroup == "refused":
            raise _refused(where, f"{token[0]!r} is not part of a condition")
        num_words += token.lastgroup in ("word", "operator")
        depth += {"(": 1, ")": -1}.get(token[0], 0)
        if depth < 0:
            raise _refused(where, "a parenthesis is closed that was not opened")
    if num_words > MAX_WORDS:
        raise _refused(
            where, f"{num_words:,} words and operators; at most {MAX_WORDS} are taken beside values"
        )
    return f"({where})"


def count_where(index: VideoIndex, where: str | None) -> int:
    """Count the clips that match a filter.

    Raises:
        ValueError: If the filter is invalid or names an unknown column.
        OSError: If the index is damaged.
    """
    if where is None or index.clips is None:
        return index.num_rows
    condition = condition_of(where)
    return index.retried(lambda: _count(index, where, condition))


def _count(index: VideoIndex, where: str, condition: str) -> int:
    table: Any = index.clips
    try:
        count: int = table.count_rows(condition)
    except Exception as error:  # LanceDB raises many types for an invalid filter
        columns = [name for name in table.schema.names if name not in ("vector", CHECKSUM)]
        for _ in index.batches(CLIPS, columns):  # raises if the index is at fault
            pass
        reason = " ".join(str(error).split())[:160]
        raise _refused(where, reason, ", ".join(columns)) from error
    return count


def _refused(where: str, reason: str, columns: str = "of the index") -> ValueError:
    shown = where if len(where) <= 100 else f"{where[:100]}..."
    return ValueError(
        f"filter must be a condition on the columns {columns}, got {shown!r} ({reason}). Write, "
        'for example, "seconds > 5".'
    )
