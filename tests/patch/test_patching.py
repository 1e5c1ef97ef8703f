"""A patch is put, replaced and removed, and holds in copies, files, threads and hooks."""

import copy
import io
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny_models import clips, logits, videomae, vivit
from torch import Tensor, nn

import vidtldr
from vidtldr.hosts.registry import find_host
from vidtldr.patch.merging_forward import MergingForward

R = [0, 9, 5]  # the first layer keeps the host's own forward
HOSTS = [videomae, vivit]
CONFIGS = [
    (videomae, {}),
    (videomae, {"use_mean_pooling": False}),
    (videomae, {"qkv_bias": False, "hidden_act": "relu"}),
    (videomae, {"num_frames": 2, "num_hidden_layers": 2}),
    (vivit, {}),
    (vivit, {"qkv_bias": False}),
    (vivit, {"num_attention_heads": 6, "layer_norm_eps": 1e-3}),
]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize(("build", "config"), CONFIGS)
def test_r_of_zero_and_removal_are_bit_identical(
    build: Callable[..., nn.Module], config: dict[str, Any], attention: str
) -> None:
    model = build(**config)
    model.set_attn_implementation(attention)
    pixel_values = clips()[:, : config.get("num_frames", 6)]
    before = logits(model, pixel_values)
    vidtldr.apply_patch(model, r=[0] * len(find_host(model).blocks))
    assert torch.equal(logits(model, pixel_values), before)
    vidtldr.apply_patch(model, r=[5, 3])
    assert not torch.equal(logits(model, pixel_values), before)
    assert vidtldr.remove_patch(model) is model
    assert torch.equal(logits(model, pixel_values), before)


@pytest.mark.parametrize("build", HOSTS)
def test_patching_again_replaces_and_patching_twice_equals_once(
    build: Callable[..., nn.Module],
) -> None:
    once = logits(vidtldr.apply_patch(build(), r=R))
    model = vidtldr.apply_patch(build(), ratio=[0.5, 0.5])
    vidtldr.apply_patch(model, r=R)
    assert torch.equal(logits(model), once)
    vidtldr.apply_patch(model, r=R)
    assert torch.equal(logits(model), once)


def test_a_failed_patch_leaves_the_model_as_it_was() -> None:
    model = vidtldr.apply_patch(videomae(), r=R)
    before = logits(model)
    with pytest.raises(ValueError, match="r"):
        vidtldr.apply_patch(model, r=[25])
    assert torch.equal(logits(model), before)


def test_patched_restores_what_was_there_also_after_an_exception() -> None:
    model = videomae()
    plain = logits(model)
    with pytest.raises(KeyError), vidtldr.patched(model, r=R):
        raise KeyError
    assert torch.equal(logits(model), plain)
    vidtldr.apply_patch(model, r=[3])
    light = logits(model)
    with vidtldr.patched(model, r=R) as same:
        assert same is model
        assert not torch.equal(logits(model), light)
    assert torch.equal(logits(model), light)


@pytest.mark.parametrize("build", HOSTS)
def test_saving_is_not_touched_by_the_patch(
    build: Callable[..., nn.Module], tmp_path: Path
) -> None:
    model = build()
    model.save_pretrained(tmp_path / "plain")
    vidtldr.apply_patch(model, r=R)
    model.save_pretrained(tmp_path / "patched")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "plain" / name).read_bytes() == (
            tmp_path / "patched" / name
        ).read_bytes()
    again = type(model).from_pretrained(tmp_path / "patched").eval()
    assert torch.equal(logits(vidtldr.apply_patch(again, r=R)), logits(model))


@pytest.mark.parametrize("build", HOSTS)
def test_a_patched_model_survives_pickle_deepcopy_and_torch_save(
    build: Callable[..., nn.Module],
) -> None:
    model = vidtldr.apply_patch(build(), r=R)
    expected = logits(model)
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    loaded = torch.load(buffer, weights_only=False)  # written three lines above
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model), loaded):
        vidtldr.remove_patch(model)  # a copy must stand on its own feet
        assert torch.equal(logits(other), expected)
        vidtldr.remove_patch(other)
        assert torch.equal(logits(other), logits(model))
        vidtldr.apply_patch(model, r=R)


def test_hidden_states_of_a_merged_forward_can_be_saved_and_loaded_safely() -> None:
    model = vidtldr.apply_patch(videomae(), r=R)
    with torch.no_grad():
        states = model(pixel_values=clips(), output_hidden_states=True).hidden_states
    assert [state.shape[1] for state in states] == [48, 48, 39, 34, 34]
    buffer = io.BytesIO()
    torch.save(list(states), buffer)
    buffer.seek(0)
    for saved, state in zip(torch.load(buffer, weights_only=True), states, strict=True):
        assert torch.equal(saved, state)


