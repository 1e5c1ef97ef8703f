"""A page as its tests read it."""

from html.parser import HTMLParser

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&\u202e{{7*7}}.mp4"
VOID = {"meta", "link", "input", "img", "br", "source"}
CELLS = {"td", "th"}


class Page(HTMLParser):
    """Elements with their attributes, the text of each kind of element, and the rows of tables."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: dict[str, list[str]] = {}
        self.rows: list[list[str]] = []
        self.feed(html)
        self.close()
        assert self.open == [], "elements are left open"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in CELLS:
            self.rows[-1].append("")
        if tag not in VOID and not (self.get_starttag_text() or "").endswith("/>"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not (tag not in VOID and self.open and self.open[-1] == tag):
            assert (self.get_starttag_text() or "").endswith("/>"), f"{tag} closes {self.open[-3:]}"
            return
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open:
            self.text.setdefault(self.open[-1], []).append(data)
        if CELLS & set(self.open):
            self.rows[-1][-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]
