"""Apply a patch, remove it, and trace what it merges."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import fields, replace
from functools import partial
from os import PathLike
from typing import Any, TypeVar, overload

from torch import Tensor, nn

from vidtldr.budget.by_size import budget_by_size
from vidtldr.budget.counts import resolve_budget
from vidtldr.config import (
    PROVENANCE,
    Impl,
    Linkage,
    MergeConfig,
    Metric,
    Output,
    Pooling,
    Score,
    Weighting,
)
from vidtldr.config_file import read_config
from vidtldr.hosts.host import Host
from vidtldr.hosts.registry import find_host, module_in
from vidtldr.patch.installing import current_config, install, refuse_forwards_elsewhere, remove
from vidtldr.patch.merging_forward import merging_forward_of, tokens_of
from vidtldr.patch.refusals import (
    refuse_compiled,
    refuse_several_devices,
    validate_blocks,
    validate_pooling_steps,
)
from vidtldr.patch.trace import Trace, activated, active_traces_of
from vidtldr.patch.under_way import changing

__all__ = ["apply_patch", "current_config", "patched", "remove_patch", "trace"]

ModelT = TypeVar("ModelT")
_KEYWORDS = [each.name for each in fields(MergeConfig) if each.name not in PROVENANCE]

_FunctionT = TypeVar("_FunctionT", bound=Callable[..., Any])


def _shows_fields(function: _FunctionT) -> _FunctionT:
    """Make `help` show what `MergeConfig` merges by, with types and defaults, as keywords."""
    own = inspect.signature(function)
    given = [each for each in own.parameters.values() if each.kind is not each.VAR_KEYWORD]
    fields = inspect.signature(MergeConfig).parameters
    keywords = [fields[name].replace(kind=inspect.Parameter.KEYWORD_ONLY) for name in _KEYWORDS]
    function.__signature__ = own.replace(parameters=[*given, *keywords])  # type: ignore[attr-defined]
    return function


@overload
def apply_patch(model: ModelT, config: MergeConfig | str | PathLike[str]) -> ModelT: ...


@overload
def apply_patch(
    model: ModelT,
    config: None = None,
    *,
    r: Sequence[int] | None = None,
    ratio: Sequence[float] | None = None,
    flop_ratio: float | None = None,
    num_tokens: int | None = None,
    speedup: float | None = None,
    layers: Sequence[int] | None = None,
    score: Score | None = ...,
    metric: Metric = "x",
    linkage: Linkage = ...,
    weighting: Weighting = ...,
    protect: float = 0.0,
    spare_norms: float | None = None,
    pooling: Pooling = "tokens",
    output: Output = "auto",
    impl: Impl = "auto",
    preset: str | None = None,
) -> ModelT: ...


@_shows_fields
def apply_patch(
    model: ModelT, config: MergeConfig | str | PathLike[str] | None = None, **merge_fields: Any
) -> ModelT:
    """Make a loaded model merge background tokens, in place.

    Blocks from the first merging layer on get a new `forward`; earlier blocks, the weights and the
    model's config are unchanged. A schedule of zeros changes nothing. Applying again replaces the
    schedule. In training, gradients flow through the tokens; which of them merge, and with what
    weight, is treated as constant.

    Args:
        model: A model of a known family, or what holds one: a module of yours, a language model, a
            SentenceTransformer, a pipeline of transformers.
        config: What to merge and how; or the directory, file or hub id of a saved config, as in
            `MergeConfig.from_pretrained`. Alternatively, pass its fields as keywords:
        **merge_fields: Fields of `MergeConfig`, such as `r=[600, 200, 100]`.

    Returns:
        The same model.

    Raises:
        ValueError: If the schedule or budget does not fit the model (the message names the limit),
            the family is not known, both `config` and fields are given, the config was made for
            another kind of model, or the model is already compiled.
        FileNotFoundError: If there is no such saved config, here or on the hub.
        TypeError: If an argument is of the wrong type.
        NotImplementedError: If the family is refused, the model is spread over several devices, or
            something else already replaced a block's forward.
        RuntimeError: If another thread patches the model too, is inside `patched`, or runs a
            forward that merges.
    """
    config = _config_of(config, merge_fields)
    module = module_in(model)
    host = find_host(module)
    with changing(module):
        _change(module, host, config)
    return model


def _change(model: nn.Module, host: Host, config: MergeConfig) -> None:
    refuse_compiled(model)
    refuse_several_devices(model)
    config.validate_kind(host.kind)
    if config.pooling == "mass" and not host.pools_by_mass:
        raise NotImplementedError(
            f"pooling must be 'tokens' for {type(host.model).__name__} ({host.family}), got "
            "'mass': nothing known in it pools tokens by mass. Pass output='grid' if it takes "
            "their mean, or leave it out."
        )
    output = host.output_of(config.output, config.pooling)
    by_size = budget_by_size(config, host)
    schedule = replace(config if by_size else resolve_budget(config, host), output=output)
    if by_size is None:
        schedule.validate_for(len(host.blocks), host.num_mergeable)
    first = (by_size or schedule).first_merging_layer
    if first is not None:
        validate_blocks(host, first)
        if config.pooling == "mass":
            validate_pooling_steps(host)
    host.warn_about_weights()
    refuse_forwards_elsewhere(model)
    remove(model)
    refuse_forwards_elsewhere(model)  # one that started meanwhile
    if first is not None:
        install(host, first, schedule, config, by_size)


def remove_patch(model: ModelT) -> ModelT:
    """Restore a model's own forward, in place. A model without a patch is unchanged.

    A forward that is merging in another thread ends as it began.

    Args:
        model: The model that `apply_patch` was called on.

    Returns:
        The same model, with outputs bit-identical to those before `apply_patch`.

    Raises:
        ValueError: If the model was compiled with the patch on.
        RuntimeError: If another thread patches the model or is inside `patched`.
    """
    module = module_in(model)
    with changing(module):
        if any(merging_forward_of(each) is not None for each in module.modules()):
            refuse_compiled(module)
        remove(module, everywhere=True)
    return model


@overload
def patched(
    model: ModelT, config: MergeConfig | str | PathLike[str]
) -> AbstractContextManager[ModelT]: ...


@overload
def patched(
    model: ModelT,
    config: None = None,
    *,
    r: Sequence[int] | None = None,
    ratio: Sequence[float] | None = None,
    flop_ratio: float | None = None,
    num_tokens: int | None = None,
    speedup: float | None = None,
    layers: Sequence[int] | None = None,
    score: Score | None = ...,
    metric: Metric = "x",
    linkage: Linkage = ...,
    weighting: Weighting = ...,
    protect: float = 0.0,
    spare_norms: float | None = None,
    pooling: Pooling = "tokens",
    output: Output = "auto",
    impl: Impl = "auto",
    preset: str | None = None,
) -> AbstractContextManager[ModelT]: ...


@_shows_fields
@contextmanager
def patched(
    model: ModelT, config: MergeConfig | str | PathLike[str] | None = None, **merge_fields: Any
) -> Iterator[ModelT]:
    """Merge inside a `with` block and restore the model afterwards.

    Args:
        model: As for `apply_patch`.
        config: As for `apply_patch`.
        **merge_fields: As for `apply_patch`.

    Yields:
        The same model.

    Raises:
        ValueError, TypeError, NotImplementedError, RuntimeError, FileNotFoundError: As
            `apply_patch`.
    """
    module = module_in(model)
    with changing(module):
        before = current_config(module)
        apply_patch(module, config, **merge_fields)
        try:
            yield model
        finally:
            remove(module)  # without questions: an exception on its way must not be hidden
            if before is not None:
                _change(module, find_host(module), before)


@contextmanager
def trace(model: object) -> Iterator[Trace]:
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
    refuse_compiled(module_in(model))
    recorded = Trace(host.blocks)
    start, record = partial(_start, recorded, host), partial(_record, recorded, host)
    handles = [host.blocks[0].register_forward_pre_hook(start, with_kwargs=True)]
    for layer, block in enumerate(host.blocks):
        handles.append(block.register_forward_hook(partial(record, layer), with_kwargs=True))
    try:
        with activated(recorded):
            yield recorded
    finally:
        for handle in handles:
            handle.remove()


def _start(
    recorded: Trace, host: Host, block: nn.Module, args: tuple[Tensor, ...], inputs: dict[str, Any]
) -> None:
    if recorded in active_traces_of(block):  # another thread may run the same model meanwhile
        recorded.start(tokens_of(args[0], host, inputs))


def _record(
    recorded: Trace,
    host: Host,
    layer: int,
    block: nn.Module,
    _args: object,
    inputs: dict[str, Any],
    output: Any,
) -> None:
    if recorded in active_traces_of(block):
        x = output[0] if isinstance(output, tuple) else output
        recorded.record_tokens(layer, tokens_of(x, host, inputs).shape[1])


def _config_of(
    config: MergeConfig | str | PathLike[str] | None, merge_fields: Mapping[str, Any]
) -> MergeConfig:
    if config is None:
        unknown = set(merge_fields) - set(_KEYWORDS)
        if unknown:
            raise TypeError(
                f"keywords must be fields of MergeConfig ({', '.join(_KEYWORDS)}), got "
                f"{sorted(unknown)}. Check the name."
            )
        return MergeConfig(**merge_fields)
    if not isinstance(config, MergeConfig | str | PathLike):
        raise TypeError(
            f"config must be a MergeConfig, or the name of a saved one, got {config!r}. For a "
            "schedule write r=[600, 200, 100]."
        )
    if merge_fields:
        raise ValueError(
            f"config and its fields must not be given together, got {sorted(merge_fields)}. Use "
            "one way."
        )
    return config if isinstance(config, MergeConfig) else read_config(config, "config")
