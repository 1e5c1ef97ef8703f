"""One line to apply, one to undo, and a way to look."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from functools import partial
from types import MethodType
from typing import Any, TypedDict, TypeVar, Unpack

from torch import Tensor, nn

from vidtldr.hosts.config import Impl, MergeConfig, Metric, Score
from vidtldr.hosts.host import Host
from vidtldr.hosts.merging_forward import MergingForward, merging_forward_of
from vidtldr.hosts.registry import find_host
from vidtldr.hosts.trace import Trace

__all__ = ["apply_patch", "patched", "remove_patch", "trace"]

ModelT = TypeVar("ModelT", bound=nn.Module)


class _Fields(TypedDict, total=False):
    """The fields of `MergeConfig` as keywords."""

    r: Sequence[int] | None
    ratio: Sequence[float] | None
    score: Score | None
    metric: Metric
    impl: Impl


def apply_patch(
    model: ModelT, config: MergeConfig | None = None, **merge_fields: Unpack[_Fields]
) -> ModelT:
    """Make a loaded model merge background tokens; in place.

    Blocks from the first merging layer on get another `forward`; those before it, the weights and
    the config stay as they are. With a schedule of zeros nothing is changed at all. Applying again
    replaces the schedule.

    Args:
        model: A model of a known family, or a module that holds one.
        config: What to merge and how. Or give its fields as keywords:
        **merge_fields: `r`, `ratio`, `score`, `metric`, `impl` of `MergeConfig`.

    Returns:
        The same model.

    Raises:
        ValueError: If the schedule does not fit the model (the message names the limit), the family
            is not known, both `config` and fields are given, or the model is already compiled.
        TypeError: If an argument is of the wrong type.
        NotImplementedError: If the family is refused, the model is spread over several devices, or
            something else already exchanged a block's forward.
    """
    config = _config_of(config, merge_fields)
    host = find_host(model)
    _refuse_compiled(model)
    _refuse_several_devices(model)
    num_mergeable = None if host.num_tokens is None else host.num_tokens - host.num_prefix_tokens
    config.validate_for(len(host.blocks), num_mergeable)
    first = config.first_merging_layer
    merging = [] if first is None else range(first, len(host.blocks))
    for layer in merging:
        _validate_replaceable(host.blocks[layer], layer)
    remove_patch(model)
    for layer in merging:
        _install(host, layer, config)
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
    patched_blocks = [
        module for module in model.modules() if merging_forward_of(module) is not None
    ]
    if patched_blocks:
        _refuse_compiled(model)
    for block in patched_blocks:
        if isinstance(
            vars(block).get("_old_forward"), MergingForward
        ):  # behind a hook of accelerate
            block.__dict__["_old_forward"] = MethodType(type(block).forward, block)
        else:
            del block.__dict__["forward"]
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
    before = _current_config(model)
    apply_patch(model, config, **merge_fields)
    try:
        yield model
    finally:
        remove_patch(model) if before is None else apply_patch(model, before)


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
    _refuse_compiled(model)
    recorded = Trace()
    handles = [host.blocks[0].register_forward_pre_hook(partial(_start, recorded))]
    handles += [
        block.register_forward_hook(partial(_record, recorded, i))
        for i, block in enumerate(host.blocks)
    ]
    forwards = [f for f in map(merging_forward_of, host.blocks) if f is not None]
    try:
        for forward in forwards:
            forward.trace = recorded
        yield recorded
    finally:
        for forward in forwards:
            forward.trace = None
        for handle in handles:
            handle.remove()


def _start(recorded: Trace, _block: nn.Module, args: tuple[Tensor, ...]) -> None:
    recorded.start(args[0])


def _record(recorded: Trace, layer: int, _block: nn.Module, _args: Any, output: Tensor) -> None:
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
    return next((forward.config for forward in forwards if forward is not None), None)


def _install(host: Host, layer: int, config: MergeConfig) -> None:
    block = host.blocks[layer]
    # Where accelerate's hook took the place of `forward`, it calls `_old_forward`.
    name = "_old_forward" if "_old_forward" in vars(block) else "forward"
    block.__dict__[name] = MergingForward(host, layer, config)


def _validate_replaceable(block: nn.Module, layer: int) -> None:
    """Refuse a block whose forward something else exchanged: that would be undone in silence."""
    if merging_forward_of(block) is not None:
        return
    own = vars(block).get("_old_forward", vars(block).get("forward"))
    if own is not None and getattr(own, "__func__", None) is not type(block).forward:
        raise NotImplementedError(
            f"block {layer} must have its class's own forward, got {own!r}: something else "
            "exchanged it. "
            "Undo that first, and do it again after apply_patch."
        )


def _refuse_compiled(model: nn.Module) -> None:
    for module in model.modules():
        if hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None:
            raise ValueError(
                "model must not be compiled yet, got a compiled module: its graph would go on "
                "without the change. "
                "Patch the model first and compile it then; to change it, compile a fresh one."
            )


def _refuse_several_devices(model: nn.Module) -> None:
    for module in model.modules():
        places = set(map(str, (getattr(module, "hf_device_map", None) or {}).values())) - {
            "cpu",
            "disk",
        }
        if len(places) > 1:
            raise NotImplementedError(
                f"model must run on one device, got {sorted(places)}: tokens lose their mass "
                "between devices. "
                "Load it with device_map={'': device}."
            )
