"""Cache directory for what was measured or built on this machine."""

import os
from pathlib import Path

__all__ = ["cache_directory"]


def cache_directory(kind: str) -> Path:
    """Return a folder below `VIDTLDR_CACHE`, or below `vidtldr` in the user's cache.

    Args:
        kind: Name of the folder, such as "latency".

    Raises:
        FileNotFoundError: If the user has no home and neither variable is set.
    """
    if told := os.environ.get("VIDTLDR_CACHE"):
        return Path(told) / kind
    if own := os.environ.get("XDG_CACHE_HOME"):
        return Path(own) / "vidtldr" / kind
    try:
        return Path.home() / ".cache" / "vidtldr" / kind
    except RuntimeError as error:
        raise FileNotFoundError(
            "VIDTLDR_CACHE must be set where the user has no home directory, got none. Set it to a "
            "directory that can be written to."
        ) from error
