"""Which models are rejected, from the registry itself."""

from doc_tables.results import table
from vidtldr.hosts.registry import REFUSED


def refused() -> str:
    """List where each rejected family is defined, and why it is rejected."""
    rows = [[f"`{prefix.rstrip('.')}`", reason] for prefix, reason in REFUSED.items()]
    return table(["refused", "reason"], rows)
