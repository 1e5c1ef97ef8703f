"""Supported model families, and those refused by name with the reason."""

import inspect

from torch import nn

from vidtldr.hosts.clip import CLIPHost, MetaCLIP2Host
from vidtldr.hosts.dinov2 import Dinov2Host, Dinov2WithRegistersHost
from vidtldr.hosts.dinov3 import DINOv3Host
from vidtldr.hosts.eva import EvaHost
from vidtldr.hosts.host import Host, is_a
from vidtldr.hosts.idefics import Idefics2Host, Idefics3Host, SmolVLMHost
from vidtldr.hosts.internvideo2 import InternVideo2Host, PublishedInternVideo2Host
from vidtldr.hosts.internvl import InternVLHost
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
    "beside_video_towers",
    "find_host",
    "find_roots",
    "is_known",
    "module_in",
    "register",
]

FAMILIES: list[type[Host]] = [
    VideoMAEHost,
    VivitHost,
    TimmHost,
    EvaHost,
    OpenCLIPHost,
    UMTHost,
    InternVideo2Host,
    PublishedInternVideo2Host,
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
    InternVLHost,
    Idefics2Host,
    Idefics3Host,
    SmolVLMHost,
    Qwen2VLHost,
    Qwen3VLHost,
    Qwen3VLMoeHost,
    Qwen35Host,
    Qwen35MoeHost,
]

_PIPELINE = "transformers.pipelines.base.Pipeline"
# Models of several towers, and the one that merges: the others run unmerged.
_VIDEO_TOWERS = {
    "transformers.models.video_llava.modeling_video_llava.VideoLlavaModel": "video_tower",
}

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


def module_in(model: object) -> nn.Module:
    """Return a module itself, or the one that a pipeline of transformers holds.

    Raises:
        TypeError: If it is neither.
    """
    held = getattr(model, "model", None) if is_a(model, _PIPELINE) else model
    if not isinstance(held, nn.Module):
        raise TypeError(
            f"model must be a torch module or a pipeline of transformers, got "
            f"{type(model).__name__}. Load it first."
        )
    return held


def find_host(model: object) -> Host:
    """Find the one known model inside `model`, which may be a wrapper.

    Of Video-LLaVA's two towers it is that of videos.

    Args:
        model: Any module, or a pipeline of transformers.

    Returns:
        The host of the model found.

    Raises:
        TypeError: If `model` is neither.
        NotImplementedError: If its family is refused; the message says why.
        ValueError: If no known family is inside, or more than one model.
    """
    model = module_in(model)
    for module in model.modules():
        _refuse(module)
    hosts = [
        family.of(root) for root in find_roots(model) for family in FAMILIES if family.matches(root)
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
    passed_over = beside_video_towers(model)
    return [
        module
        for module in model.modules()
        if id(module) not in passed_over and any(family.matches(module) for family in FAMILIES)
    ]


def beside_video_towers(model: nn.Module) -> set[int]:
    """The modules of everything that stands beside a tower of `_VIDEO_TOWERS`."""
    others = (
        other
        for holder in model.modules()
        for name, tower in _VIDEO_TOWERS.items()
        if is_a(holder, name)
        for other in holder.children()
        if other is not getattr(holder, tower)
    )
    return {id(module) for other in others for module in other.modules()}


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
