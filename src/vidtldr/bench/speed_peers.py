"""What is set against each other in `bench latency` and `bench memory`, by name.

Every peer has the weights of one model: unmerged in three ways, merged by every score, ToMe, and
merging as the authors' program does it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import nn

from vidtldr.bench.materialised import eager_twin, materialised_twin
from vidtldr.hosts.compiling import compile_model
from vidtldr.hosts.config import SCORES, MergeConfig
from vidtldr.hosts.twin import merged_twin, twin

__all__ = ["MERGED", "UNMERGED", "SpeedPeer", "choose_peers", "speed_peers"]

UNMERGED, MERGED = "unmerged", "merged"


@dataclass(frozen=True)
class SpeedPeer:
    """One way to run a model.

    Attributes:
        name: What tables call it.
        build: Makes it of the unpatched model, whose weights it shares.
        reference: The peer whose outputs it must have; None for outputs of its own.
        counts_as: The peer whose operations it has; None to count them on it itself.
    """

    name: str
    build: Callable[[nn.Module], nn.Module]
    reference: str | None = None
    counts_as: str | None = None


def speed_peers(config: MergeConfig) -> Mapping[str, SpeedPeer]:
    """All peers at one schedule, by name.

    Args:
        config: The schedule, and the score and metric of `merged`.
    """
    plain = replace(config, score=None, metric="x")
    paper = replace(config, score="sharpness", metric="x")
    # What is drawn by chance has another outcome in every forward.
    merged_again = None if config.metric == "random" else MERGED
    peers = [
        SpeedPeer(UNMERGED, twin),
        SpeedPeer("unmerged, eager", eager_twin, UNMERGED),
        SpeedPeer("unmerged, compiled", lambda m: compile_model(twin(m)), UNMERGED, UNMERGED),
        SpeedPeer(MERGED, lambda m: merged_twin(m, config)),
        SpeedPeer(
            "merged, compiled",
            lambda m: compile_model(merged_twin(m, config)),
            merged_again,
            MERGED,
        ),
    ]
    for score in SCORES:
        scored = replace(plain, score=score)
        if scored != config:
            name = f"merged by {score or 'nothing'}"
            peers.append(SpeedPeer(name, lambda m, scored=scored: merged_twin(m, scored)))  # type: ignore[misc]
    tome = replace(config, score=None, metric="keys")
    if tome != config:
        peers.append(SpeedPeer("ToMe", lambda m: merged_twin(m, tome)))
    # With another score it has no peer to equal.
    twin_of_paper = MERGED if config == paper else "merged by sharpness"
    peers.append(SpeedPeer("materialised", lambda m: materialised_twin(m, paper), twin_of_paper))
    return {peer.name: peer for peer in peers}


def choose_peers(
    config: MergeConfig, names: Sequence[str] | None, *, with_compiled: bool = False
) -> list[SpeedPeer]:
    """The peers of these names and those that they are compared with, the unmerged model first.

    Args:
        config: As for `speed_peers`.
        names: Names; None for all.
        with_compiled: Whether all means compiled ones, too, which need a compiler and time.

    Raises:
        ValueError: If there is no peer of a name; the message lists them.
    """
    peers = speed_peers(config)
    unknown = [name for name in names or () if name not in peers]
    if unknown:
        raise ValueError(
            f"peers must be among {'; '.join(peers)}, got {unknown[0]!r}. Write them as here, with "
            "semicolons between."
        )
    if names is None:
        chosen = {n for n, peer in peers.items() if with_compiled or peer.counts_as is None}
    else:
        needed = [peers[name] for name in names]
        chosen = {UNMERGED, *names}
        chosen |= {other for peer in needed for other in (peer.reference, peer.counts_as) if other}
    return [peer for name, peer in peers.items() if name in chosen]
