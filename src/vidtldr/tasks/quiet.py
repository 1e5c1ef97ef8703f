"""Keep libraries from writing between our lines, and from reporting home."""

import os

__all__ = ["quiet_transformers"]


def quiet_transformers() -> None:
    """Silence the bars and hints of transformers, and the telemetry of its hub client."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
