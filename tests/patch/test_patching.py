import copy
import io
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from support.oracle import merged_logits_of_videomae
from support.tiny_models import TRANSFORMERS, clips, videomae, vivit
from torch import Tensor, nn

import vidtldr
from vidtldr.config import Linkage, Metric, Score, Weighting
from vidtldr.patch.merging_forward import MergingForward

SCORES = [*get_args(Score), None]
METRICS = get_args(Metric)
WEIGHTINGS = get_args(Weighting)
LINKAGES = get_args(Linkage)
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


def logits(model: nn.Module, pixel_values: Tensor | None = None) -> Tensor:
    with torch.no_grad():
        return model(pixel_values=clips() if pixel_values is None else pixel_values).logits


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize(("build", "config"), CONFIGS)
def test_r_of_zero_and_removal_are_bit_identical(
    build: Callable[..., nn.Module], config: dict[str, Any], attention: str
) -> None:
    model = build(**config)
    model.set_attn_implementation(attention)
    pixel_values = clips()[:, : config.get("num_frames", 6)]
    before = logits(model, pixel_values)
    vidtldr.apply_patch(model, r=[0] * len(vidtldr_blocks(model)))
    assert torch.equal(logits(model, pixel_values), before)
    vidtldr.apply_patch(model, r=[5, 3])
    assert not torch.equal(logits(model, pixel_values), before)
    assert vidtldr.remove_patch(model) is model
    assert torch.equal(logits(model, pixel_values), before)


def vidtldr_blocks(model: nn.Module) -> list[nn.Module]:
    from vidtldr.hosts.registry import find_host

    return find_host(model).blocks


@pytest.mark.parametrize("use_mean_pooling", [True, False])
@pytest.mark.parametrize("impl", ["reference", "blocked"])
def test_merged_videomae_equals_the_float64_oracle(impl: str, use_mean_pooling: bool) -> None:
    model = videomae(use_mean_pooling=use_mean_pooling)
    vidtldr.apply_patch(model, r=[11, 7, 0, 4], score="sharpness", impl=impl)
    found = logits(model.double(), clips(3).double())
    vidtldr.remove_patch(model)
    expected = merged_logits_of_videomae(model, clips(3), [11, 7, 0, 4])
    assert (found - expected).abs().max() < 1e-11


@pytest.mark.parametrize("linkage", LINKAGES)
@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("score", SCORES)
def test_every_score_weighting_and_linkage_equals_the_float64_oracle(
    score: str | None, weighting: str, linkage: str
) -> None:
    model = videomae()
    protect = 0.5 if weighting == "mass" and score is not None else 0.0
    choices = {"score": score, "weighting": weighting, "linkage": linkage, "protect": protect}
    vidtldr.apply_patch(model, r=[11, 7, 0, 4], **choices)
    found = logits(model.double(), clips(3).double())
    vidtldr.remove_patch(model)
    expected = merged_logits_of_videomae(model, clips(3), [11, 7, 0, 4], **choices)
    assert (found - expected).abs().max() < 1e-11


def test_the_default_is_plain_merging_by_wards_linkage() -> None:
    model = videomae()
    default = logits(vidtldr.apply_patch(model, r=R))
    assert torch.equal(
        logits(vidtldr.apply_patch(model, r=R, score=None, metric="x", linkage="ward")), default
    )


@pytest.mark.parametrize("build", HOSTS)
def test_walking_a_block_without_merging_equals_the_hosts_own_forward(
    build: Callable[..., nn.Module],
) -> None:
    """A merge of one token late in the model leaves the walk of every earlier layer to compare."""
    model = build().double()
    pixel_values = clips().double()
    with torch.no_grad():
        own = model(pixel_values=pixel_values, output_hidden_states=True).hidden_states
        vidtldr.apply_patch(model, r=[1])
        first = vars(vidtldr_blocks(model)[0])["forward"]
        vidtldr.apply_patch(model, r=[0, 0, 0, 1])
        last = vidtldr_blocks(model)[-1]
        walked = walk_without_merging(last.forward, own[-2])
    assert isinstance(first, MergingForward)
    assert torch.allclose(walked, own[-1], atol=1e-12)


def walk_without_merging(forward: MergingForward, x: Tensor) -> Tensor:
    from vidtldr.ops.attention import attend

    attended = forward.walk.attention_half(forward.module, x, attend)
    return forward.walk.mlp_half(forward.module, attended.x)


