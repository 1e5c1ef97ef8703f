"""The stages of a run in order, the most valuable first."""

from dataclasses import replace
from functools import partial

from gpu_stages.attention import measure_attention
from gpu_stages.correctness import check_kernels, run_gpu_tests
from gpu_stages.layers import measure_layers
from gpu_stages.models import measure_compiled, measure_eager
from gpu_stages.sizes import FULL, SMOKE
from gpu_stages.stage import Stage
from gpu_stages.subjects import SUBJECTS
from gpu_stages.surroundings import describe_machine
from gpu_stages.tiles import measure_tiles

__all__ = ["stages_of"]


def stages_of(*, smoke: bool, commit: str | None) -> list[Stage]:
    """Return all stages.

    Args:
        smoke: Whether to make a smoke run of every line on a CPU.
        commit: Commit of the sources, if git cannot tell.
    """
    sizes = SMOKE if smoke else FULL
    main_size, *other_sizes = sizes.attention
    large, *other_batches = sizes.batches
    # Compiling for a CPU takes minutes, and tiny subjects of one family are all alike.
    first, *others = SUBJECTS[:2] if smoke else SUBJECTS
    stages = [
        Stage("environment", partial(describe_machine, commit=commit)),
        Stage("correctness-kernels", check_kernels, limit_seconds=60),
        Stage("correctness-tests", run_gpu_tests, limit_seconds=60),
        _attention(main_size),
        *(_eager(name, large) for name in SUBJECTS),
        *(_eager(name, batch) for batch in other_batches for name in SUBJECTS),
        *map(_attention, other_sizes),
        *(_layers(name, large) for name in SUBJECTS),
        *(_compiled(first, batch) for batch in sizes.batches),
        Stage("tiles", measure_tiles, limit_seconds=40),
        *(_compiled(name, batch) for name in others for batch in sizes.batches),
    ]
    # The time that stages need was estimated for a GPU.
    return [replace(stage, needs_seconds=1) for stage in stages] if smoke else stages


def _attention(size: tuple[int, int]) -> Stage:
    batch, num_tokens = size
    run = partial(measure_attention, batch=batch, num_tokens=num_tokens)
    return Stage(f"attention-{num_tokens}-tokens-batch-{batch}", run)


def _eager(name: str, batch: int) -> Stage:
    return Stage(
        f"model-{name}-batch-{batch}",
        partial(measure_eager, name=name, batch=batch),
        needs_seconds=15,
    )


def _layers(name: str, batch: int) -> Stage:
    return Stage(f"layers-{name}-batch-{batch}", partial(measure_layers, name=name, batch=batch))


def _compiled(name: str, batch: int) -> Stage:
    return Stage(
        f"compiled-{name}-batch-{batch}",
        partial(measure_compiled, name=name, batch=batch),
        needs_seconds=45,
    )