@pytest.mark.parametrize("build", HOSTS)
def test_dtype_and_weights_can_change_after_patching(build: Callable[..., nn.Module]) -> None:
    model = vidtldr.apply_patch(build(), r=R)
    other = build()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.01)
    model.load_state_dict(other.state_dict())
    assert torch.equal(logits(model), logits(vidtldr.apply_patch(other, r=R)))
    assert logits(model.to(torch.float64), clips().double()).dtype == torch.float64
    for dtype in (torch.bfloat16, torch.float16):
        assert logits(model.to(dtype), clips().to(dtype)).isfinite().all()
    assert logits(model.half(), clips().half()).dtype == torch.float16


@pytest.mark.parametrize("build", HOSTS)
def test_a_forward_after_a_failed_one_is_right(build: Callable[..., nn.Module]) -> None:
    model = vidtldr.apply_patch(build(), r=R)
    expected = logits(model)
    broken = find_host(model).blocks[2].register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        logits(model, clips(5))
    broken.remove()
    assert torch.equal(logits(model), expected)


def test_threads_do_not_disturb_each_other_on_two_models_or_on_one() -> None:
    one, two = vidtldr.apply_patch(videomae(), r=R), vidtldr.apply_patch(vivit(), r=[4, 4])
    jobs = [(model, clips(seed=seed)) for seed in range(4) for model in (one, two)]
    expected = [logits(*job) for job in jobs]
    failures: list[int] = []

    def work(job: int) -> None:
        for _ in range(10):
            if not torch.allclose(logits(*jobs[job]), expected[job], atol=1e-5):
                failures.append(job)

    threads = [threading.Thread(target=work, args=(job,)) for job in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_a_compiled_model_is_neither_patched_nor_unpatched() -> None:
    for compiled in (torch.compile(videomae()), _compiled_in_place()):
        with pytest.raises(
            ValueError, match=r"model must not be compiled yet, .* Patch the model first"
        ):
            vidtldr.apply_patch(compiled, r=R)
        with (
            pytest.raises(ValueError, match="model must not be compiled yet"),
            vidtldr.trace(compiled),
        ):
            pass
    patched = torch.compile(vidtldr.apply_patch(videomae(), r=R))
    with pytest.raises(ValueError, match="model must not be compiled yet"):
        vidtldr.remove_patch(patched)


def _compiled_in_place() -> nn.Module:
    model = videomae()
    model.compile()
    return model


def test_the_patch_holds_under_hooks_of_accelerate_in_any_order() -> None:
    accelerate = pytest.importorskip("accelerate")
    from accelerate.hooks import remove_hook_from_submodules

    plain, merged = logits(videomae()), logits(vidtldr.apply_patch(videomae(), r=R))
    hooks_first = accelerate.dispatch_model(videomae(), {"": "cpu"}, force_hooks=True)
    vidtldr.apply_patch(hooks_first, r=R)
    patch_first = accelerate.dispatch_model(
        vidtldr.apply_patch(videomae(), r=R), {"": "cpu"}, force_hooks=True
    )
    for model in (hooks_first, patch_first):
        assert torch.equal(logits(model), merged)
    vidtldr.remove_patch(hooks_first)
    assert torch.equal(logits(hooks_first), plain)
    remove_hook_from_submodules(patch_first)
    assert torch.equal(logits(patch_first), merged)
    assert torch.equal(logits(vidtldr.remove_patch(patch_first)), plain)


def test_a_model_spread_over_devices_is_refused() -> None:
    model = videomae()
    model.hf_device_map = {"videomae": 0, "classifier": 1}
    with pytest.raises(NotImplementedError, match="model must run on one device, got"):
        vidtldr.apply_patch(model, r=R)


def test_a_forward_that_something_else_exchanged_is_not_overwritten() -> None:
    model = videomae()
    block = find_host(model).blocks[2]
    block.forward = lambda x: x
    with pytest.raises(
        NotImplementedError, match="block 2: VideoMAELayer must have its class's own forward"
    ):
        vidtldr.apply_patch(model, r=R)
    assert all(
        not isinstance(vars(b).get("forward"), MergingForward) for b in find_host(model).blocks
    )


def test_tokens_exchanged_between_blocks_are_an_error_and_no_wrong_answer() -> None:
    model = vidtldr.apply_patch(videomae(), r=R)
    find_host(model).blocks[1].register_forward_hook(lambda _m, _a, output: output.clone())
    with pytest.raises(
        RuntimeError, match="the input of layer 2 must be the output of layer 1 itself"
    ):
        logits(model)


def test_a_wrapper_around_a_known_model_is_seen_through() -> None:
    class Wrapper(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inside = videomae()

        def forward(self, **inputs: Tensor) -> Any:
            return self.inside(**inputs)

    assert torch.equal(
        logits(vidtldr.apply_patch(Wrapper(), r=R)), logits(vidtldr.apply_patch(videomae(), r=R))
    )