@pytest.mark.parametrize("build", HOSTS)
@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("metric", METRICS)
def test_implementations_agree_for_every_score_and_metric(
    build: Callable[..., nn.Module], score: str | None, metric: str
) -> None:
    model = build().double()
    outputs = []
    for impl in ("reference", "blocked", "auto"):
        torch.manual_seed(0)  # the same random pairs
        vidtldr.apply_patch(model, r=R, score=score, metric=metric, impl=impl)
        outputs.append(logits(model, clips().double()))
    assert torch.allclose(outputs[0], outputs[1], atol=1e-11)
    assert torch.allclose(outputs[0], outputs[2], atol=1e-11)


def test_scores_metrics_and_weightings_are_different_choices() -> None:
    model = videomae()
    choices: list[dict[str, Any]] = [{"score": score} for score in SCORES]
    choices += [{"metric": metric} for metric in METRICS if metric != "x"]
    choices += [{"score": "sharpness", "weighting": each} for each in ("saliency", "mask")]
    choices += [{"score": "sharpness", "protect": 1.0}, {"linkage": "cosine"}]
    outputs = [logits(vidtldr.apply_patch(model, r=R, **choice)) for choice in choices]
    for i, one in enumerate(outputs):
        assert not any(torch.allclose(one, other, atol=1e-3) for other in outputs[:i])


@pytest.mark.parametrize("build", HOSTS)
@pytest.mark.parametrize("score", SCORES)
def test_one_clip_alone_equals_that_clip_in_a_batch(
    build: Callable[..., nn.Module], score: str | None
) -> None:
    model = vidtldr.apply_patch(build(), r=R, score=score)
    together = logits(model, clips(3))
    for b in range(3):
        assert torch.allclose(logits(model, clips(3)[b : b + 1])[0], together[b], atol=1e-4)


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
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_clip_without_content_gives_finite_outputs(
    build: Callable[..., nn.Module], value: float
) -> None:
    model = vidtldr.apply_patch(build(), ratio=[0.5, 0.5, 0.5])
    assert logits(model, torch.full((1, 6, 3, 32, 32), value)).isfinite().all()
    assert logits(model.half(), torch.full((1, 6, 3, 32, 32), value).half()).isfinite().all()


def test_tokens_that_are_all_equal_give_finite_outputs() -> None:
    """Without positions every token of a blank clip is the same: constant sharpness."""
    model = vidtldr.apply_patch(videomae(), ratio=[0.5, 0.25])
    model.videomae.embeddings.position_embeddings.zero_()
    with vidtldr.trace(model) as trace:
        assert logits(model, torch.zeros(2, 6, 3, 32, 32)).isfinite().all()
    assert trace.mass.isfinite().all()


@pytest.mark.parametrize("build", HOSTS)
@pytest.mark.parametrize("use_reentrant", [False, True])
def test_gradient_checkpointing_gives_the_same_gradients(
    build: Callable[..., nn.Module], use_reentrant: bool
) -> None:
    model = vidtldr.apply_patch(build(), r=R).double().train()
    plain = gradients(model)
    model.gradient_checkpointing_enable(
        gradient_checkpointing_kwargs={"use_reentrant": use_reentrant}
    )
    if use_reentrant and TRANSFORMERS < (5, 18):  # which recomputes around the block
        with pytest.raises(RuntimeError, match=r"its mass is lost.*use use_reentrant=False"):
            gradients(model)
        return
    for found, expected in zip(gradients(model), plain, strict=True):
        assert torch.allclose(found, expected, rtol=1e-9, atol=1e-9)


def gradients(model: nn.Module) -> list[Tensor]:
    model.zero_grad()
    # Re-entrant checkpointing needs an input with a gradient.
    outputs = model(pixel_values=clips().to(next(model.parameters())).requires_grad_())
    # Two forwards before one backward: recomputation must find each one's own mass.
    again = model(pixel_values=clips(seed=1).to(next(model.parameters())).requires_grad_())
    (outputs.logits.square().sum() + again.logits.square().sum()).backward()
    return [
        parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None
    ]


def test_training_reaches_every_parameter() -> None:
    model = vidtldr.apply_patch(videomae(), r=R).train()
    gradients(model)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("build", HOSTS)
def test_a_forward_after_a_failed_one_is_right(build: Callable[..., nn.Module]) -> None:
    model = vidtldr.apply_patch(build(), r=R)
    expected = logits(model)
    broken = vidtldr_blocks(model)[2].register_forward_pre_hook(lambda *_: 1 / 0)
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


