"""How far settings move a model's answers, clip by clip, each result stored at once.

Letters: `T` frames, `C` channels of the compared output.
"""

import hashlib
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import version
from math import sqrt
from typing import Any, Self

import torch
from torch import Tensor, nn

from vidtldr.baselines.baseline import Merging, RandomDropping
from vidtldr.measure.device_name import device_name
from vidtldr.measure.fork_rng import fork_rng
from vidtldr.measure.result_store import ResultStore
from vidtldr.measure.source_digest import source_digest
from vidtldr.steps import OnStep, ignore_steps
from vidtldr.tasks.fingerprint import module_sha256
from vidtldr.tune.clips import TunedClip
from vidtldr.tune.subject import Subject

__all__ = ["Outcome", "Setting", "Trials"]

Setting = Merging | RandomDropping


@dataclass(frozen=True)
class Outcome:
    """Drift of one setting over clips.

    Attributes:
        mean: Mean drift over the clips.
        highest: Drift of the clip that moved most.
        kept: Share of clips that keep their answer; None if only features are compared.
        num_clips: Number of clips.
        standard_error: Standard error of the mean over the clips; None for one clip.
    """

    mean: float
    highest: float
    kept: float | None
    num_clips: int
    standard_error: float | None

    @classmethod
    def of(cls, amounts: Sequence[float], kept: Sequence[bool]) -> Self:
        """Summarise the drift of each clip, and whether each keeps its answer if that is known."""
        num_clips = len(amounts)
        error = statistics.stdev(amounts) / sqrt(num_clips) if num_clips > 1 else None
        share = statistics.fmean(kept) if kept else None
        return cls(statistics.fmean(amounts), max(amounts), share, num_clips, error)


class Trials:
    """Tries settings on the first few clips; stored results are not run again.

    Args:
        subject: The model and its compared output.
        clips: At least one, whose unmerged answers are finite.
        store: Stores each clip's drift.
        on_step: Called after every clip with the current part, its clips done and its total.

    Attributes:
        num_forwards: Forwards of merged models that were run, not read from the store.
    """

    def __init__(
        self,
        subject: Subject,
        clips: Sequence[TunedClip],
        store: ResultStore,
        on_step: OnStep = ignore_steps,
    ) -> None:
        self.subject = subject
        self.clips = clips
        self.store = store
        self.num_forwards = 0
        self.context = _context(subject)
        self._on_step = on_step
        self._part, self._done, self._total = "", 0, 0
        self._unmerged: dict[str, Tensor] = {}

    def with_clips(self, clips: Sequence[TunedClip]) -> Self:
        """Return a copy for other clips, whose count of forwards starts at 0."""
        other = copy(self)
        other.clips, other.num_forwards = clips, 0
        return other

    @property
    def device(self) -> torch.device:
        """The model's device."""
        return next(self.subject.model.parameters()).device

    def begin(self, part: str, num_clips: int) -> None:
        """Announce the next part and its number of clips."""
        self._part, self._done, self._total = part, 0, num_clips
        self._on_step(part, 0, num_clips)

    def step(self) -> None:
        """Report that one more clip is done."""
        self._done += 1
        self._on_step(self._part, self._done, max(self._total, self._done))

    def pixel_values(self, clip: TunedClip) -> Tensor:
        """Prepare the model's input, shape (1, T, 3, S, S), on its device and in its dtype."""
        x = self.subject.reader.transform.normalised(clip.frames)
        return x[None].to(self.device, next(self.subject.model.parameters()).dtype)

    def run(self, setting: Setting, num_clips: int) -> Outcome:
        """Try a setting on the first clips.

        Raises:
            ValueError: If an answer is not finite.
        """
        twin = cache(partial(setting.twin_of, self.subject.model))
        drifts: list[dict[str, Any]] = []
        for clip in self.clips[:num_clips]:
            key = {"context": self.context, "clip": clip.sha256, "setting": setting.to_dict()}
            drifts.append(self.store.get(key, partial(self._measure, twin, clip)))
            self.step()
        kept = [each["kept"] for each in drifts if each["kept"] is not None]
        return Outcome.of([each["drift"] for each in drifts], kept)

    def _measure(self, twin: Callable[[], nn.Module], clip: TunedClip) -> dict[str, Any]:
        self.num_forwards += 1
        merged = self._read(twin(), clip)
        if clip.sha256 not in self._unmerged:
            self._unmerged[clip.sha256] = self._read(self.subject.model, clip)
        drift = self.subject.drift(merged, self._unmerged[clip.sha256], clip.path)
        return {"drift": drift.amount, "kept": drift.is_kept}

    def _read(self, model: nn.Module, clip: TunedClip) -> Tensor:
        """Return the compared output of one clip, (C,), with a fixed random seed."""
        with torch.inference_mode(), fork_rng(self.device):
            torch.manual_seed(int(clip.sha256[:8], 16))
            found = self.subject.read(model, self.pixel_values(clip)).squeeze(0)
        if not found.isfinite().all():
            raise ValueError(
                f"the model's answer to {clip.path!r} must be finite, got NaN or inf. Use dtype "
                "float32."
            )
        return found


def _context(subject: Subject) -> str:
    """Hash everything a drift depends on except the clip and the setting."""
    parameter = next(subject.model.parameters())
    reader = subject.reader
    decides: Mapping[str, Any] = {
        "weights": module_sha256(subject.model),
        # What the weights do not show, such as the number of heads.
        "configs": sorted(
            {repr(m.config) for m in subject.model.modules() if hasattr(m, "config")}
        ),
        "dtype": str(parameter.dtype),
        "device": [parameter.device.type, device_name(parameter.device)],
        "reader": repr((reader.sampling, reader.transform, reader.max_seconds)),
        "compared": dict(subject.describes),
        "versions": [*map(version, ("torch", "transformers", "av"))],
        "source": source_digest("baselines", "measure", "tasks", "tune", "video"),
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:32]
