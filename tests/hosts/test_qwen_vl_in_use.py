"""Qwen-VL: merging towers that are copied, shared by threads, trained and compiled."""

import copy
import pickle
import threading
from typing import Any

import pytest
import torch
from support.every_family import equal
from support.tiny_qwen import SEVERAL_SIZES, VIDEO_OF_THREE, Grid, close, outputs, patches, tower
from torch import Tensor

import vidtldr


def test_a_patch_that_is_removed_midway_ends_as_it_began() -> None:
    model: Any = tower("Qwen3VL")
    inputs = patches(VIDEO_OF_THREE)
    before = outputs(model, inputs)
    expected = outputs(vidtldr.apply_patch(model, flop_ratio=0.75), inputs)
    found: list[list[Tensor]] = []
    at_merger, removed = threading.Event(), threading.Event()

    def wait(*_: object) -> None:
        at_merger.set()
        assert removed.wait(20)

    handle = model.deepstack_merger_list[0].register_forward_pre_hook(wait)
    thread = threading.Thread(target=lambda: found.append(outputs(model, inputs)))
    thread.start()
    assert at_merger.wait(20)
    handle.remove()
    vidtldr.remove_patch(model)
    assert equal(outputs(model, inputs), before)
    removed.set()
    thread.join()
    assert equal(found[0], expected)
    assert equal(outputs(model, inputs), before)


def test_copies_and_threads_merge_alike(tmp_path: Any) -> None:
    model: Any = vidtldr.apply_patch(tower("Qwen3VL"), flop_ratio=0.75)
    inputs = patches(VIDEO_OF_THREE)
    expected = outputs(model, inputs)
    model.save_pretrained(tmp_path)
    again = vidtldr.apply_patch(type(model).from_pretrained(tmp_path).eval(), flop_ratio=0.75)
    for other in (again, pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert equal(outputs(other, inputs), expected)
    found: dict[int, list[Tensor]] = {}
    threads = [
        threading.Thread(target=lambda i=i: found.update({i: outputs(model, inputs)}))
        for i in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(equal(found[i], expected) for i in range(4))


@pytest.mark.parametrize("grids", [VIDEO_OF_THREE, SEVERAL_SIZES])
@pytest.mark.filterwarnings("ignore:the images or frames of one call")
def test_gradient_checkpointing_gives_the_same_gradients(grids: list[Grid]) -> None:
    model: Any = vidtldr.apply_patch(tower("Qwen3VL"), r=[5, 0, 4]).train()
    gradients = []
    for checkpointed in (False, True):
        if checkpointed:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        model.zero_grad()
        out = model(**patches(grids))
        sum(x.square().mean() for x in (out.pooler_output, *out.deepstack_features)).backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys() != set()
    for key, gradient in gradients[0].items():
        assert torch.allclose(gradient, gradients[1][key], atol=1e-5, rtol=1e-4), key


@pytest.mark.slow
def test_it_compiles_in_one_graph_of_each_size_where_sizes_are_computed_before() -> None:
    """The family's own blocks do not with SDPA."""
    from transformers import vision_utils

    torch._dynamo.reset()  # or the other models count towards the limit of graphs
    model = vidtldr.apply_patch(tower("Qwen3VL"), flop_ratio=0.75)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager", dynamic=False)

    def of(grids: list[Grid]) -> dict[str, Tensor]:
        inputs = patches(grids)
        sizes = inputs["grid_thw"]
        places = vision_utils.get_vision_interpolation_indices_and_weights(
            sizes, num_grid_per_side=6, align_corners=True, spatial_merge_size=2
        )
        return inputs | {
            "interp_indices": places[0],
            "interp_weights": places[1],
            "position_ids": vision_utils.get_vision_position_ids(sizes, 2),
            "cu_seqlens": vision_utils.get_vision_cu_seqlens(sizes),
        }

    for grids in (VIDEO_OF_THREE, [(2, 4, 4)]):
        found = outputs(compiled, of(grids))
        assert close(found, outputs(model, of(grids)), atol=1e-4)
    with pytest.raises(RuntimeError, match="must all have the same number of patches in a"):
        outputs(compiled, of([(1, 4, 4), (1, 2, 8), (1, 4, 6), (1, 2, 4)]))
