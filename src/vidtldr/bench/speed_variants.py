"""The variants compared in `bench latency` and `bench memory`, by name.

Every variant has the weights of one model: unmerged in three ways, merged by every score, ToMe, and
merging as in the authors' code.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from vidtldr.baselines.materialised import eager_twin, materialised_twin
from vidtldr.config import SCORES, MergeConfig
from vidtldr.patch.compiling import compile_model
from vidtldr.patch.twin import merged_twin, twin

__all__ = ["MERGED", "UNMERGED", "SpeedVariant", "choose_variants", "speed_variants"]

UNMERGED, MERGED = "unmerged", "merged"


@dataclass(frozen=True)
class SpeedVariant:
    """One way to run a model.

    Attributes:
        name: Name in tables.
        build: Builds it from the unpatched model, whose weights it shares.
        reference: The variant whose outputs it must equal; None for none.
        counts_as: The variant whose operation count it shares; None to count its own.
    """

    name: str
    build: Callable[[nn.Module], nn.Module]
    reference: str | None = None
    counts_as: str | None = None


def speed_variants(config: MergeConfig) -> Mapping[str, SpeedVariant]:
    """Return all variants at one schedule, by name.

    Args:
        config: The schedule, and the score and metric of `merged`.
    """
    bare = config.choosing(score=None, protect=0.0, spare_norms=None)
    plain = bare.choosing(metric="x")
    paper = plain.choosing(score="sharpness", linkage="cosine")
    # Random merging differs in every forward.
    merged_again = None if config.metric == "random" else MERGED
    variants = [
        SpeedVariant(UNMERGED, twin),
        SpeedVariant("unmerged, eager", eager_twin, UNMERGED),
        SpeedVariant("unmerged, compiled", lambda m: compile_model(twin(m)), UNMERGED, UNMERGED),
        SpeedVariant(MERGED, lambda m: merged_twin(m, config)),
        SpeedVariant(
            "merged, compiled",
            lambda m: compile_model(merged_twin(m, config)),
            merged_again,
            MERGED,
        ),
    ]
    for score in SCORES:
        scored = plain.choosing(score=score)
        if scored != config:
            name = f"merged by {score or 'nothing'}"
            variants.append(SpeedVariant(name, lambda m, scored=scored: merged_twin(m, scored)))  # type: ignore[misc]
    tome = bare.choosing(metric="keys", linkage="cosine")
    if tome != config:
        variants.append(SpeedVariant("ToMe", lambda m: merged_twin(m, tome)))
    # With another score there is no variant to equal.
    twin_of_paper = MERGED if config == paper else "merged by sharpness"
    variants.append(
        SpeedVariant("materialised", lambda m: materialised_twin(m, paper), twin_of_paper)
    )
    return {variant.name: variant for variant in variants}


def choose_variants(
    config: MergeConfig, names: Sequence[str] | None, *, with_compiled: bool = False
) -> list[SpeedVariant]:
    """Return the named variants and those that they are compared with, the unmerged model first.

    Args:
        config: As for `speed_variants`.
        names: Names; None for all.
        with_compiled: Whether "all" includes compiled variants, which need a compiler and time.

    Raises:
        ValueError: If a name is unknown; the message lists the variants.
    """
    variants = speed_variants(config)
    unknown = [name for name in names or () if name not in variants]
    if unknown:
        raise ValueError(
            f"`baselines` must be among {'; '.join(variants)}, got {unknown[0]!r}. Separate them "
            "with semicolons."
        )
    if names is None:
        chosen = {
            n for n, variant in variants.items() if with_compiled or variant.counts_as is None
        }
    else:
        needed = [variants[name] for name in names]
        chosen = {UNMERGED, *names}
        chosen |= {
            other for variant in needed for other in (variant.reference, variant.counts_as) if other
        }
    return [variant for name, variant in variants.items() if name in chosen]
