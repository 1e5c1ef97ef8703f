"""One model in several ways at one setting: outputs first, then work, then time in turn."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vidtldr.bench.flops import count_flops
from vidtldr.bench.memory import peak_tensor_bytes
from vidtldr.bench.roofline import count_bytes
from vidtldr.bench.speed_peers import UNMERGED, SpeedPeer
from vidtldr.hosts.compiling import clear_compiler_errors
from vidtldr.hosts.timing import Timing, paired_ratios, time_in_turn

__all__ = ["Setting", "SpeedRow", "features_of", "forward_of", "measure_setting"]

# Rounding alone must not move outputs further than this, relative to the largest. Half types are
# reported and not judged: there rounding changes which tokens merge.
FLOAT32_BOUND = 1e-3


@dataclass(frozen=True)
class Setting:
    """What all peers of a comparison get.

    Attributes:
        batch: Clips at once.
        dtype: Of weights and input, such as "float32".
        num_frames: Frames of a clip; 1 for images.
        image_size: Side of a frame, pixels.
    """

    batch: int
    dtype: str
    num_frames: int
    image_size: int

    @property
    def headline(self) -> str:
        """As a person says it."""
        frames = f"{self.num_frames} x " if self.num_frames > 1 else ""
        return f"batch {self.batch}, {self.dtype}, {frames}{self.image_size}²"


@dataclass(frozen=True)
class SpeedRow:
    """One peer at one setting.

    Attributes:
        peer: Its name.
        setting: Batch, dtype and size of the input.
        flops: Floating-point operations of the forward; 1 MAC = 2 FLOPs.
        moved_bytes: What its operators read and write; None for a compiled peer, which fuses them.
        peak_bytes: Peak of the memory of tensors made on the way; None for a compiled peer.
        times_ms: Every round, milliseconds.
        speedup: Median, lowest and highest ratio of the unmerged model's time to its own in the
            same round.
        difference: Largest difference of its outputs from those of the peer that it must equal,
            over the largest of them; None if it has outputs of its own.
        drift: Distance of its outputs from the unmerged model's in float32, over their length.
        rounding: The same from its own in float32; None in float32.
    """

    peer: str
    setting: Setting
    flops: int
    moved_bytes: int | None
    peak_bytes: int | None
    times_ms: tuple[float, ...]
    speedup: dict[str, float]
    difference: float | None
    drift: float
    rounding: float | None

    @property
    def timing(self) -> Timing:
        """Its times."""
        return Timing(self.times_ms)

    def to_dict(self) -> dict[str, Any]:
        """Everything, with rates worked out, ready for JSON."""
        seconds = self.timing.median_ms / 1e3
        moved = self.moved_bytes
        return asdict(self) | {
            "median_ms": self.timing.median_ms,
            "spread_ms": self.timing.spread_ms,
            "clips_per_second": self.setting.batch / seconds,
            "flops_per_second": self.flops / seconds,
            "bytes_per_second": None if moved is None else moved / seconds,
        }


def forward_of(model: nn.Module, pixel_values: Tensor) -> Callable[[], Tensor]:
    """A forward without gradients that returns one tensor: features or logits, (B, C)."""

    def run() -> Tensor:
        with torch.inference_mode():
            return features_of(model(pixel_values))

    return run


def features_of(output: Any) -> Tensor:
    """What a model says of each clip, whatever it wraps it in: shape (B, ...)."""
    for name in ("pooled", "logits", "last_hidden_state"):
        if hasattr(output, name):
            found: Tensor = getattr(output, name)
            return found
    assert isinstance(output, Tensor)
    return output


def measure_setting(
    model: nn.Module,
    pixel_values: Tensor,
    setting: Setting,
    peers: Sequence[SpeedPeer],
    *,
    num_rounds: int,
    num_warmups: int = 2,
    on_step: Callable[[], object] = lambda: None,
) -> list[SpeedRow]:
    """Measure every peer; the first one must be the unmerged model.

    Args:
        model: Unpatched, in evaluation mode, in float32; it is left so.
        pixel_values: Its input, float32, on its device.
        setting: What `pixel_values` is, and the dtype to measure in.
        peers: Of `choose_peers`.
        num_rounds: Rounds that count.
        num_warmups: Rounds before them; compiled peers compile there.
        on_step: Called after every timed forward.

    Returns:
        A row for each peer, in their order.

    Raises:
        FloatingPointError: If an output is not finite, or in float32 a peer does not have the
            outputs of the one that it must equal.
        ImportError: If a peer is compiled and torch finds no compiler that works.
    """
    dtype = getattr(torch, setting.dtype)
    is_exact = dtype == torch.float32
    x = pixel_values.to(dtype)
    cast = model if is_exact else copy.deepcopy(model).to(dtype)
    runs = {peer.name: forward_of(peer.build(cast), x) for peer in peers}
    # A compiled peer may write its next output over the last one.
    with clear_compiler_errors():
        outputs = {name: _named(name, run).float().clone() for name, run in runs.items()}
    differences = _checked_differences(peers, outputs, is_exact=is_exact)
    exact = outputs if is_exact else _in_float32(peers, model, pixel_values)
    work = {peer.name: _work(runs[peer.name], x.device) for peer in peers if _is_eager(peer)}
    timings = time_in_turn(
        runs, num_repeats=num_rounds, num_warmups=num_warmups, device=x.device, on_step=on_step
    )
    rows = []
    for peer in peers:
        name = peer.name
        counted = peer.counts_as or name
        flops, moved, peak = work[counted]
        if not _is_eager(peer):
            moved, peak = None, None
        rounding = None if is_exact else _distance(outputs[name], exact[counted])
        rows.append(
            SpeedRow(
                name,
                setting,
                flops,
                moved,
                peak,
                timings[name].times_ms,
                paired_ratios(timings[UNMERGED], timings[name]),
                differences[name],
                _distance(outputs[name], exact[UNMERGED]),
                rounding,
            )
        )
    return rows


def _is_eager(peer: SpeedPeer) -> bool:
    """Whether its operators can be watched; a compiled peer's are counted on its twin."""
    return peer.counts_as is None


