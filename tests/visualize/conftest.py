from collections.abc import Iterator
from typing import Any

import pytest
from support.browser import open_browser
from support.scenes import Scene, videomae_scene


@pytest.fixture(scope="session")
def scene() -> Scene:
    return videomae_scene()


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One browser for all pages; tests that take it skip where there is none."""
    with open_browser(tmp_path_factory.mktemp("profile")) as driver:
        yield driver
