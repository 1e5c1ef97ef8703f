"""Models of timm and open_clip through `torch.export`, in the environment of `make test-timm`."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from support import tiny_timm
from support.exporters import by_torch_export, flat
from support.tiny_encoders import images
from torch import nn

import vidtldr

pytestmark = pytest.mark.timm
pytest.importorskip("timm", reason="timm is in the environment of `make test-timm`")

BUILDS: dict[str, Callable[[], nn.Module]] = {
    "vit": tiny_timm.vit,
    "siglip": partial(tiny_timm.vit, **tiny_timm.SIGLIP),
    "dinov2": partial(tiny_timm.vit, **tiny_timm.DINOV2),
    "eva02": partial(tiny_timm.eva, **tiny_timm.EVA02),
    "dinov3": partial(tiny_timm.eva, **tiny_timm.DINOV3),
    "perception_encoder": partial(tiny_timm.eva, **tiny_timm.PERCEPTION_ENCODER),
    "mixed": partial(tiny_timm.eva, **tiny_timm.ROPE_MIXED),
    "open_clip": tiny_timm.open_clip_vit,
}


@pytest.mark.parametrize("output", ["auto", "grid"])
@pytest.mark.parametrize("name", BUILDS)
def test_one_program_serves_any_number_of_images(name: str, output: str, tmp_path: Path) -> None:
    if name == "open_clip":
        pytest.importorskip(name, reason="open_clip is in the environment of `make test-timm`")
    model = vidtldr.apply_patch(BUILDS[name](), r=[5, 0, 4], output=output)
    with torch.no_grad():
        run = by_torch_export(model, {"x": images(2)}, True, tmp_path)
        for batch in (2, 3, 5):
            given = {"x": images(batch, seed=7)}
            for found, expected in zip(run(given), flat(model(**given)), strict=True):
                torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
