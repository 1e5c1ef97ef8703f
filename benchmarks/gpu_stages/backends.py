"""Restrict `scaled_dot_product_attention` to one fused back-end."""

from typing import Any

from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from vidtldr.bench.speed_variants import UNMERGED, SpeedVariant
from vidtldr.patch.twin import twin

__all__ = ["BACKENDS", "first_line", "variants_on_backends"]

BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
}


class OnBackend(nn.Module):
    """A model whose attention uses one back-end only."""

    def __init__(self, model: nn.Module, backend: SDPBackend) -> None:
        super().__init__()
        self.model, self.backend = model, backend

    def forward(self, pixel_values: Tensor) -> Any:
        """Run the model; torch raises RuntimeError if the back-end does not support the inputs."""
        with sdpa_kernel(self.backend):
            return self.model(pixel_values)


def variants_on_backends() -> list[SpeedVariant]:
    """The unmerged model on each back-end."""
    return [
        SpeedVariant(f"{UNMERGED} on {name}", _builder(backend), UNMERGED, UNMERGED)
        for name, backend in BACKENDS.items()
    ]


def _builder(backend: SDPBackend) -> Any:
    return lambda model: OnBackend(twin(model), backend)


def first_line(error: BaseException) -> str:
    """The first line of an error message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
