"""Render a self-contained page: style, script and pictures are inline, as its CSP demands."""

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from vidtldr.visualize.report_extra import validate_report_extra

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["encode_page", "fill_page"]

_BASE_STYLES = ("theme.css", "base.css")
_BASE_SCRIPTS = ("theme.js",)


def fill_page(template: str, styles: Sequence[str], scripts: Sequence[str], **values: Any) -> str:
    """Render a template of the directory `page` that extends `base.html.j2`.

    All outside text is escaped, and the page's Content Security Policy lets only its own content
    run or load: its one script and its one style sheet, by hash, and inline pictures.

    Args:
        template: File name of the template.
        styles: Style sheets after those of every page.
        scripts: Scripts after those of every page.
        **values: Variables of the template.

    Returns:
        HTML.

    Raises:
        ImportError: If jinja2 is missing.
    """
    validate_report_extra()
    style, script = _joined((*_BASE_STYLES, *styles)), _joined((*_BASE_SCRIPTS, *scripts))
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    filled = _environment().get_template(template)
    return filled.render(policy=policy, style=style, script=script, **values)


def encode_page(html: str) -> bytes:
    """Encode the page; names that are not valid Unicode, as file names can be, are escaped."""
    return html.encode("utf-8", "backslashreplace")


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("vidtldr.visualize", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _joined(names: Sequence[str]) -> str:
    page: Any = files("vidtldr.visualize") / "page"
    return "\n".join((page / name).read_text(encoding="utf-8") for name in names)


def _hash(content: str) -> str:
    """The hash by which a policy allows an inline element; covers every byte of its content."""
    digest = hashlib.sha256(content.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
