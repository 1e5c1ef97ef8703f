from collections.abc import Iterator

import pytest
import torch
from support.tune_films import pretrained_videomae, write_films

from vidtldr.tune.clips import TunedClip, read_clips
from vidtldr.tune.subject import Subject, pretrained_subject


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Many small operations: a second thread costs more than it gives.

    Set before what a module's tests share is made: times are kept by the number of threads.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", autouse=True)
def _own_times(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Times of layers are kept for these tests alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VIDTLDR_CACHE", str(tmp_path_factory.getbasetemp() / "times"))
        yield


@pytest.fixture(scope="session")
def subject() -> Subject:
    return pretrained_subject(pretrained_videomae(), 60.0)


@pytest.fixture(scope="session")
def clips(subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> list[TunedClip]:
    clips, failed = read_clips(subject.reader, write_films(tmp_path_factory.mktemp("films"), 5))
    assert not failed
    return clips


@pytest.fixture(scope="session")
def tuned_clips(clips: list[TunedClip]) -> list[TunedClip]:
    return clips[:3]


@pytest.fixture(scope="session")
def held_out(clips: list[TunedClip]) -> list[TunedClip]:
    return clips[3:]
