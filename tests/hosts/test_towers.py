"""Vision towers inside language models: the grid, so that the model around them is unchanged."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from support import tiny_towers
from torch import Tensor, nn

import vidtldr
from vidtldr.hosts.registry import find_host

Build = Callable[[], tuple[nn.Module, dict[str, Tensor]]]
TOWERS = [
    tiny_towers.llava,
    tiny_towers.llava_onevision,
    tiny_towers.llava_next_video,
    tiny_towers.video_llava,
    tiny_towers.internvl,
    tiny_towers.smolvlm,
    tiny_towers.idefics2,
    tiny_towers.idefics3,
    tiny_towers.gemma3,
    pytest.param(tiny_towers.perception_lm, marks=pytest.mark.timm),
]


@pytest.fixture(params=TOWERS, ids=lambda build: getattr(build, "__name__", None))
def build(request: Any) -> Build:
    if request.param is tiny_towers.perception_lm:
        pytest.importorskip("timm")
    return request.param


def test_a_tower_passes_on_the_grid_and_the_language_model_is_unchanged(build: Build) -> None:
    model, inputs = build()
    with torch.no_grad():
        before = model(**inputs).logits
        vidtldr.apply_patch(model, r=[5, 0, 4])
        root = find_host(model).root
        patched = [module for module in model.modules() if "forward" in vars(module)]
        assert {id(module) for module in patched} <= {id(module) for module in root.modules()}
        with vidtldr.trace(model) as trace:
            merged = model(**inputs).logits
        assert trace.num_tokens[-1] == trace.source.shape[1] - 9
        assert trace.source.shape[1] >= 25
        assert merged.shape == before.shape
        assert merged.isfinite().all()
        assert not torch.equal(merged, before)
        vidtldr.remove_patch(model)
        assert torch.equal(model(**inputs).logits, before)


def test_a_tower_refuses_to_hand_on_fewer_tokens(build: Build) -> None:
    model, _ = build()
    with pytest.raises(NotImplementedError, match="output='grid'"):
        vidtldr.apply_patch(model, r=[5], output="tokens")


def test_merging_equal_patches_changes_no_answer(build: Build) -> None:
    """Every patch equals its neighbour and positions are zero, so merging is exact."""
    model, inputs = build()
    model = model.double()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "position_embedding" in name or name.endswith("pos_embed"):
                parameter.zero_()
        for name, angles in model.named_buffers():
            if name.endswith("rope.pos_embed"):  # timm's: sines, then cosines
                sines, cosines = angles.chunk(2, dim=-1)
                sines.zero_(), cosines.fill_(1)
        key = key_of(inputs)
        inputs[key] = with_equal_neighbours(inputs[key].double())
        expected = model(**inputs).logits
        vidtldr.apply_patch(model, r=[12], score=None)
        assert torch.allclose(model(**inputs).logits, expected, atol=1e-9)


def key_of(inputs: dict[str, Tensor]) -> str:
    return next(name for name in inputs if name.startswith("pixel_values"))


def with_equal_neighbours(pixel_values: Tensor) -> Tensor:
    """The same images with every even patch equal to the next; an odd one out stays alone."""
    side = pixel_values.shape[-1] // 8
    rows = pixel_values.unflatten(-1, (side, 8)).unflatten(-3, (side, 8)).transpose(-2, -3)
    patches = rows.flatten(-4, -3).clone()
    num_pairs = side * side // 2
    patches[..., 0 : 2 * num_pairs : 2, :, :] = patches[..., 1 : 2 * num_pairs : 2, :, :]
    return patches.unflatten(-3, (side, side)).transpose(-2, -3).reshape(pixel_values.shape)


def test_generation_goes_on_with_as_many_visual_tokens(build: Build) -> None:
    model, inputs = build()
    settings: dict[str, Any] = {"max_new_tokens": 4, "do_sample": False}
    widths: list[int] = []
    language = model.model.language_model if hasattr(model.model, "language_model") else model.model
    layers = getattr(language, "text_model", language).layers
    layers[0].register_forward_pre_hook(
        lambda _, args, kwargs: widths.append((args or [kwargs["hidden_states"]])[0].shape[1]),
        with_kwargs=True,
    )
    plain = model.generate(**inputs, **settings)
    before = list(widths)
    vidtldr.apply_patch(model, flop_ratio=0.8)
    widths.clear()
    merged = model.generate(**inputs, **settings)
    assert torch.equal(model.generate(**inputs, **settings), merged)
    assert widths == [*before, *before]
    assert before[0] == inputs["input_ids"].shape[1]
    vidtldr.remove_patch(model)
    assert torch.equal(model.generate(**inputs, **settings), plain)


def test_a_schedule_of_zeros_and_texts_alone_are_bit_identical(build: Build) -> None:
    model, inputs = build()
    text = {"input_ids": torch.tensor([[1, 2, 3, 4]])}
    with torch.no_grad():
        before, of_text = model(**inputs).logits, model(**text).logits
        vidtldr.apply_patch(model, r=[0, 0])
        assert torch.equal(model(**inputs).logits, before)
        vidtldr.apply_patch(model, r=[5, 0, 4])
        assert torch.equal(model(**text).logits, of_text)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_half_precision_logits_are_finite(build: Build, dtype: torch.dtype) -> None:
    model, inputs = build()
    model = vidtldr.apply_patch(model.to(dtype), r=[5, 0, 4])
    inputs[key_of(inputs)] = inputs[key_of(inputs)].to(dtype)
    with torch.no_grad():
        assert model(**inputs).logits.isfinite().all()


def test_the_layer_that_is_read_is_the_grid_of_its_tokens() -> None:
    """LLaVA reads the last layer but one, which merges, and another one if it is told to."""
    model, inputs = tiny_towers.llava()
    tower = model.model.vision_tower
    vidtldr.apply_patch(model, r=[5, 0, 4, 3])
    for layer in (-2, -1):
        with torch.no_grad(), vidtldr.trace(model) as trace:
            found = model.model.get_image_features(
                pixel_values=inputs["pixel_values"], vision_feature_layer=layer
            )
            states = tower(inputs["pixel_values"], output_hidden_states=True).hidden_states
            expected = model.model.multi_modal_projector(states[layer][:, 1:])
        assert torch.equal(found.pooler_output[0], expected[0])
        assert len(states[layer][0].unique(dim=0)) == trace.num_tokens[layer]


def test_several_layers_are_each_the_grid_of_their_tokens() -> None:
    model, inputs = tiny_towers.llava(layer=[-3, -1])
    vidtldr.apply_patch(model, r=[5, 0, 4, 3])
    with torch.no_grad(), vidtldr.trace(model) as trace:
        found = model.model.get_image_features(pixel_values=inputs["pixel_values"])
        states = model.model.vision_tower(inputs["pixel_values"], output_hidden_states=True)
        read = [states.hidden_states[layer][:, 1:] for layer in (-3, -1)]
        expected = model.model.multi_modal_projector(torch.cat(read, dim=-1))
    assert torch.equal(found.pooler_output[0], expected[0])
    num_left = [len(x[0].unique(dim=0)) for x in read]
    assert num_left == [trace.num_tokens[layer] - 1 for layer in (-3, -1)]


def test_images_of_several_sizes_are_tiles_of_one() -> None:
    """LLaVA-OneVision cuts a wide image into more tiles than a square one, all of one size."""
    model, _ = tiny_towers.llava_onevision()
    model.model.config.image_grid_pinpoints = [[40, 40], [40, 80]]
    sizes = torch.tensor([[40, 40], [40, 80]])
    tiles = torch.zeros(2, 3, 3, 40, 40)
    tiles[0, :2], tiles[1] = tiny_towers.images(2), tiny_towers.images(3, seed=1)
    inputs = {"pixel_values": tiles, "image_sizes": sizes}
    with torch.no_grad():
        before = model.model.get_image_features(**inputs).pooler_output
        vidtldr.apply_patch(model, r=[5, 0, 4])
        after = model.model.get_image_features(**inputs).pooler_output
        vidtldr.remove_patch(model)
        again = model.model.get_image_features(**inputs).pooler_output
    assert [x.shape for x in after] == [x.shape for x in before]
    assert len(before[0]) < len(before[1])
    assert not any(map(torch.equal, after, before))
    assert all(map(torch.equal, again, before))


def test_video_llava_merges_in_its_tower_of_videos_only() -> None:
    model, inputs = tiny_towers.video_llava()
    vidtldr.apply_patch(model, r=[5])
    patched = {name for name, module in model.named_modules() if "forward" in vars(module)}
    assert patched
    assert all(name.startswith("model.video_tower.") for name in patched)
    images = {"input_ids": torch.tensor([[1, *[tiny_towers.IMAGE] * 25, 3]])}
    images["pixel_values"] = inputs["pixel_values_videos"][:, 0]
    with torch.no_grad():
        merged = model(**images).logits
        assert torch.equal(merged, model(**images).logits)
        vidtldr.remove_patch(model)
        assert torch.equal(model(**images).logits, merged)


def test_a_patch_of_the_other_tower_stays_where_it_is() -> None:
    model, _ = tiny_towers.video_llava()
    other = vidtldr.MergeConfig(r=[6])
    vidtldr.apply_patch(model.model.image_tower, other)
    assert vidtldr.describe(model).config is None
    with vidtldr.patched(model, r=[3]):
        assert vidtldr.describe(model).r == (3,)
        assert vidtldr.describe(model.model.image_tower).config == other
    assert vidtldr.describe(model).config is None
    vidtldr.apply_patch(model, r=[4])
    assert vidtldr.describe(model.model.image_tower).config == other
    vidtldr.remove_patch(model)
    for tower in (model.model.image_tower, model.model.video_tower):
        assert vidtldr.describe(tower).config is None


def test_a_tower_of_smolvlm_refuses_padding_and_takes_a_full_mask() -> None:
    model, inputs = tiny_towers.smolvlm()
    vidtldr.apply_patch(model, r=[5])
    mask = torch.ones(1, 2, 48, 48, dtype=torch.bool)
    with torch.no_grad():
        expected = model(**inputs).logits
        assert torch.equal(model(**inputs, pixel_attention_mask=mask).logits, expected)
        mask[:, 1, 32:] = False
        with pytest.raises(NotImplementedError, match="Run clips without padding"):
            model(**inputs, pixel_attention_mask=mask)
        vidtldr.remove_patch(model)
        assert model(**inputs, pixel_attention_mask=mask).logits.isfinite().all()


def test_images_of_another_size_want_a_share_not_a_budget() -> None:
    model, _ = tiny_towers.smolvlm()
    smaller = {
        "input_ids": torch.tensor([[1, *[tiny_towers.IMAGE] * 4, 3]]),
        "pixel_values": tiny_towers.images(1, side=32)[None],
    }
    vidtldr.apply_patch(model, flop_ratio=0.8)
    with torch.no_grad():
        with pytest.raises(ValueError, match=r"must run on the 36 tokens .* ratio=\[0.25, 0.1\]"):
            model(**smaller)
        vidtldr.apply_patch(model, ratio=[0.25])
        assert model(**smaller).logits.isfinite().all()
