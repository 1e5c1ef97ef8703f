"""Qwen-VL: packed frames of one size merge alike, and mergers at every depth read the grid."""

import warnings
from typing import Any

import pytest
import torch
from support.encoder_oracle import DEFAULT, PAPER, PROTECTED, Parts, merged_tokens
from support.every_family import equal
from support.tiny_qwen import (
    DEEPSTACK,
    SEVERAL_SIZES,
    TOWERS,
    VIDEO_OF_THREE,
    Grid,
    close,
    in_float64,
    language_model,
    outputs,
    patches,
    prompt,
    tower,
)
from torch import Tensor

import vidtldr
from vidtldr.hosts.registry import find_host
from vidtldr.visualize.patch_grid import find_patch_grid

MODELS = ["Qwen2VL", "Qwen3VL"]


def parts_of(block: Any, cos: Tensor, sin: Tensor) -> Parts:
    """The submodules of a block; angles (N, D) of one frame."""

    def turned(x: Tensor, places: list[int]) -> Tensor:
        found, half = x.clone(), x.shape[-1] // 2
        for i, place in enumerate(places):
            y = x[:, i].float()  # as the family does
            swapped = torch.cat((-y[:, half:], y[:, :half]), dim=-1)
            found[:, i] = (y * cos[place] + swapped * sin[place]).double()
        return found

    width = block.attn.proj.in_features
    query, key, value = (
        lambda y, i=i: block.attn.qkv(y)[..., i * width : (i + 1) * width] for i in range(3)
    )
    return Parts(
        block.norm1,
        query,
        key,
        value,
        block.attn.proj,
        lambda x: block.mlp(block.norm2(x)),
        rotate=turned,
    )


@pytest.mark.parametrize(
    ("name", "r", "choices"),
    [
        *(("Qwen3VL", r, PAPER) for r in ([1], [12], [0, 7, 3, 2])),
        *((name, [5, 0, 4], choices) for name in TOWERS for choices in (PAPER, DEFAULT, PROTECTED)),
    ],
)
@torch.no_grad()
def test_a_merged_forward_equals_the_float64_oracle(
    name: str, r: list[int], choices: dict[str, Any]
) -> None:
    model: Any = tower(name).double()
    inputs = in_float64(patches(VIDEO_OF_THREE))
    calls: list[tuple[Any, Any]] = []
    handle = model.blocks[0].register_forward_pre_hook(
        lambda _, args, kwargs: calls.append((args[0], kwargs)), with_kwargs=True
    )
    model(**inputs)
    handle.remove()
    ((entered, kwargs),) = calls
    cos, sin = (angles[:24] for angles in kwargs["position_embeddings"])
    parts = [parts_of(block, cos, sin) for block in model.blocks]
    frames = entered.unflatten(0, (3, 24))

    def grid_after(num_layers: int) -> tuple[Tensor, list[list[int]]]:
        x, holders = merged_tokens(frames, parts[:num_layers], 3, r[:num_layers], 0, choices)
        return torch.cat([each[held] for each, held in zip(x, holders, strict=True)]), holders

    expected, holders = grid_after(4)
    vidtldr.apply_patch(model, r=r, **choices)
    with vidtldr.trace(model) as trace:
        found = model(**inputs)
    assert found.last_hidden_state.shape == expected.shape == (72, 48)
    assert (found.last_hidden_state - expected).abs().max() < 1e-6  # float32 angles
    assert (found.pooler_output - model.merger(expected)).abs().max() < 1e-6
    assert trace.source.tolist() == holders
    assert trace.num_tokens[-1] == 24 - sum(r)
    for i, layer in enumerate(DEEPSTACK.get(name, [])):
        of_layer = model.deepstack_merger_list[i](grid_after(layer + 1)[0])
        assert (found.deepstack_features[i] - of_layer).abs().max() < 1e-6


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", TOWERS)
def test_off_and_removed_are_bit_identical(name: str, attention: str) -> None:
    model: Any = tower(name)
    model.set_attn_implementation(attention)
    inputs = patches(VIDEO_OF_THREE)
    before = outputs(model, inputs)
    vidtldr.apply_patch(model, r=[0, 0, 0, 0])
    assert equal(outputs(model, inputs), before)
    vidtldr.apply_patch(model, flop_ratio=1.0)
    assert equal(outputs(model, inputs), before)
    vidtldr.apply_patch(model, r=[5, 0, 4])
    merged = outputs(model, inputs)
    assert [x.shape for x in merged] == [x.shape for x in before]
    assert not any(torch.equal(x, y) for x, y in zip(merged, before, strict=True))
    vidtldr.remove_patch(model)
    assert equal(outputs(model, inputs), before)


