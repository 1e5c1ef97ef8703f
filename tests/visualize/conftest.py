import pytest
from visualize.scenes import Scene, videomae_scene


@pytest.fixture(scope="session")
def scene() -> Scene:
    return videomae_scene()
