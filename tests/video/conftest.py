"""Films that several tests read."""

from pathlib import Path

import pytest
from support.film import write_film


@pytest.fixture(scope="session")
def b_frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 frames of H.264 with B-frames."""
    path = tmp_path_factory.mktemp("films") / "b_frames.mp4"
    return write_film(path, options={"bf": "3", "g": "12", "b-adapt": "0"})
