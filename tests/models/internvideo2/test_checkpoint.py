"""Files of InternVideo2 as they are published: names beside the encoder, positions, damage."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from support.tiny_internvideo2 import TINY, clips, internvideo2
from torch import Tensor
from torch.nn import functional as F

from vidtldr.models.internvideo2 import InternVideo2, InternVideo2Config, load_internvideo2

State = dict[str, Tensor]
EXTRA = {
    "clip_decoder.0.head.weight": (2, 2),
    "final_clip_decoder.norm.bias": (2,),
    "mae_decoder.0.head.0.weight": (2, 2),
    "clip_pos_embed": (1, 28, 24),
    "clip_img_pos_embed": (1, 10, 24),
    "mae_pos_embed": (1, 27, 24),
    "img_pos_embed": (1, 10, 24),
}
BESIDE = ("text_encoder.bert.x", "vision_proj.weight", "text_proj.bias", "itm_head.bias", "temp")


def saved(path: Path, state: State, container: str | None = None) -> Path:
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({container: state, "epoch": 3} if container else state, path)
    return path


def published(**sizes: int) -> State:
    """An encoder with everything that pretraining leaves in a file."""
    state = dict(internvideo2(None, **sizes).state_dict())
    generator = torch.Generator().manual_seed(9)
    return state | {k: torch.randn(shape, generator=generator) for k, shape in EXTRA.items()}


def assert_same_weights(model: InternVideo2, state: State) -> None:
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert not model.training


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".safetensors"])
def test_every_kind_of_file_loads(tmp_path: Path, suffix: str) -> None:
    state = published()
    path = saved(tmp_path / f"model{suffix}", state)
    assert_same_weights(load_internvideo2(path, TINY), state)


@pytest.mark.parametrize("container", ["module", "model", "state_dict"])
def test_an_encoder_inside_a_stage_2_file_loads(tmp_path: Path, container: str) -> None:
    state = published()
    inside = {f"vision_encoder.{name}": value for name, value in state.items()}
    inside |= {name: torch.zeros(2) for name in BESIDE}
    path = saved(tmp_path / "stage2.pt", inside, container)
    assert_same_weights(load_internvideo2(str(path), TINY), state)


def test_half_precision_files_become_float32(tmp_path: Path) -> None:
    state = published()
    path = saved(tmp_path / "half.bin", {name: value.half() for name, value in state.items()})
    model = load_internvideo2(path, TINY)
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32}


def test_a_classifier_gives_the_same_logits(tmp_path: Path) -> None:
    classifier = internvideo2(7)
    path = saved(tmp_path / "k710.bin", classifier.state_dict(), "module")
    with torch.no_grad():
        found = load_internvideo2(path, TINY, num_labels=7)(clips()).logits
        assert torch.equal(found, classifier(clips()).logits)
    for num_labels in (None, 5):
        with pytest.raises(ValueError, match=r"head.*The file has 7 labels\. Pass `num_labels=7`"):
            load_internvideo2(path, TINY, num_labels=num_labels)


def test_a_head_that_the_file_lacks_is_named(tmp_path: Path) -> None:
    path = saved(tmp_path / "encoder.pt", published())
    with pytest.raises(ValueError, match=r"4 missing \(fc_norm.bias.*Pass `num_labels=None`"):
        load_internvideo2(path, TINY, num_labels=7)


@pytest.mark.parametrize("num_frames", [2, 5, 6])
def test_other_frames_interpolate_positions_in_time(tmp_path: Path, num_frames: int) -> None:
    state = published()
    model = load_internvideo2(saved(tmp_path / "a.pt", state), TINY, num_frames=num_frames)
    found, trained = model.pos_embed[0], state["pos_embed"][0]
    assert model.config.num_frames == num_frames
    assert torch.equal(found[0], trained[0])
    for t in range(num_frames):  # frames stand at the centres of equal intervals
        place = min(max((t + 0.5) * 3 / num_frames - 0.5, 0), 2)
        before = min(int(place), 1)
        first = trained[1 + 9 * before : 10 + 9 * before]
        second = trained[10 + 9 * before : 19 + 9 * before]
        expected = first + (place - before) * (second - first)
        assert torch.allclose(found[1 + 9 * t : 10 + 9 * t], expected, atol=1e-6)
    with torch.no_grad():
        assert model(clips(num_frames=num_frames)).pooled.isfinite().all()


def test_positions_of_one_frame_are_those_of_images(tmp_path: Path) -> None:
    state = published()
    model = load_internvideo2(saved(tmp_path / "a.pt", state), TINY, num_frames=1)
    assert torch.equal(model.pos_embed, state["img_pos_embed"])
    del state["img_pos_embed"]
    model = load_internvideo2(saved(tmp_path / "b.pt", state), TINY, num_frames=1)
    by_frame = state["pos_embed"][0, 1:].reshape(3, 9, 24)
    assert torch.allclose(model.pos_embed[0, 1:], by_frame.mean(0), atol=1e-6)
    assert torch.equal(model.pos_embed[0, 0], state["pos_embed"][0, 0])


def test_positions_in_space_and_time_are_added(tmp_path: Path) -> None:
    state = published()
    del state["pos_embed"], state["img_pos_embed"]
    parts = {"spatial": torch.randn(1, 9, 24), "temporal": torch.randn(1, 3, 24)}
    parts["cls"] = torch.randn(1, 1, 24)
    state |= {f"pos_embed_{name}": value for name, value in parts.items()}
    path = saved(tmp_path / "apart.pt", state)
    found = load_internvideo2(path, TINY).pos_embed[0]
    assert torch.equal(found[0], parts["cls"][0, 0])
    for t in range(3):
        for p in range(9):
            expected = parts["spatial"][0, p] + parts["temporal"][0, t]
            assert torch.equal(found[1 + 9 * t + p], expected)
    longer = load_internvideo2(path, TINY, num_frames=4).pos_embed[0, 1:].reshape(4, 9, 24)
    in_time = F.interpolate(parts["temporal"].transpose(1, 2), size=4, mode="linear")[0].T
    assert torch.allclose(longer, parts["spatial"] + in_time[:, None], atol=1e-6)
    of_image = load_internvideo2(path, TINY, num_frames=1).pos_embed[0]
    assert torch.equal(of_image, torch.cat([parts["cls"][0], parts["spatial"][0]]))


def test_a_file_of_other_frames_asks_for_a_choice(tmp_path: Path) -> None:
    path = saved(tmp_path / "f2.pt", published(num_frames=2))
    with pytest.raises(ValueError, match=r"got a file of 2 and a config of 3\. Pass num_frames=2"):
        load_internvideo2(path, TINY)
    assert load_internvideo2(path, TINY, num_frames=2).config.num_frames == 2


def test_another_image_size_is_refused_with_the_reason(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt", published())
    larger = InternVideo2Config(**vars(TINY) | {"image_size": 16})
    with pytest.raises(ValueError, match=r"positions are not interpolated in space"):
        load_internvideo2(path, larger)


def damaged(state: State, how: str) -> State:
    state = dict(state)
    if how == "missing":
        del state["blocks.2.attn.q_norm.weight"]
    elif how == "no positions":
        del state["pos_embed"]
    elif how == "left over":
        state["blocks.0.attn.relative.bias"] = torch.zeros(3)
    else:
        state["cls_token"] = torch.zeros(1, 1, 12)
    return state


@pytest.mark.parametrize("prefix", ["", "vision_encoder."])
@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", r"1 missing \(blocks.2.attn.q_norm.weight\)"),
        ("no positions", r"1 missing \(pos_embed\)"),
        ("left over", r"1 unexpected \(blocks.0.attn.relative.bias\)"),
        ("shape", r"cls_token \(1, 1, 12\) instead of \(1, 1, 24\)"),
    ],
)
def test_a_weight_that_does_not_fit_is_named(
    tmp_path: Path, how: str, message: str, prefix: str
) -> None:
    state = damaged(published(), how)
    path = saved(tmp_path / "a.pt", {f"{prefix}{name}": value for name, value in state.items()})
    with pytest.raises(ValueError, match=message):
        load_internvideo2(path, TINY)


def test_what_stands_beside_an_encoder_is_left_over_without_one(tmp_path: Path) -> None:
    """Texts are ignored only in files that hold the encoder under its prefix."""
    path = saved(tmp_path / "a.pt", published() | {"text_encoder.x": torch.zeros(2)})
    with pytest.raises(ValueError, match=r"1 unexpected \(text_encoder.x\)"):
        load_internvideo2(path, TINY)
    path = saved(tmp_path / "b.pt", {"text_encoder.x": torch.zeros(2)})
    with pytest.raises(ValueError, match="does not look like an InternVideo2 encoder"):
        load_internvideo2(path, TINY)


def test_the_sizes_that_fit_are_named(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt", published())
    other = InternVideo2Config(**vars(TINY) | {"num_layers": 3})
    with pytest.raises(ValueError, match="The file has 4 blocks of 24 channels"):
        load_internvideo2(path, other)
    with torch.device("meta"):
        names = InternVideo2(InternVideo2Config.named("l14")).state_dict()
    state = {name: torch.zeros(1) for name in names}
    state["patch_embed.proj.weight"] = torch.zeros(1024, 1)
    with pytest.raises(ValueError, match=r"looks like 'l14'\. Pass `config='l14'`"):
        load_internvideo2(saved(tmp_path / "l14.pt", state), "b14")


@pytest.mark.parametrize("keep", [0, 100, 20_000])
def test_a_truncated_file_is_refused(tmp_path: Path, keep: int) -> None:
    path = saved(tmp_path / "a.pt", published())
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="weights must be a complete file of tensors"):
        load_internvideo2(path, TINY)


class Harmful:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


def test_code_in_a_file_does_not_run(tmp_path: Path) -> None:
    path, target = tmp_path / "evil.pth", tmp_path / "touched"
    torch.save({"model": published(), "x": Harmful(target)}, path)
    with pytest.raises(ValueError, match="could run code and is not loaded"):
        load_internvideo2(path, TINY)
    assert not target.exists()


def test_a_file_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pt"):
        load_internvideo2(tmp_path / "nowhere.pt", TINY)