@pytest.mark.parametrize("name", MODELS)
def test_only_the_tower_is_patched_and_texts_are_as_before(name: str) -> None:
    model = language_model(name)
    text = prompt()
    text = {"input_ids": text["input_ids"]}
    before = outputs(model, text)
    vidtldr.apply_patch(model, flop_ratio=0.75)
    root = find_host(model).root
    patched = {id(module) for module in model.modules() if "forward" in vars(module)}
    assert patched == {id(block) for block in root.blocks}
    assert equal(outputs(model, text), before)


@pytest.mark.parametrize("name", TOWERS)
def test_images_and_a_video_in_one_call_keep_their_tokens(name: str) -> None:
    model = language_model(name)
    inputs = prompt([(1, 4, 6), (1, 4, 6)], [(1, 4, 4)])
    before = outputs(model, inputs)
    vidtldr.apply_patch(model, flop_ratio=0.75)
    merged = outputs(model, inputs)
    assert merged[0].shape == before[0].shape
    assert merged[0].isfinite().all()
    assert not torch.equal(merged[0], before[0])
    vidtldr.remove_patch(model)
    assert equal(outputs(model, inputs), before)


@pytest.mark.parametrize("name", MODELS)
def test_merging_equal_patches_changes_no_answer(name: str) -> None:
    """Every even patch equals its odd neighbour and all stand in one place: merging is exact."""
    model: Any = language_model(name).double()
    inputs = in_float64(prompt([(1, 4, 6), (1, 4, 6)], [(1, 4, 4)]))
    root: Any = find_host(model).root
    with torch.no_grad():
        root.rotary_pos_emb.inv_freq.zero_()
        if hasattr(root, "pos_embed"):
            root.pos_embed.weight.zero_()
    for key in ("pixel_values", "pixel_values_videos"):
        inputs[key][0::2] = inputs[key][1::2]
    expected = outputs(model, inputs)
    vidtldr.apply_patch(model, ratio=[0.5], score=None)
    with vidtldr.trace(model) as trace:
        assert close(outputs(model, inputs), expected, atol=1e-6)
    assert trace.num_tokens == [8, 8, 8, 8]  # of the 16 of the video
    inputs["pixel_values"][0] += 1
    assert not close(outputs(model, inputs), expected, atol=1e-3)


def test_generation_is_repeatable_and_as_long_as_before() -> None:
    model: Any = language_model()
    inputs = prompt([(1, 4, 6)], [(3, 4, 4)])
    before = model.generate(**inputs, max_new_tokens=6, min_new_tokens=6, do_sample=False)
    vidtldr.apply_patch(model, flop_ratio=0.75)
    first, second = (
        model.generate(**inputs, max_new_tokens=6, min_new_tokens=6, do_sample=False)
        for _ in range(2)
    )
    assert torch.equal(first, second)
    assert first.shape == before.shape
    vidtldr.remove_patch(model)
    again = model.generate(**inputs, max_new_tokens=6, min_new_tokens=6, do_sample=False)
    assert torch.equal(again, before)


