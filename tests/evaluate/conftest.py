import pytest
import torch
from support.umt_sets import (
    answering_model,
    real_set,
    retrieval_model,
    write_tokenizer,
    written_set,
)


@pytest.fixture(autouse=True)
def _one_thread():
    """Many small operations: a second thread costs more than it gives."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory):
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="session")
def retrieval(tokenizer):
    return retrieval_model(tokenizer)


@pytest.fixture(scope="session")
def answering(tokenizer):
    return answering_model(tokenizer)


@pytest.fixture(scope="session", params=["written", "real"])
def videos(request, tmp_path_factory):
    """A set with one broken video: films made on the spot, and camera footage where there is."""
    directory = tmp_path_factory.mktemp("videos")
    if request.param == "written":
        return written_set(directory)
    return real_set(directory, request.getfixturevalue("real_videos"))


@pytest.fixture(scope="session")
def films(tmp_path_factory):
    """The set of films made on the spot alone."""
    return written_set(tmp_path_factory.mktemp("films"))
