"""Supported model families, and those refused by name with the reason."""

import inspect

from torch import nn

from vidtldr.hosts.clip import CLIPHost, MetaCLIP2Host
from vidtldr.hosts.dinov2 import Dinov2Host, Dinov2WithRegistersHost
from vidtldr.hosts.dinov3 import DINOv3Host
from vidtldr.hosts.eva import EvaHost
from vidtldr.hosts.host import Host
from vidtldr.hosts.open_clip import OpenCLIPHost
from vidtldr.hosts.qwen_vl import (
    Qwen2VLHost,
    Qwen3VLHost,
    Qwen3VLMoeHost,
    Qwen35Host,
    Qwen35MoeHost,
)
from vidtldr.hosts.siglip import Siglip2Host, SiglipHost
from vidtldr.hosts.timesformer import TimesformerHost
from vidtldr.hosts.timm import TimmHost
from vidtldr.hosts.umt import UMTHost
from vidtldr.hosts.videomae import VideoMAEHost
from vidtldr.hosts.vit import DeiTHost, ViTHost
from vidtldr.hosts.vivit import VivitHost
from vidtldr.hosts.vjepa2 import VJEPA2Host
from vidtldr.hosts.xclip import XCLIPHost

__all__ = [
    "FAMILIES",
    "REFUSED",
    "find_host",
    "find_roots",
    "is_known",
    "register",
    "validate_module",
]

FAMILIES: list[type[Host]] = [
    VideoMAEHost,
    VivitHost,
    TimmHost,
    EvaHost,
    OpenCLIPHost,
    UMTHost,
    CLIPHost,
    MetaCLIP2Host,
    SiglipHost,
    Siglip2Host,
    XCLIPHost,
    TimesformerHost,
    Dinov2Host,
    Dinov2WithRegistersHost,
    DINOv3Host,
    VJEPA2Host,
    ViTHost,
    DeiTHost,
    Qwen2VLHost,
    Qwen3VLHost,
    Qwen3VLMoeHost,
    Qwen35Host,
    Qwen35MoeHost,
]

_GRID = (
    "it lays the tokens out on their grid again after the blocks, and a merged sequence has none"
)
_POST_NORM = (
    "it normalises what attention and MLP return, not what they read, and merging has not been "
    "tried in that order"
)
_PARALLEL = "attention and MLP read the same tokens side by side, and merging belongs between them"
_PER_FRAME = (
    "its later stages take token k of every frame for the same place, which merging would mix up"
)

REFUSED: dict[str, str] = {
    "transformers.models.videomae.modeling_videomae.VideoMAEForPreTraining": (
        "its decoder puts every visible token back in its place"
    ),
    "transformers.models.qwen2_5_vl.": (
        "28 of its 32 layers attend in windows that need a token at every place, and merging half "
        "of the tokens for the MLPs of the other four would save 4 % of the FLOPs"
    ),
    "transformers.models.internvl.": _GRID,
    "transformers.models.video_llava.": _GRID,
    "transformers.models.videoprism.": _PER_FRAME,
    "timm.models.eva.EvaBlockPostNorm": _POST_NORM,
    "timm.models.vision_transformer.ResPostBlock": _POST_NORM,
    "timm.models.vision_transformer.ParallelScalingBlock": _PARALLEL,
    "timm.models.vision_transformer.DiffParallelScalingBlock": _PARALLEL,
    "timm.models.vision_transformer.ParallelThingsBlock": _PARALLEL,
    "timm.models.beit.": "its attention adds a bias per pair of positions",
    "timm.models.hiera.": "its layers pool over a fixed order of tokens",
    "timm.models.mvitv2.": "its layers pool over the grid",
    "timm.models.swin_transformer.": "its attention works in windows of the grid",
}


def register(family: type[Host]) -> type[Host]:
    """Make a family of your own known to everything that takes a model; also as a decorator.

    Args:
        family: A subclass of `Host` with all of its abstract methods. Registering it again changes
            nothing.

    Returns:
        The same class.

    Raises:
        TypeError: If it is not such a class.
    """
    if not (isinstance(family, type) and issubclass(family, Host)):
        raise TypeError(f"family must be a subclass of Host, got {family!r}. Derive it from Host.")
    if inspect.isabstract(family):
        missing = ", ".join(sorted(family.__abstractmethods__))
        raise TypeError(
            f"family must define all abstract methods of Host, got {family.__name__} without "
            f"{missing}. Define them."
        )
    if family not in FAMILIES:
        FAMILIES.append(family)
    return family


def validate_module(model: object) -> None:
    """Check that a model is a module.

    Raises:
        TypeError: If it is not.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch module, got {type(model).__name__}. Load it first.")


def find_host(model: nn.Module) -> Host:
    """Find the one known model inside `model`, which may be a wrapper.

    Args:
        model: Any module.

    Returns:
        The host of the model found.

    Raises:
        TypeError: If `model` is not a module.
        NotImplementedError: If its family is refused; the message says why.
        ValueError: If no known family is inside, or more than one model.
    """
    validate_module(model)
    for module in model.modules():
        _refuse(module)
    hosts = [
        family.of(module)
        for module in model.modules()
        for family in FAMILIES
        if family.matches(module)
    ]
    if len(hosts) > 1:
        found = ", ".join(host.family for host in hosts)
        raise ValueError(
            f"model must hold one known model, got {len(hosts)} ({found}). Pass the one to merge "
            "in."
        )
    if not hosts:
        known = "; ".join(family.family for family in FAMILIES)
        raise ValueError(
            f"model must be of a known family ({known}), got {type(model).__name__}. Pass one of "
            "these."
        )
    hosts[0].model = model
    return hosts[0]


def find_roots(model: nn.Module) -> list[nn.Module]:
    """The known models inside `model`; `find_host` requires exactly one."""
    return [
        module for module in model.modules() if any(family.matches(module) for family in FAMILIES)
    ]


def is_known(model: nn.Module) -> bool:
    """Whether `find_host` finds a host."""
    try:
        find_host(model)
    except (NotImplementedError, ValueError):
        return False
    return True


def _refuse(module: nn.Module) -> None:
    names = [f"{c.__module__}.{c.__qualname__}" for c in type(module).__mro__]
    for prefix, reason in REFUSED.items():
        if any(name.startswith(prefix) for name in names):
            raise NotImplementedError(
                f"model must not hold a {type(module).__name__}: {reason}. Merging there is not "
                "supported."
            )