def _in_float32(
    peers: Sequence[SpeedPeer], model: nn.Module, pixel_values: Tensor
) -> dict[str, Tensor]:
    eager = (peer for peer in peers if _is_eager(peer))
    return {p.name: _named(p.name, forward_of(p.build(model), pixel_values)) for p in eager}


def _named(name: str, run: Callable[[], Tensor]) -> Tensor:
    """Run a peer; its errors say which it was."""
    try:
        return run()
    except Exception as error:
        error.add_note(name)
        raise


def _work(run: Callable[[], Tensor], device: torch.device) -> tuple[int, int | None, int | None]:
    return count_flops(run), count_bytes(run), peak_tensor_bytes(run, device)


def _checked_differences(
    peers: Sequence[SpeedPeer], outputs: Mapping[str, Tensor], *, is_exact: bool
) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for peer in peers:
        output = outputs[peer.name]
        if not output.isfinite().all():
            raise FloatingPointError(
                f"the outputs of {peer.name!r} must be finite, got NaN or inf. Use float32."
            )
        expected = outputs.get(peer.reference or "")
        found[peer.name] = None if expected is None else _largest(output, expected)
        difference = found[peer.name]
        if is_exact and difference is not None and difference > FLOAT32_BOUND:
            raise FloatingPointError(
                f"the outputs of {peer.name!r} must be those of {peer.reference!r} within "
                f"{FLOAT32_BOUND:g} of the largest, got {difference:.2g}. Its time would mean "
                "nothing: please report it."
            )
    return found


def _largest(output: Tensor, expected: Tensor) -> float:
    return ((output - expected).abs().max() / expected.abs().max()).item()


def _distance(output: Tensor, expected: Tensor) -> float:
    distance = torch.linalg.vector_norm(output - expected)
    return float(distance / torch.linalg.vector_norm(expected))
