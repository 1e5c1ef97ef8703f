"""Text that comes from outside (names of files, labels, messages) made fit to print."""

import unicodedata

__all__ = ["one_line", "printable"]


def printable(text: str) -> str:
    """Escape what a terminal would obey instead of showing: control characters and their like."""
    return "".join(_escape(character) if _is_obeyed(character) else character for character in text)


def one_line(text: str) -> str:
    """The text on one line: white space squeezed, the rest printable."""
    return printable(" ".join(text.split()))


def _is_obeyed(character: str) -> bool:
    # Cc control, Cf format (direction marks), Cs lone surrogates of undecodable names, Zl and Zp
    # line ends.
    return unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")
