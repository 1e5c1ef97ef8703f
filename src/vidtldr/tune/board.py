"""The settings a search has tried, and how to try more."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from vidtldr.baselines.schedules import Layers
from vidtldr.budget.counts import latency_model
from vidtldr.budget.latency import LatencyModel
from vidtldr.config import MergeConfig
from vidtldr.hosts.registry import find_host
from vidtldr.tune.result import TUNED, Point
from vidtldr.tune.trials import Setting, Trials
from vidtldr.tune.ways import Way, flop_ratio_of

__all__ = ["Board", "Guess"]

_LayerMethod = tuple[str | None, str, str, bool]  # what the time of a merging layer depends on


@dataclass(frozen=True)
class Guess:
    """A point with the speed-up predicted from the model's layer times."""

    point: Point
    speedup: float

    @property
    def drift(self) -> float:
        """The drift of the point."""
        return self.point.drift

    @property
    def flop_ratio(self) -> float:
        """The FLOP ratio of the point."""
        return self.point.flop_ratio


class Board:
    """The points tried on all search clips, and the layer times of the device.

    Args:
        trials: Runs the settings.

    Attributes:
        points: In the order tried; a name has each setting at most once.
    """

    def __init__(self, trials: Trials) -> None:
        self.trials = trials
        self.model = trials.subject.model
        self.host = find_host(self.model)
        self.points: list[Point] = []
        self._latency: dict[_LayerMethod, LatencyModel] = {}
        self._timed: set[_LayerMethod] = set()

    def fits(self, way: Way, flop_ratio: float) -> bool:
        """Whether the layers of a way can reach this budget."""
        try:
            way.at(self.model, flop_ratio)
        except ValueError:  # everything else was checked before
            return False
        return True

    def best_first(self, ways: Sequence[Way], flop_ratio: float, num_clips: int) -> list[Way]:
        """Sort ways by their drift on the first clips; the sort is stable."""
        drifts = [self.drift(way, flop_ratio, num_clips) for way in ways]
        order = sorted(range(len(ways)), key=drifts.__getitem__)
        return [ways[place] for place in order]

    def drift(self, way: Way, flop_ratio: float, num_clips: int) -> float:
        """Return a way's mean drift on the first clips."""
        return self.trials.run(way.at(self.model, flop_ratio), num_clips).mean

    def add(self, way: Way, flop_ratio: float) -> Point:
        """Try a way at a budget on all clips."""
        return self.add_setting(TUNED, way.name, way.layers, way.at(self.model, flop_ratio))

    def add_setting(self, kind: str, name: str, layers: Layers, setting: Setting) -> Point:
        """Try a setting on all clips."""
        outcome = self.trials.run(setting, len(self.trials.clips))
        ratio = flop_ratio_of(self.model, setting)
        point = Point(kind, name, layers, setting, ratio, outcome)
        if point not in self.points:
            self.points.append(point)
        return point

    def of_kind(self, kind: str) -> list[Point]:
        """Return all points of a kind."""
        return [point for point in self.points if point.kind == kind]

    def of_way(self, way: Way) -> list[Point]:
        """Return a way's points at all its budgets."""
        return [p for p in self.of_kind(TUNED) if (p.name, p.layers) == (way.name, way.layers)]

    def predicted(self, way: Way, flop_ratio: float) -> float:
        """Predict a way's speed-up at a budget from layer times, measured on first use."""
        return self._speedup(way.at(self.model, flop_ratio).config)

    def guesses(self) -> list[Guess]:
        """Return the tuned points whose layers are already timed, with their predicted speed-up."""
        return [
            Guess(point, self._speedup(point.config))
            for point in self.of_kind(TUNED)
            if point.config is not None and _layer_method(point.config) in self._timed
        ]

    def _speedup(self, config: MergeConfig) -> float:
        """Cache predictions like trials, so that a resumed run takes the same path."""
        key = {
            "context": self.trials.context,
            "num_threads": torch.get_num_threads(),
            "predicted": config.to_dict(),
        }
        self._timed.add(_layer_method(config))
        speedup: float = self.trials.store.get(key, lambda: self._predict(config))
        return speedup

    def _predict(self, config: MergeConfig) -> float:
        method = _layer_method(config)
        if method not in self._latency:
            plain = replace(config, r=())
            self._latency[method] = latency_model(self.host, plain)
        return self._latency[method].speedup(tuple(config.r or ()))


def _layer_method(config: MergeConfig) -> _LayerMethod:
    return config.score, config.metric, config.linkage, config.protect > 0
