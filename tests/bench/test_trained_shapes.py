from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from vidtldr.bench.trained_shapes import load_shapes, load_shapes_encoder
from vidtldr.shapes.model import ShapesUMT, shapes_config


@pytest.fixture(scope="module")
def trained() -> ShapesUMT:
    torch.manual_seed(0)
    return ShapesUMT(shapes_config()).eval()


@pytest.mark.slow
def test_weights_and_checkpoints_give_the_same_model(trained: ShapesUMT, tmp_path: Path) -> None:
    state = {name: value.half().contiguous() for name, value in trained.state_dict().items()}
    save_file(state, tmp_path / "model.safetensors")
    torch.save({"module": state, "optimizer": {}, "step": 3}, tmp_path / "long.pt")
    training = {f"model.{name}": value for name, value in state.items()}
    training |= {"patch_words.heads.shape.bias": torch.zeros(8)}
    torch.save({"module": training, "optimizer": {}, "step": 3}, tmp_path / "training.pt")
    for file in ("model.safetensors", "long.pt", "training.pt"):
        model = load_shapes(tmp_path / file)
        assert not model.training
        for name, value in model.state_dict().items():
            assert torch.equal(value, state[name].float())
        encoder = load_shapes_encoder(tmp_path / file)
        assert torch.equal(encoder.pool_norm.weight, state["vision_encoder.pool_norm.weight"])


def test_the_encoder_of_masked_pretraining_is_read_too(trained: ShapesUMT, tmp_path: Path) -> None:
    encoder = trained.vision_encoder.state_dict()
    state = {f"encoder.{name}": value for name, value in encoder.items()}
    state |= {"mask_token": torch.zeros(96), "blocks.0.norm1.weight": torch.ones(96)}
    torch.save({"module": state}, tmp_path / "pretraining.pt")
    found = load_shapes_encoder(tmp_path / "pretraining.pt").state_dict()
    name = "encoder.blocks.5.attn.qkv.weight"
    assert torch.equal(found[name], encoder[name])
    with pytest.raises(ValueError, match="weights must be of the model of recipes/shapes/"):
        load_shapes(tmp_path / "pretraining.pt")


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="weights must be an existing file, got"):
        load_shapes(tmp_path / "nothing.safetensors")
    save_file({"encoder.norm": torch.ones(3)}, tmp_path / "other.safetensors")
    for load in (load_shapes, load_shapes_encoder):
        with pytest.raises(ValueError, match=r"which differs in \d+ names such as '"):
            load(tmp_path / "other.safetensors")
    torch.save({"weights": {}}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="weights must hold tensors only"):
        load_shapes(tmp_path / "other.pt")
    (tmp_path / "text.pt").write_text("This is no checkpoint.")
    with pytest.raises(ValueError, match=r"weights must be a complete file of tensors, got .*text"):
        load_shapes(tmp_path / "text.pt")
