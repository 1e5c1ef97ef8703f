"""Check for the extra `report` without importing it."""

import sys
from importlib.util import find_spec

__all__ = ["validate_report_extra"]


def validate_report_extra() -> None:
    """Check that the library that renders the page is installed.

    Raises:
        ImportError: If it is not; says what to install.
    """
    # Blocked modules are None in sys.modules and have no spec.
    if sys.modules.get("jinja2", ...) is None or find_spec("jinja2") is None:
        raise ImportError(
            "jinja2 must be installed to write a report, got none. Run pip install "
            "'vidtldr[report]'."
        )
