import pytest

from vidtldr.measure.busyness import BusyReport
from vidtldr.measure.gain import Gain, change_of, gain_of
from vidtldr.measure.timing import Timing


def gain(ratios: tuple[float, float, float], **changes: object) -> Gain:
    known = {"unmerged_ms": 9.0, "flop_ratio": 0.77, "num_tokens": (512, 220)}
    return Gain(*ratios, **(known | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("lowest", "highest", "change"),
    [
        (1.01, 2, "faster"),
        (0.5, 0.99, "slower"),
        (0.9, 1.1, "unclear"),
        (1, 1.2, "unclear"),
        (2, 2, "unclear"),  # one round
    ],
)
def test_a_change_is_what_every_one_of_several_rounds_shows(
    lowest: float, highest: float, change: str
) -> None:
    assert change_of(lowest, highest) == change


def test_a_gain_needs_no_reason() -> None:
    assert gain((1.3, 1.2, 1.4)).words == "speed-up 1.30x"
    assert gain((1.3, 1.2, 1.4)).why_none == ""
    assert gain((1.3, 1.2, 1.4)).is_sure
    assert not gain((1.3, 1.2, 1.4), busy=BusyReport(0.8, True)).is_sure


def test_a_loss_has_its_reason_from_what_was_measured() -> None:
    slower = gain((0.9, 0.8, 0.95))
    assert slower.words == "slower, 0.90x as fast"
    assert not slower.is_sure
    assert slower.why_none == (
        "merging 57 % of 512 tokens removes 23 % of the FLOPs, about 2.1 ms of the 9.0 ms that a "
        "forward of 1 clip takes, and costs 3.1 ms here: use larger batches or longer clips, or "
        "leave this model unmerged"
    )


def test_a_long_forward_is_not_told_to_take_more_clips() -> None:
    words = gain((0.9, 0.8, 0.95), unmerged_ms=2000.0, num_tokens=None, num_clips=8).why_none
    assert words.startswith("merging removes 23 % of the FLOPs, about 460 ms of the 2000 ms that")
    assert "of 8 clips takes" in words
    assert words.endswith(": try --score none or another schedule, or leave this model unmerged")


def test_what_cannot_be_told_is_said_with_its_range() -> None:
    unclear = gain((1.02, 0.96, 1.1))
    assert unclear.words == "no measurable difference in time (0.96x to 1.10x)"
    assert "costs 1.9 ms here" in unclear.why_none
    noisy = gain((1.02, 0.7, 1.6))
    assert noisy.why_none == (
        "rounds differ too much to tell no gain from the 1.30x of the FLOPs: run it again, on a "
        "quieter machine if you can"
    )
    nothing = gain((1.0, 0.9, 1.1), flop_ratio=1.0, num_tokens=(512, 512))
    assert nothing.why_none.startswith("merging 0 % of 512 tokens removes 0 % of the FLOPs")
    once = gain((1.7, 1.7, 1.7))
    assert once.words == "no measurable difference in time (one round: 1.70x)"
    assert once.why_none == "one round of each tells no times apart: time more rounds"


def test_on_a_busy_machine_the_model_is_not_blamed() -> None:
    busy = gain((0.5, 0.4, 0.6), busy=BusyReport(0.8, True))
    assert busy.why_none == ""
    row = busy.to_dict()
    assert row == {
        "speedup": 0.5,
        "speedup_range": [0.4, 0.6],
        "change": "slower",
        "why_no_gain": None,
        "machine_was_busy": True,
        "other_share": 0.8,
    }


def test_a_gain_is_of_two_timings_of_the_same_rounds() -> None:
    busy = BusyReport(0.8, True)
    found = gain_of(Timing((4.0, 6.0), busy), Timing((2.0, 4.0), busy), flop_ratio=0.5)
    assert found == Gain(1.75, 1.5, 2.0, 5.0, 0.5, busy=busy)
