"""What `bench latency` and `bench memory` measure, checked before the first measurement."""

import itertools
from dataclasses import dataclass
from typing import Any

import torch

from vidtldr.bench.speed import Setting
from vidtldr.bench.speed_peers import SpeedPeer, choose_peers
from vidtldr.cli.bench_subject import SubjectName, load_subject
from vidtldr.cli.quiet import quiet_transformers
from vidtldr.cli.speed_options import SpeedOptions
from vidtldr.cli.typed_dtype import typed_dtype
from vidtldr.hosts.budget import resolve_budget
from vidtldr.hosts.config import MergeConfig
from vidtldr.hosts.registry import find_host
from vidtldr.tasks.pretrained import resolve_device

__all__ = ["SpeedPlan", "plan_speed", "prepare"]


@dataclass(frozen=True)
class SpeedPlan:
    """A model at one size.

    Attributes:
        name: What to load.
        input_shape: Of one clip.
        merge: What to merge, as counts or shares.
        peers: What to compare, the unmerged model first.
        settings: Batches and dtypes.
    """

    name: SubjectName
    input_shape: tuple[int, ...]
    merge: MergeConfig
    peers: list[SpeedPeer]
    settings: list[Setting]

    def schedule(self) -> dict[str, Any]:
        """What is merged, ready for JSON."""
        return {"input_shape": self.input_shape, "merge": self.merge.to_dict()}


def prepare(speed: SpeedOptions) -> torch.device:
    """Check device and dtypes and set the number of threads.

    Raises:
        ValueError: If the device is not there or does not compute a dtype.
    """
    device = resolve_device(speed.device)
    for dtype in speed.parse_dtypes():
        typed_dtype(dtype, device)  # refuses those that the device does not compute
    if speed.threads is not None:
        torch.set_num_threads(speed.threads)
    quiet_transformers()
    return device


def plan_speed(
    speed: SpeedOptions, config: MergeConfig | None, choices: dict[str, Any]
) -> list[SpeedPlan]:
    """Load the model at every size, and let it go, to find every mistake before hours are spent.

    Args:
        speed: As typed.
        config: What to merge; None for a schedule of the model's own.
        choices: Score and metric of the latter.

    Raises:
        ValueError, OSError, NotImplementedError, ImportError: With what is wrong and what to do.
    """
    plans = []
    for frames, side in itertools.product(speed.counts("frames"), speed.counts("sizes")):
        name = SubjectName(speed.model, speed.arch, frames, side, speed.device)
        subject = load_subject(name)
        # One schedule for all peers, dtypes and processes; a speed-up is predicted in float32.
        asked = config or MergeConfig(r=subject.r, **choices)
        merge = resolve_budget(asked, find_host(subject.model))
        peers = choose_peers(merge, speed.parse_peers(), with_compiled=speed.compiled)
        for peer in peers:
            peer.build(subject.model)
        settings = []
        for batch, dtype in itertools.product(speed.counts("batches"), speed.parse_dtypes()):
            assert batch is not None  # it has a default
            settings.append(Setting(batch, dtype, subject.num_frames, subject.image_size))
        plans.append(SpeedPlan(name, subject.input_shape, merge, peers, settings))
        del subject  # before the next is loaded
    return plans