@pytest.mark.parametrize("build", HOSTS)
def test_a_patched_model_compiles_to_one_graph(build: Callable[..., nn.Module]) -> None:
    if build is vivit and TRANSFORMERS < (5, 18):
        with pytest.raises(Exception, match=r"and before 5\.18 in torch\.compile"):
            logits(torch.compile(vidtldr.apply_patch(build(), r=R), fullgraph=True))
        return
    model = vidtldr.apply_patch(build(num_hidden_layers=3), r=R)
    expected = logits(model)
    assert torch.allclose(logits(torch.compile(model, fullgraph=True)), expected, atol=1e-3)


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
    block = vidtldr_blocks(model)[2]
    block.forward = lambda x: x
    with pytest.raises(
        NotImplementedError, match="block 2: VideoMAELayer must have its class's own forward"
    ):
        vidtldr.apply_patch(model, r=R)
    assert all(
        not isinstance(vars(b).get("forward"), MergingForward) for b in vidtldr_blocks(model)
    )


def test_tokens_exchanged_between_blocks_are_an_error_and_no_wrong_answer() -> None:
    model = vidtldr.apply_patch(videomae(), r=R)
    vidtldr_blocks(model)[1].register_forward_hook(lambda _m, _a, output: output.clone())
    with pytest.raises(
        RuntimeError, match="the input of layer 2 must be the output of layer 1 itself"
    ):
        logits(model)


def test_an_attention_mask_is_refused_where_tokens_merge() -> None:
    model = vidtldr.apply_patch(vivit(), r=R)
    mask = torch.ones(2, 49)
    mask[:, -3:] = 0
    with pytest.raises(NotImplementedError, match="attention_mask must be None where tokens merge"):
        model(pixel_values=clips(), attention_mask=mask)


def test_a_mask_that_nobody_gave_is_refused_with_what_made_it() -> None:
    model = vidtldr.apply_patch(vivit(num_hidden_layers=2), r=[9])
    model.set_attn_implementation("flex_attention")
    with pytest.raises(
        NotImplementedError, match=r"If you gave none, transformers made it: .* flex_attention"
    ):
        logits(model)
    model.set_attn_implementation("sdpa")
    assert logits(model).isfinite().all()


@pytest.mark.parametrize("impl", ["reference", "native", "blocked"])
def test_vmap_over_clips_is_the_batch_or_said_not_to_work(impl: str) -> None:
    model = vidtldr.apply_patch(videomae(), r=R, score="sharpness", impl=impl)
    over_clips = torch.vmap(lambda clip: logits(model, clip[None])[0])
    if impl == "blocked":
        with pytest.raises(NotImplementedError, match=r"must run outside torch\.vmap"):
            over_clips(clips())
    else:
        assert torch.allclose(over_clips(clips()), logits(model), atol=1e-4)


@pytest.mark.parametrize("build", HOSTS)
def test_attention_dropout_is_refused_in_training_only(build: Callable[..., nn.Module]) -> None:
    model = vidtldr.apply_patch(build(attention_probs_dropout_prob=0.1), r=R)
    logits(model)
    with pytest.raises(NotImplementedError, match=r"attention dropout must be 0 .* got 0.1"):
        logits(model.train())


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


def test_visible_patches_only_can_be_merged_too() -> None:
    """`bool_masked_pos` lowers the number of tokens below what the config says."""
    model = vidtldr.apply_patch(videomae(), ratio=[0.5])
    hidden = torch.zeros(2, 48, dtype=torch.bool)
    hidden[0, :20], hidden[1, 28:] = True, True
    with torch.no_grad():
        assert model.videomae(clips(), bool_masked_pos=hidden).last_hidden_state.shape == (
            2,
            14,
            48,
        )
    vidtldr.apply_patch(model, r=[20])
    with pytest.raises(
        ValueError, match=r"`r\[0\]` must be in \[0, 14\] \(half of 28 mergeable tokens\), got 20"
    ):
        model.videomae(clips(), bool_masked_pos=hidden)


@pytest.mark.slow
def test_a_merged_forward_under_autocast_is_finite_and_compiles() -> None:
    model = vidtldr.apply_patch(videomae(num_hidden_layers=3), r=R)
    with torch.autocast("cpu", torch.bfloat16):
        plain = logits(model)
        assert plain.isfinite().all()
        assert torch.compile(model, fullgraph=True)(pixel_values=clips()).logits.isfinite().all()
    # Scores and pairs are found in float32: merging loses no more than rounding itself does.
    assert (plain.float() - logits(model)).abs().max() < 0.5 * logits(model).abs().max()
