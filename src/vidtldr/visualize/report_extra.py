"""What the extra `report` brings; nothing is loaded to find out."""

import sys
from importlib.util import find_spec

__all__ = ["validate_report_extra"]


def validate_report_extra() -> None:
    """Check that the library that fills in the page is there.

    Raises:
        ImportError: If it is not; with what to install.
    """
    # Blocked modules stand as None among those loaded, and have no spec to find.
    if sys.modules.get("jinja2", ...) is None or find_spec("jinja2") is None:
        raise ImportError(
            "jinja2 must be installed to write a report, got none. Run pip install "
            "'vidtldr[report]'."
        )
