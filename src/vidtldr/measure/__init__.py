"""What a model costs where it runs: time, FLOPs, memory, and on which machine."""

from typing import TYPE_CHECKING

from vidtldr.lazy import lazy_names

if TYPE_CHECKING:
    from vidtldr.measure.flops import count_flops
    from vidtldr.measure.gain import Gain, gain_of
    from vidtldr.measure.memory import peak_tensor_bytes
    from vidtldr.measure.timing import Timing, paired_ratios, time_in_turn

__all__ = [
    "Gain",
    "Timing",
    "count_flops",
    "gain_of",
    "paired_ratios",
    "peak_tensor_bytes",
    "time_in_turn",
]

_HOMES = {
    "Gain": "gain",
    "Timing": "timing",
    "count_flops": "flops",
    "gain_of": "gain",
    "paired_ratios": "timing",
    "peak_tensor_bytes": "memory",
    "time_in_turn": "timing",
}
__getattr__, __dir__ = lazy_names(
    __name__, {name: f"{__name__}.{module}" for name, module in _HOMES.items()}
)
