"""Compare variants of one model at one setting: check outputs, count work, time in turn."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vidtldr.bench.roofline import count_bytes
from vidtldr.bench.speed_variants import UNMERGED, SpeedVariant
from vidtldr.measure.busyness import IDLE, BusyReport
from vidtldr.measure.flops import count_flops
from vidtldr.measure.gain import Change, Gain, change_of
from vidtldr.measure.memory import peak_tensor_bytes
from vidtldr.measure.timing import Timing, paired_ratios, time_in_turn
from vidtldr.patch.compiling import clear_compiler_errors

__all__ = [
    "Setting",
    "SpeedRow",
    "features_of",
    "forward_of",
    "measure_setting",
    "relative_distance",
    "validate_finite",
]

# Rounding alone must not move outputs further than this, relative to the largest. Half dtypes are
# reported but not checked: their rounding changes which tokens merge.
FLOAT32_BOUND = 1e-3


@dataclass(frozen=True)
class Setting:
    """The setting shared by all variants of a comparison.

    Attributes:
        batch: Clips per batch.
        dtype: Dtype of weights and input, such as "float32".
        num_frames: Frames of a clip; 1 for images.
        image_size: Side of a frame, pixels.
    """

    batch: int
    dtype: str
    num_frames: int
    image_size: int

    @property
    def headline(self) -> str:
        """The setting in words."""
        frames = f"{self.num_frames} x " if self.num_frames > 1 else ""
        return f"batch {self.batch}, {self.dtype}, {frames}{self.image_size}²"


@dataclass(frozen=True)
class SpeedRow:
    """Times and costs of one variant at one setting.

    Attributes:
        variant: Its name.
        setting: Batch, dtype and size of the input.
        flops: Floating-point operations of the forward; 1 MAC = 2 FLOPs.
        moved_bytes: Bytes its operators read and write; None for a compiled variant, which fuses
            them.
        peak_bytes: Peak memory of intermediate tensors; None for a compiled variant.
        times_ms: Time per round, milliseconds.
        speedup: Median, lowest and highest per-round ratio of the unmerged model's time to its own.
        difference: Largest difference of its outputs from those of the variant that it must equal,
            over the largest of them; None without such a variant.
        drift: Distance of its outputs from the unmerged model's in float32, over their norm.
        rounding: The same distance from its own outputs in float32; None in float32.
        busy: CPU time taken by other programs while it was timed.
    """

    variant: str
    setting: Setting
    flops: int
    moved_bytes: int | None
    peak_bytes: int | None
    times_ms: tuple[float, ...]
    speedup: dict[str, float]
    difference: float | None
    drift: float
    rounding: float | None
    busy: BusyReport = IDLE

    @property
    def timing(self) -> Timing:
        """The times."""
        return Timing(self.times_ms, self.busy)

    @property
    def change(self) -> Change:
        """The change in time that its rounds show, relative to the unmerged model."""
        return change_of(self.speedup["lowest"], self.speedup["highest"])

    def gain_over(self, unmerged: "SpeedRow") -> Gain:
        """Return the gain over the unmerged model's forward at the same setting."""
        return Gain(
            **self.speedup,
            unmerged_ms=unmerged.timing.median_ms,
            flop_ratio=self.flops / unmerged.flops,
            num_tokens=None,
            num_clips=self.setting.batch,
            busy=self.busy,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return all fields and the derived rates, ready for JSON."""
        seconds = self.timing.median_ms / 1e3
        moved = self.moved_bytes
        found = {"peer": self.variant} | asdict(self) | self.busy.to_dict()
        del found["busy"], found["variant"]
        return found | {
            "median_ms": self.timing.median_ms,
            "spread_ms": self.timing.spread_ms,
            "clips_per_second": self.setting.batch / seconds,
            "flops_per_second": self.flops / seconds,
            "bytes_per_second": None if moved is None else moved / seconds,
        }


def forward_of(model: nn.Module, pixel_values: Tensor) -> Callable[[], Tensor]:
    """Make a forward without gradients that returns one tensor: features or logits, (B, C)."""

    def run() -> Tensor:
        with torch.inference_mode():
            return features_of(model(pixel_values))

    return run


def features_of(output: Any) -> Tensor:
    """Unwrap a model's output for each clip, shape (B, ...)."""
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
    variants: Sequence[SpeedVariant],
    *,
    num_rounds: int,
    num_warmups: int = 2,
    on_step: Callable[[], object] = lambda: None,
) -> list[SpeedRow]:
    """Measure every variant; the first one must be the unmerged model.

    Args:
        model: Unpatched, in evaluation mode, in float32; not changed.
        pixel_values: Its input, float32, on its device.
        setting: The setting of `pixel_values`, and the dtype to measure in.
        variants: From `choose_variants`.
        num_rounds: Timed rounds.
        num_warmups: Warm-up rounds before them, in which compiled variants compile.
        on_step: Called after every timed forward.

    Returns:
        A row for each variant, in their order.

    Raises:
        FloatingPointError: If an output is not finite, or in float32 a variant's outputs differ
            from those of the variant that it must equal.
        ImportError: If a variant is compiled and torch finds no working compiler.
    """
    dtype = getattr(torch, setting.dtype)
    is_exact = dtype == torch.float32
    x = pixel_values.to(dtype)
    cast = model if is_exact else copy.deepcopy(model).to(dtype)
    runs = {variant.name: forward_of(variant.build(cast), x) for variant in variants}
    # A compiled variant may overwrite its last output with the next.
    with clear_compiler_errors():
        outputs = {name: _named(name, run).float().clone() for name, run in runs.items()}
    differences = _checked_differences(variants, outputs, is_exact=is_exact)
    exact = outputs if is_exact else _in_float32(variants, model, pixel_values)
    work = {
        variant.name: _work(runs[variant.name], x.device)
        for variant in variants
        if _is_eager(variant)
    }
    timings = time_in_turn(
        runs, num_repeats=num_rounds, num_warmups=num_warmups, device=x.device, on_step=on_step
    )
    rows = []
    for variant in variants:
        name = variant.name
        counted = variant.counts_as or name
        flops, moved, peak = work[counted]
        if not _is_eager(variant):
            moved, peak = None, None
        rounding = None if is_exact else relative_distance(outputs[name], exact[counted])
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
                relative_distance(outputs[name], exact[UNMERGED]),
                rounding,
                timings[name].busy,
            )
        )
    return rows


