"""Make external text (file names, labels, messages) safe to print."""

import unicodedata

__all__ = ["counted", "one_line", "printable"]


def printable(text: str) -> str:
    """Escape control characters and the like, which a terminal would obey instead of showing."""
    return "".join(_escape(character) if _is_obeyed(character) else character for character in text)


def one_line(text: str) -> str:
    """Return the text on one line: white space collapsed, the rest printable."""
    return printable(" ".join(text.split()))


def counted(number: int, what: str) -> str:
    """Return a number with its word: `1 video`, `1,200 videos`."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def _is_obeyed(character: str) -> bool:
    # Cc control, Cf format (direction marks), Cs lone surrogates of undecodable names, Zl and Zp
    # line ends.
    return unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")
