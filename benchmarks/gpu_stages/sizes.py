"""Sizes of a full run, and of a smoke run of every line on a CPU."""

from dataclasses import dataclass

__all__ = ["FULL", "SMOKE", "Sizes"]


@dataclass(frozen=True)
class Sizes:
    """The sizes of a run.

    Attributes:
        is_smoke: Whether subjects are tiny, too.
        num_heads: Heads of attention alone, as in UMT-B.
        channels: Channels of one head.
        checked_tokens: Lengths at which the kernels are compared with float64.
        attention: Batch and tokens of attention alone.
        batches: Batch sizes of the models.
        num_rounds: Timed rounds of everything in turn.
        num_warmups: Warm-up rounds before them; a CUDA graph is recorded in the second.
        num_calls: Calls of attention or another part per measurement: one is too short to time.
    """

    is_smoke: bool
    num_heads: int
    channels: int
    checked_tokens: tuple[int, ...]
    attention: tuple[tuple[int, int], ...]
    batches: tuple[int, ...]
    num_rounds: int
    num_warmups: int
    num_calls: int


FULL = Sizes(
    is_smoke=False,
    num_heads=12,
    channels=64,
    checked_tokens=(2352, 197, 588, 785, 1569),
    attention=((8, 2352), (1, 2352), (8, 588), (1, 588), (8, 1568), (8, 4096)),
    batches=(20, 1),
    num_rounds=9,
    num_warmups=3,
    num_calls=10,
)
SMOKE = Sizes(
    is_smoke=True,
    num_heads=1,
    channels=16,
    checked_tokens=(17,),
    attention=((1, 17),),
    batches=(2,),
    num_rounds=1,
    num_warmups=0,
    num_calls=1,
)