def test_images_of_as_many_patches_merge_whatever_their_sides() -> None:
    model = vidtldr.apply_patch(tower("Qwen3VL").double(), r=[5, 0, 4])
    grids: list[Grid] = [(1, 4, 6), (1, 6, 4), (1, 2, 12)]
    both = in_float64(patches(grids))
    found = outputs(model, both)
    for i, grid in enumerate(grids):
        pixels = both["hidden_states"][24 * i : 24 * (i + 1)]
        alone = outputs(model, {"hidden_states": pixels, "grid_thw": torch.tensor([grid])})
        for x, y in zip(found, alone, strict=True):
            assert torch.allclose(x[i * len(y) : (i + 1) * len(y)], y, atol=1e-6)


@pytest.mark.parametrize("build", [tower, language_model])
def test_several_sizes_in_one_call_run_unmerged_and_say_so_once(build: Any) -> None:
    model = build("Qwen3VL")
    is_whole = build is language_model
    mixed = prompt(SEVERAL_SIZES) if is_whole else patches(SEVERAL_SIZES)
    same = prompt([(1, 4, 6)]) if is_whole else patches([(1, 4, 6)])
    before, of_same = outputs(model, mixed), outputs(model, same)
    vidtldr.apply_patch(model, r=[0, 5])
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for _ in range(2):
            assert equal(outputs(model, mixed), before)
            assert not equal(outputs(model, same), of_same)
    assert [str(each.message) for each in seen] == [
        "the images or frames of one call must all have the same number of patches to merge, got "
        "several sizes: this call runs unmerged, and so will others like it. Pass them one by one, "
        "or resize them."
    ]
    with vidtldr.trace(model) as trace:
        outputs(model, mixed)
    assert trace.num_tokens == [40] * 4
    assert trace.source.tolist() == [list(range(40))]
    assert trace.layers == {}


def test_an_unmerged_tower_is_traced_by_frames() -> None:
    model = tower("Qwen3VL")
    with vidtldr.trace(model) as trace:
        outputs(model, patches(VIDEO_OF_THREE))
    assert trace.num_tokens == [24] * 4
    assert trace.mass.shape == (3, 24)


@pytest.mark.parametrize("build", [tower, language_model])
def test_fewer_tokens_for_the_language_model_are_refused(build: Any) -> None:
    model = build("Qwen3VL")
    with pytest.raises(NotImplementedError, match="output must be 'grid' for Qwen3VLVisionModel"):
        vidtldr.apply_patch(model, r=[5], output="tokens")
    with pytest.raises(NotImplementedError, match="pooling must be 'tokens'"):
        vidtldr.apply_patch(model, r=[5], pooling="mass")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.filterwarnings("ignore:the images or frames of one call")
def test_half_types_stay_finite(dtype: torch.dtype) -> None:
    model = vidtldr.apply_patch(language_model().to(dtype), flop_ratio=0.75)
    for inputs in (prompt([(1, 4, 6)], [(3, 4, 4)]), prompt(SEVERAL_SIZES)):
        assert all(x.isfinite().all() for x in outputs(model, inputs))


@torch.no_grad()
def test_hidden_states_have_a_token_for_every_place() -> None:
    model = tower("Qwen3VL")
    inputs = patches(VIDEO_OF_THREE)
    before = model(**inputs, output_hidden_states=True).hidden_states
    vidtldr.apply_patch(model, r=[5, 0, 4])
    after = model(**inputs, output_hidden_states=True).hidden_states
    assert [x.shape for x in after] == [x.shape for x in before]
    for x, num_left in zip(after, [24, 19, 19, 15, 15], strict=False):
        assert [len(frame.unique(dim=0)) for frame in x.unflatten(0, (3, 24))] == [num_left] * 3


def test_a_packed_family_is_not_drawn() -> None:
    with pytest.raises(NotImplementedError, match="model must take clips to be drawn"):
        find_patch_grid(tower("Qwen3VL"), torch.zeros(1, 2, 3, 16, 16))
