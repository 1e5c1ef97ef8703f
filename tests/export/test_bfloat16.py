"""OpenVINO's bfloat16 gives torch's top label, where the processor computes in that type.

The bundled model, whose labels are close together in footage that is no coloured shapes.
"""

from pathlib import Path

import pytest
import torch

from vidtldr.bundled import BUNDLED, bundled_merge
from vidtldr.files import read_json
from vidtldr.shapes.export import export_clips
from vidtldr.shapes.world import ShapesWorld
from vidtldr.tasks.clip_reader import ClipReader
from vidtldr.tasks.load import load_embedder, load_retrieval
from vidtldr.tasks.model_spec import ModelSpec
from vidtldr.tasks.zero_shot import text_classifier

pytestmark = [pytest.mark.export, pytest.mark.slow]
REAL = Path(__file__).resolve().parents[3] / "shared" / "videos" / "clips"


# Cosines of labels that are closer than this change places in bfloat16, in torch's own, too.
CLEAR = 0.03


def has_bfloat16() -> bool:
    from vidtldr.tasks.exported.engines import import_openvino

    capabilities = import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "BF16" in capabilities


def videos_of(kind: str, folder: Path) -> list[str]:
    if kind == "real":
        if not REAL.is_dir():
            pytest.skip(f"no real footage in {REAL}")
        return [str(path) for path in sorted(REAL.iterdir())]
    export_clips(folder / "clips", ShapesWorld(), 24, start=900_000)
    return [str(path) for path in sorted((folder / "clips").rglob("*.mp4"))]


@pytest.mark.parametrize("kind", ["real", "generated"])
def test_the_top_label_is_that_of_torch(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="openvino is in the environment of `make test-export`")
    if not has_bfloat16():
        pytest.skip(
            "this processor has no bfloat16: OpenVINO runs float32 whatever it is asked for"
        )
    from vidtldr.export.export import export_model

    spec, merge, path = ModelSpec(), bundled_merge(), tmp_path / "shapes.xml"
    done = export_model(spec, merge, path, format_name="openvino", dtype="bfloat16", num_repeats=1)
    assert done.differences["merged"] > 1e-4  # it did compute in bfloat16
    labels = read_json(BUNDLED / "labels.json")
    texts = text_classifier(load_retrieval(spec), labels).model.label_embeddings
    in_torch, exported = load_embedder(spec, merge), load_embedder(ModelSpec(str(path)))
    assert isinstance(exported.reader, ClipReader)
    num_clear = 0
    for video in videos_of(kind, tmp_path):
        clips = in_torch.reader(video).values[None]
        assert torch.equal(exported.reader(video).values[None], clips)
        expected, found = ((each.encode(clips) @ texts.T)[0] for each in (in_torch, exported))
        best, second = expected.topk(2).values
        if best - second > CLEAR:
            num_clear += 1
            assert found.argmax() == expected.argmax()
    assert num_clear > 5
