"""README.md and the pages of docs/, and what they show."""

import re
from collections.abc import Iterator
from pathlib import Path

__all__ = ["DOCS", "PAGES", "README", "ROOT", "blocks", "headings", "links", "spans"]

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = (README, *sorted(DOCS.glob("*.md")))
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: Path, *languages: str) -> list[str]:
    """Code blocks in some languages; in all if none is named."""
    found = _BLOCK.findall(page.read_text())
    return [code for language, code in found if not languages or language in languages]


def spans(page: Path, but_in_lines_that_start: str | None = None) -> list[str]:
    """Code inside sentences and tables."""
    lines = _without_blocks(page).splitlines()
    skipped = but_in_lines_that_start
    shown = [line for line in lines if skipped is None or not line.startswith(skipped)]
    return re.findall(r"`([^`\n]+)`", "\n".join(shown))


def links(page: Path) -> Iterator[tuple[str, str]]:
    """Path and anchor of every link and picture that stays in the repository."""
    text = re.sub(r"`[^`\n]+`", "", _without_blocks(page))
    for target in re.findall(r"\]\(([^)]+)\)|src=\"([^\"]+)\"", text):
        link = target[0] or target[1]
        if not link.startswith(("http://", "https://")):
            path, _, anchor = link.partition("#")
            yield path, anchor


def headings(page: Path) -> set[str]:
    """Anchors of the headings."""
    titles = re.findall(r"^#+ (.+)$", _without_blocks(page), re.MULTILINE)
    words = (re.sub(r"[^\w\s-]", "", title).strip().lower() for title in titles)
    return {re.sub(r"[-\s]+", "-", word) for word in words}


def _without_blocks(page: Path) -> str:
    return _BLOCK.sub("", page.read_text())
