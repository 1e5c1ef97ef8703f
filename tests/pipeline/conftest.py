import pytest
from support.pipeline_films import Films, write_folder


@pytest.fixture(scope="session")
def films(tmp_path_factory) -> Films:
    return write_folder(tmp_path_factory.mktemp("films") / "videos")
