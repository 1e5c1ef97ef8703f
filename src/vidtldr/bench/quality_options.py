"""How much the quality benchmark measures."""

from dataclasses import dataclass

from vidtldr.bench.seed_exam import Questions
from vidtldr.shapes.factors import Split

__all__ = ["QualityOptions"]


@dataclass(frozen=True)
class QualityOptions:
    """How much to measure.

    Attributes:
        num_clips: Clips for each seed.
        seeds: Seeds of the world.
        split: Split of the world: settings are chosen on `"validation"` and reported on `"test"`.
        batch_size: Clips per batch.
        num_rounds: Timed runs of each setting, in turn with the unmerged model; 0 for no timing.
        questions: `"hard"` asks only about motion and speed; `"all"` asks everything.
    """

    num_clips: int
    seeds: tuple[int, ...]
    split: Split = "test"
    batch_size: int = 32
    num_rounds: int = 0
    questions: Questions = "hard"