def _is_eager(variant: SpeedVariant) -> bool:
    """Whether its operators can be traced; a compiled variant's are counted on its twin."""
    return variant.counts_as is None


def _in_float32(
    variants: Sequence[SpeedVariant], model: nn.Module, pixel_values: Tensor
) -> dict[str, Tensor]:
    eager = (variant for variant in variants if _is_eager(variant))
    return {p.name: _named(p.name, forward_of(p.build(model), pixel_values)) for p in eager}


def _named(name: str, run: Callable[[], Tensor]) -> Tensor:
    """Run a variant; its errors name it."""
    try:
        return run()
    except Exception as error:
        error.add_note(name)
        raise


def _work(run: Callable[[], Tensor], device: torch.device) -> tuple[int, int | None, int | None]:
    return count_flops(run), count_bytes(run), peak_tensor_bytes(run, device)


def _checked_differences(
    variants: Sequence[SpeedVariant], outputs: Mapping[str, Tensor], *, is_exact: bool
) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for variant in variants:
        output = validate_finite(variant.name, outputs[variant.name])
        expected = outputs.get(variant.reference or "")
        found[variant.name] = None if expected is None else _largest(output, expected)
        difference = found[variant.name]
        if is_exact and difference is not None and difference > FLOAT32_BOUND:
            raise FloatingPointError(
                f"the outputs of {variant.name!r} must be those of {variant.reference!r} within "
                f"{FLOAT32_BOUND:g} of the largest, got {difference:.2g}. Its time would mean "
                "nothing: please report it."
            )
    return found


def _largest(output: Tensor, expected: Tensor) -> float:
    return ((output - expected).abs().max() / expected.abs().max()).item()


def relative_distance(output: Tensor, expected: Tensor) -> float:
    """Return the distance of outputs from the expected ones, over the norm of the latter."""
    distance = torch.linalg.vector_norm(output - expected)
    return float(distance / torch.linalg.vector_norm(expected))


def validate_finite(name: str, output: Tensor) -> Tensor:
    """Return the output if it is finite; otherwise its time means nothing.

    Args:
        name: Name of the model, for the error.
        output: Output of its forward.

    Raises:
        FloatingPointError: If it is not.
    """
    if not output.isfinite().all():
        raise FloatingPointError(
            f"the outputs of {name!r} must be finite, got NaN or inf. Use float32."
        )
    return output
