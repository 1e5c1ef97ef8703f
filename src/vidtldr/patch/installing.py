"""Put a patch on a model and take it off.

Everything lies in the instance dictionaries of modules, in place of methods of their classes, but
for one hook on the root.
"""

from collections.abc import Iterable
from types import MethodType

from torch import nn

from vidtldr.budget.by_size import BudgetBySize
from vidtldr.config import MergeConfig
from vidtldr.hosts.host import Host
from vidtldr.hosts.registry import beside_video_towers
from vidtldr.patch.made_masks import MadeMasks
from vidtldr.patch.merging_forward import MergingForward, merging_forward_of
from vidtldr.patch.pooling import PoolingByMass, StepByMass
from vidtldr.patch.replicas import Replacement, Replicating
from vidtldr.patch.under_way import UnderWay

__all__ = ["NoGrid", "current_config", "install", "refuse_forwards_elsewhere", "remove"]


def current_config(model: nn.Module) -> MergeConfig | None:
    """The config passed to `apply_patch` for a model; None without a patch.

    Where `find_host` passes over a second tower, so does this.
    """
    forwards = map(merging_forward_of, _modules_of(model))
    return next((each.asked for each in forwards if each and not each.under_way.is_over), None)


def _modules_of(model: nn.Module) -> list[nn.Module]:
    spared = beside_video_towers(model)
    return [module for module in model.modules() if id(module) not in spared]


def _forwards(modules: Iterable[nn.Module]) -> list[MergingForward]:
    return [forward for forward in map(merging_forward_of, modules) if forward is not None]


def refuse_forwards_elsewhere(model: nn.Module) -> None:
    """Check that no other thread is in the middle of a forward that merges.

    Raises:
        RuntimeError: If one is.
    """
    if any(forward.under_way.is_elsewhere() for forward in _forwards(model.modules())):
        raise RuntimeError(
            "model must not run in another thread while it is patched, got a forward that merges. "
            "Patch it once before the threads start, or give each of them a copy."
        )


def install(
    host: Host,
    first: int,
    schedule: MergeConfig,
    asked: MergeConfig,
    by_size: BudgetBySize | None = None,
) -> None:
    """Let the blocks of a model without a patch merge.

    Args:
        host: The model.
        first: The first merging layer.
        schedule: What to merge, with a budget resolved to counts and the output resolved.
        asked: The config as passed by the user.
        by_size: Resolves its budget in each forward, if it is not resolved yet.
    """
    under_way, masks = UnderWay(), MadeMasks()
    masks.put_on(host.root)
    for name in host.grid_methods if schedule.output == "tokens" else ():
        host.root.__dict__[name] = NoGrid(name)
    for module in host.grid_modules() if schedule.output == "tokens" else ():
        module.__dict__["forward"] = NoGrid(type(module).__name__)
    if schedule.pooling == "mass":
        if host.pooling_method is not None:
            _put(PoolingByMass(host, under_way), host.pooling_method)
        for step in host.pooling_steps():
            _put(StepByMass(host, step, under_way))
    # The last layer first: tokens that merge find every later layer merging.
    for layer in reversed(range(first, len(host.blocks))):
        _put(MergingForward(host, layer, schedule, asked, under_way, by_size, masks))


def _put(replacement: Replacement, name: str | None = None) -> None:
    module = replacement.module
    if name is None:
        # Where an accelerate hook replaced `forward`, it calls `_old_forward`.
        name = "_old_forward" if "_old_forward" in vars(module) else "forward"
    module.__dict__[name] = replacement
    module.__dict__["_replicate_for_data_parallel"] = Replicating(module)


def remove(model: nn.Module, *, everywhere: bool = False) -> None:
    """Remove what a patch put on a model, as soon as no other thread is in the middle of it.

    Args:
        model: The model.
        everywhere: Whether also from a second tower, which was patched by itself.
    """
    modules = list(model.modules()) if everywhere else _modules_of(model)
    forwards = _forwards(modules)
    for forward in forwards:
        forward.under_way.is_over = True
    is_used = any(forward.under_way.is_elsewhere() for forward in forwards)
    for module in modules:
        if not is_used:
            MadeMasks.take_off(module)
        for name, value in list(vars(module).items()):
            if isinstance(value, NoGrid) or (isinstance(value, Replacement) and not is_used):
                del module.__dict__[name]
                if name == "_old_forward":  # behind accelerate's hook, which goes on calling it
                    module.__dict__[name] = MethodType(type(module).forward, module)


class NoGrid:
    """Replacement, while the model merges, for a method that needs tokens on their grid."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, *_: object, **__: object) -> object:
        """Refuse.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError(
            f"{self.name} must be called on an unmerged model, got a merging one: merged tokens "
            "have no grid. Patch it with output='grid', or call remove_patch(model)."
        )
