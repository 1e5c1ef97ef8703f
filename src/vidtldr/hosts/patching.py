"""One line to apply, one to undo, and a way to look."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from functools import partial
from types import MethodType
from typing import TypedDict, TypeVar, Unpack

from torch import Tensor, nn

from vidtldr.hosts.budget import resolve_budget
from vidtldr.hosts.config import Impl, MergeConfig, Metric, Pooling, Score, Weighting
from vidtldr.hosts.host import Host
from vidtldr.hosts.merging_forward import MergingForward, PoolingByMass, merging_forward_of
from vidtldr.hosts.refusals import (
    refuse_compiled,
    refuse_several_devices,
    validate_blocks,
    validate_module,
)
from vidtldr.hosts.registry import find_host
from vidtldr.hosts.trace import Trace, activated, active_traces_of

__all__ = ["apply_patch", "patched", "remove_patch", "trace"]

ModelT = TypeVar("ModelT", bound=nn.Module)


class _Fields(TypedDict, total=False):
    """The fields of `MergeConfig` as keywords."""

    r: Sequence[int] | None
    ratio: Sequence[float] | None
    flop_ratio: float | None
    num_tokens: int | None
    speedup: float | None
    layers: Sequence[int] | None
    score: Score | None
    metric: Metric
    weighting: Weighting
    pooling: Pooling
    impl: Impl


def apply_patch(
    model: ModelT, config: MergeConfig | None = None, **merge_fields: Unpack[_Fields]
) -> ModelT:
    """Make a loaded model merge background tokens; in place.

    Blocks from the first merging layer on get another `forward`; those before it, the weights and
    the config stay as they are. With a schedule of zeros nothing is changed at all. Applying again
    replaces the schedule. In training, gradients flow through the tokens; which of them merge, and
    by what weight, counts as constant.

    Args:
        model: A model of a known family, or a module that holds one.
        config: What to merge and how. Or give its fields as keywords:
        **merge_fields: The fields of `MergeConfig`, such as `r=[600, 200, 100]`.

    Returns:
        The same model.

    Raises:
        ValueError: If the schedule or budget does not fit the model (the message names the limit),
            the family is not known, both `config` and fields are given, or the model is already
            compiled.
        TypeError: If an argument is of the wrong type.
        NotImplementedError: If the family is refused, the model is spread over several devices, or
            something else already exchanged a block's forward.
    """
    config = _config_of(config, merge_fields)
    host = find_host(model)
    refuse_compiled(model)
    refuse_several_devices(model)
    num_mergeable = None if host.num_tokens is None else host.num_tokens - host.num_prefix_tokens
    if config.pooling == "mass" and host.pooling_method is None:
        raise NotImplementedError(
            f"pooling must be 'tokens' for {host.family}, got 'mass'. Leave it out."
        )
    schedule = resolve_budget(config, host)
    schedule.validate_for(len(host.blocks), num_mergeable)
    first = schedule.first_merging_layer
    if first is not None:
        validate_blocks(host, first)
    _remove(model)
    if first is not None:
        for layer in range(first, len(host.blocks)):
            _install(host, layer, schedule, config)
        for name in host.grid_methods:
            host.root.__dict__[name] = NoGrid(name)
        if host.pooling_method is not None and config.pooling == "mass":
            host.root.__dict__[host.pooling_method] = PoolingByMass(host)
    return model


def remove_patch(model: ModelT) -> ModelT:
    """Give a model its own forward back; in place. A model without a patch stays as it is.

    Args:
        model: What `apply_patch` was called on.

    Returns:
        The same model, with outputs bit for bit as before `apply_patch`.

    Raises:
        ValueError: If the model was compiled with the patch on.
    """
    validate_module(model)
    if _current_config(model) is not None:
        refuse_compiled(model)
    _remove(model)
    return model


@contextmanager
def patched(
    model: ModelT, config: MergeConfig | None = None, **merge_fields: Unpack[_Fields]
) -> Iterator[ModelT]:
    """Merge inside a `with` and leave the model as it was found.

    Args:
        model: As for `apply_patch`.
        config: As for `apply_patch`.
        **merge_fields: As for `apply_patch`.

    Yields:
        The same model.

    Raises:
        ValueError, TypeError, NotImplementedError: As `apply_patch`.
    """
    validate_module(model)
    before = _current_config(model)
    apply_patch(model, config, **merge_fields)
    try:
        yield model
    finally:
        _remove(model)  # without questions: an exception on its way must not be hidden
        if before is not None:
            apply_patch(model, before)


@contextmanager
def trace(model: nn.Module) -> Iterator[Trace]:
    """Record what the last forward inside a `with` merged.

    Args:
        model: A model of a known family, patched or not. Recording costs a little time in merging
            layers.

    Yields:
        The trace; read it after a forward.

    Raises:
        ValueError: If the family is not known or the model is compiled, where nothing can be
            recorded.
        NotImplementedError: If the family is refused.
    """
    host = find_host(model)
    refuse_compiled(model)
    recorded = Trace(host.blocks)
    handles = [host.blocks[0].register_forward_pre_hook(partial(_start, recorded))]
    for layer, block in enumerate(host.blocks):
        handles.append(block.register_forward_hook(partial(_record, recorded, layer)))
    try:
        with activated(recorded):
            yield recorded
    finally:
        for handle in handles:
            handle.remove()


def _start(recorded: Trace, block: nn.Module, args: tuple[Tensor, ...]) -> None:
    if recorded in active_traces_of(block):  # another thread may run the same model meanwhile
        recorded.start(args[0])


def _record(recorded: Trace, layer: int, block: nn.Module, _args: object, output: Tensor) -> None:
    if recorded in active_traces_of(block):
        recorded.record_tokens(layer, output.shape[1])


def _config_of(config: MergeConfig | None, merge_fields: _Fields) -> MergeConfig:
    if config is None:
        unknown = set(merge_fields) - {field.name for field in fields(MergeConfig)}
        if unknown:
            known = ", ".join(field.name for field in fields(MergeConfig))
            raise TypeError(
                f"keywords must be fields of MergeConfig ({known}), got {sorted(unknown)}. Check "
                "the name."
            )
        return MergeConfig(**merge_fields)
    if not isinstance(config, MergeConfig):
        raise TypeError(
            f"config must be a MergeConfig, got {config!r}. For a schedule write r=[600, 200, 100]."
        )
    if merge_fields:
        raise ValueError(
            f"config and its fields must not be given together, got {sorted(merge_fields)}. Use "
            "one way."
        )
    return config


def _current_config(model: nn.Module) -> MergeConfig | None:
    forwards = (merging_forward_of(module) for module in model.modules())
    return next((forward.asked for forward in forwards if forward is not None), None)


def _install(host: Host, layer: int, schedule: MergeConfig, asked: MergeConfig) -> None:
    block = host.blocks[layer]
    # Where accelerate's hook took the place of `forward`, it calls `_old_forward`.
    name = "_old_forward" if "_old_forward" in vars(block) else "forward"
    block.__dict__[name] = MergingForward(host, layer, schedule, asked)


def _remove(model: nn.Module) -> None:
    for module in model.modules():
        for name, value in list(vars(module).items()):
            if isinstance(value, NoGrid | PoolingByMass):
                del module.__dict__[name]
        if isinstance(vars(module).get("_old_forward"), MergingForward):  # behind accelerate's hook
            module.__dict__["_old_forward"] = MethodType(type(module).forward, module)
        elif isinstance(vars(module).get("forward"), MergingForward):
            del module.__dict__["forward"]


class NoGrid:
    """Stands in for a method that lays tokens out on their grid, while the model merges."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *_: object, **__: object) -> object:
        """Refuse.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError(
            f"{self.name} must be called on an unmerged model, got a merging one: merged tokens "
            "have no grid. Call remove_patch(model), or unmerge_tokens on the model's output."
        )
