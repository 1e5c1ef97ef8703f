import pytest

from vidtldr.bench import headline as module
from vidtldr.bench.subject import build_subject


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    build = lambda name: build_subject(name, num_frames=2, image_size=64)  # noqa: E731
    monkeypatch.setattr(module, "build_subject", build)


@pytest.mark.usefixtures("small")
def test_both_sides_of_a_model_of_known_size_are_timed_in_turn() -> None:
    steps: list[tuple[str, int, int]] = []
    found = module.time_headline(lambda *step: steps.append(step))
    assert found.title == "VideoMAE-B"
    assert found.gain.num_tokens == (16, 16 - sum(found.r))
    assert 0.3 < found.gain.flop_ratio < 0.8
    assert len(found.unmerged.times_ms) == len(found.merged.times_ms) == 5
    assert [done for _, done, _ in steps] == list(range(11))
    assert {total for _, _, total in steps} == {10}


@pytest.mark.parametrize(("seconds", "rounds"), [(0.01, 5), (5, 4), (60, 3)])
def test_a_slow_machine_times_fewer_rounds(seconds: float, rounds: int) -> None:
    assert module._rounds_for(seconds) == rounds
