"""What a search has tried so far, and how to try one more."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from vidtldr.bench.quality_methods import Layers
from vidtldr.hosts.budget import latency_model
from vidtldr.hosts.config import MergeConfig
from vidtldr.hosts.registry import find_host
from vidtldr.method.latency import LatencyModel
from vidtldr.tune.result import TUNED, Point
from vidtldr.tune.trials import Setting, Trials
from vidtldr.tune.ways import Way, flop_ratio_of

__all__ = ["Board", "Guess"]


@dataclass(frozen=True)
class Guess:
    """A point with its speed-up as the times of the model's layers predict it."""

    point: Point
    speedup: float

    @property
    def drift(self) -> float:
        """Of the point."""
        return self.point.drift

    @property
    def flop_ratio(self) -> float:
        """Of the point."""
        return self.point.flop_ratio


class Board:
    """Points that were tried on all clips, and the device's times of layers.

    Args:
        trials: Runs the settings.

    Attributes:
        points: In the order tried; no setting comes twice under the same name.
    """

    def __init__(self, trials: Trials) -> None:
        self.trials = trials
        self.model = trials.subject.model
        self.host = find_host(self.model)
        self.points: list[Point] = []
        self._latency: dict[tuple[str | None, str], LatencyModel] = {}
        self._timed: set[tuple[str | None, str]] = set()

    def fits(self, way: Way, flop_ratio: float) -> bool:
        """Whether the layers of a way can save so much."""
        try:
            way.at(self.model, flop_ratio)
        except ValueError:  # everything else is checked before
            return False
        return True

    def best_first(self, ways: Sequence[Way], flop_ratio: float, num_clips: int) -> list[Way]:
        """Ways by their drift on the first clips; of equal ones the first stays first."""
        drifts = [self.drift(way, flop_ratio, num_clips) for way in ways]
        order = sorted(range(len(ways)), key=drifts.__getitem__)
        return [ways[place] for place in order]

    def drift(self, way: Way, flop_ratio: float, num_clips: int) -> float:
        """Mean drift of a way on the first clips."""
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
        """Points of a kind."""
        return [point for point in self.points if point.kind == kind]

    def of_way(self, way: Way) -> list[Point]:
        """Points of a way at all its budgets."""
        return [p for p in self.of_kind(TUNED) if (p.name, p.layers) == (way.name, way.layers)]

    def predicted(self, way: Way, flop_ratio: float) -> float:
        """The speed-up of a way at a budget, from times of layers, measured at first use."""
        return self._speedup(way.at(self.model, flop_ratio).config)

    def guesses(self) -> list[Guess]:
        """Tuned points whose score and metric have had their times of layers measured."""
        return [
            Guess(point, self._speedup(point.config))
            for point in self.of_kind(TUNED)
            if point.config is not None and (point.config.score, point.config.metric) in self._timed
        ]

    def _speedup(self, config: MergeConfig) -> float:
        """What is predicted is kept as what is tried is, so that the next run goes the same way."""
        key = {
            "context": self.trials.context,
            "num_threads": torch.get_num_threads(),
            "predicted": config.to_dict(),
        }
        self._timed.add((config.score, config.metric))
        speedup: float = self.trials.store.get(key, lambda: self._predict(config))
        return speedup

    def _predict(self, config: MergeConfig) -> float:
        method = (config.score, config.metric)
        if method not in self._latency:
            plain = MergeConfig(r=(), score=config.score, metric=config.metric)
            self._latency[method] = latency_model(self.host, plain)
        return self._latency[method].speedup(tuple(config.r or ()))
