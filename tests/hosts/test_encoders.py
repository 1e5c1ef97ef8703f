"""Image encoders: off, merging on tokens and on the grid, and everything around their blocks."""

import copy
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support import tiny_encoders
from support.encoder_oracle import (
    DEFAULT,
    PAPER,
    PROTECTED,
    Parts,
    clip_parts,
    dinov2_parts,
    dinov3_parts,
    internvl_parts,
    merged_tokens,
    merged_tubes,
    vit_parts,
    vjepa2_parts,
    xclip_parts,
)
from support.tiny_encoders import images, inputs_of
from torch import Tensor, nn

import vidtldr
from vidtldr.budget.counts import forward_costs
from vidtldr.config import MergeConfig
from vidtldr.hosts.registry import find_host
from vidtldr.measure.flops import count_flops

Build = Callable[..., nn.Module]

PARTS: dict[str, Callable[..., Parts]] = {
    "vit": vit_parts,
    "deit": vit_parts,
    "clip": clip_parts,
    "metaclip2": clip_parts,
    "siglip": clip_parts,
    "siglip2": clip_parts,
    "xclip": xclip_parts,
    "dinov2": dinov2_parts,
    "dinov2_registers": dinov2_parts,
    "internvl": internvl_parts,
    "idefics3": clip_parts,
    "smolvlm": clip_parts,
}
ROTARY = {"dinov3": dinov3_parts, "vjepa2": vjepa2_parts}
NAMES = [*PARTS, *ROTARY, "timesformer"]
BACKBONES = ["dinov2_backbone", "dinov3_backbone"]
CONFIGS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in [*NAMES, *BACKBONES, "vjepa2_model"]),
    ("vit", {"qkv_bias": False, "hidden_act": "relu"}),
    ("deit", {"num_attention_heads": 6}),
    ("clip", {"hidden_act": "gelu", "layer_norm_eps": 1e-3}),
    ("siglip", {"vision_use_head": False}),
    ("siglip", {"num_attention_heads": 2}),
    ("siglip2", {"vision_use_head": False}),
    ("xclip", {"num_frames": 4, "drop_path_rate": 0.1}),
    ("timesformer", {"qkv_bias": False, "hidden_act": "relu"}),
    ("dinov2", {"use_swiglu_ffn": True}),
    ("dinov2_registers", {"num_register_tokens": 1, "qkv_bias": False}),
    ("dinov3", {"use_gated_mlp": True, "num_register_tokens": 0}),
    ("internvl", {"norm_type": "rms_norm", "use_qk_norm": True, "attention_bias": True}),
    ("internvl", {"use_absolute_position_embeddings": True, "use_mean_pooling": False}),
    ("vjepa2", {"qkv_bias": False, "num_attention_heads": 4}),
]
SCHEDULES = [[1], [12], [5, 0, 4], [0, 7, 3, 2]]
CASES = [
    *((r, PAPER) for r in SCHEDULES),
    *((SCHEDULES[-1], choices) for choices in (DEFAULT, PROTECTED)),
]
GRID_ONLY = {*BACKBONES, "vjepa2", "vjepa2_model"}
TOWERS = {"internvl", "idefics3", "smolvlm"}
DENSE_BY_DEFAULT = {
    "siglip",
    "siglip2",
    "dinov2",
    "dinov2_registers",
    "dinov3",
    *TOWERS,
    *GRID_ONLY,
}


def model_of(name: str, **config: Any) -> nn.Module:
    return getattr(tiny_encoders, name)(**config)


def outputs(model: nn.Module, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Every tensor in a forward's output."""
    with torch.no_grad():
        found = tensors_in(model(**in_dtype(inputs_of(model), dtype)))
    assert found
    return found


def in_dtype(inputs: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    return {key: x.to(dtype) if x.is_floating_point() else x for key, x in inputs.items()}


def tensors_in(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value or ()
    return [tensor for part in parts for tensor in tensors_in(part)]


def equal(one: list[Tensor], other: list[Tensor]) -> bool:
    return len(one) == len(other) and all(map(torch.equal, one, other))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize(("name", "config"), CONFIGS)
def test_off_and_removed_are_bit_identical(
    name: str, config: dict[str, Any], attention: str
) -> None:
    model = model_of(name, **config)
    model.set_attn_implementation(attention)
    before = outputs(model)
    vidtldr.apply_patch(model, r=[0, 0, 0, 0])
    assert equal(outputs(model), before)
    vidtldr.apply_patch(model, r=[5, 3])
    assert not equal(outputs(model), before)
    vidtldr.remove_patch(model)
    assert equal(outputs(model), before)


@pytest.mark.parametrize("output", ["tokens", "grid"])
@pytest.mark.parametrize(("r", "choices"), CASES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_a_merged_forward_equals_the_float64_oracle(
    name: str, r: list[int], choices: dict[str, Any], output: str
) -> None:
    model = model_of(name).double()
    host = find_host(model)
    inputs = in_dtype(inputs_of(model, 3), torch.float64)
    entered: list[Tensor] = []
    handle = host.blocks[0].register_forward_pre_hook(lambda _, args: entered.append(args[0]))
    with torch.no_grad():
        model(**inputs)
        handle.remove()
        if name == "dinov3":
            parts = [dinov3_parts(block, host.root, *inputs.values()) for block in host.blocks]
        elif name != "timesformer":
            parts = [(PARTS | ROTARY)[name](block) for block in host.blocks]
        if name == "timesformer":
            expected, holders = merged_tubes(entered[0], host.blocks, 3, r, choices)
        else:
            prefix = host.num_prefix_tokens
            expected, holders = merged_tokens(entered[0], parts, 3, r, prefix, choices)
        if output == "grid":
            expected = torch.stack([x[places] for x, places in zip(expected, holders, strict=True)])
        merging = model if output == "grid" or name not in GRID_ONLY else host.root
        vidtldr.apply_patch(merging, r=r, output=output, **choices)
        with vidtldr.trace(model) as trace, torch.no_grad():
            found = last_block_output(merging, inputs)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < 1e-9
    assert trace.source.tolist() == holders
    assert trace.num_tokens[-1] == entered[0].shape[1] - sum(r) * host.tube_length


def last_block_output(model: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    found: list[Any] = []
    last = find_host(model).blocks[-1]
    handle = last.register_forward_hook(lambda _, __, output: found.append(output))
    model(**inputs)
    handle.remove()
    return found[0][0] if isinstance(found[0], tuple) else found[0]


@pytest.mark.parametrize("output", ["tokens", "grid"])
@pytest.mark.parametrize("name", [*PARTS, "timesformer"])
def test_merging_equal_neighbours_changes_nothing(name: str, output: str) -> None:
    """Without positions and with every patch twice, plain merging of all pairs is exact."""
    model = model_of(name).double()
    inputs = with_equal_neighbours(in_dtype(inputs_of(model), torch.float64))
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            if "position_embedding" in parameter_name:
                parameter.zero_()
    expected = pooled(model, inputs)
    vidtldr.apply_patch(model, r=[12], score=None, output=output)
    found = pooled(model, inputs)
    # What weighs merged tokens equally counts the last patch twice as much as the others.
    weighs_equally = output == "tokens" and name in DENSE_BY_DEFAULT
    assert torch.allclose(found, expected, atol=1e-9) is not weighs_equally


def with_equal_neighbours(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same inputs with every even patch equal to the next; the last of 25 is alone."""
    pixel_values = inputs["pixel_values"].clone()
    if pixel_values.dim() == 3:  # patches already
        pixel_values[:, 0:24:2] = pixel_values[:, 1:24:2]
    else:
        rows = pixel_values.unflatten(-1, (5, 8)).unflatten(-3, (5, 8)).transpose(-2, -3)
        patches = rows.flatten(-4, -3)  # (..., 3, 25, 8, 8)
        patches[..., 0:24:2, :, :] = patches[..., 1:24:2, :, :]
        rows = patches.unflatten(-3, (5, 5)).transpose(-2, -3)
        pixel_values = rows.reshape(pixel_values.shape)
    return inputs | {"pixel_values": pixel_values}


def pooled(model: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        found = model(**inputs)
    names = [name for name in ("logits", "image_embeds", "pooler_output") if name in found]
    return found[names[0]] if names else found["last_hidden_state"].mean(1)


@pytest.mark.parametrize("name", [*NAMES, *BACKBONES, "vjepa2_model"])
def test_on_the_grid_every_output_has_its_unmerged_shape(name: str) -> None:
    model = model_of(name)
    with torch.no_grad():
        inputs = inputs_of(model)
        before = model(**inputs, output_hidden_states=True)
        vidtldr.apply_patch(model, r=[5, 0, 4], output="grid")
        after = model(**inputs, output_hidden_states=True)
    assert before.keys() == after.keys()
    for key in before:
        one, other = before[key], after[key]
        if isinstance(one, Tensor):
            assert other.shape == one.shape
        elif isinstance(one, tuple):
            assert [x.shape for x in other] == [x.shape for x in one]


@pytest.mark.parametrize("name", BACKBONES)
def test_feature_maps_of_a_backbone_repeat_what_merged(name: str) -> None:
    model = model_of(name)
    with torch.no_grad():
        plain = model(images()).feature_maps
        vidtldr.apply_patch(model, r=[5, 0, 4])
        merged = model(images()).feature_maps
    assert [x.shape for x in merged] == [x.shape for x in plain]
    for x, num_left in zip(merged, (20, 20, 16), strict=True):  # stages 1, 2 and 4
        assert len(x[0].flatten(1).unique(dim=1).T) == num_left


@pytest.mark.parametrize(
    ("name", "expected"),
    [(name, name in DENSE_BY_DEFAULT) for name in [*NAMES, *BACKBONES, "vjepa2_model"]],
)
def test_auto_is_the_familys_own_default(name: str, expected: bool) -> None:
    model = model_of(name)
    with torch.no_grad():
        width = last_block_output(model, inputs_of(model)).shape[1]
        vidtldr.apply_patch(model, r=[5])
        merged = last_block_output(model, inputs_of(model)).shape[1]
    removed = 5 * find_host(model).tube_length
    assert merged == width - (0 if name in DENSE_BY_DEFAULT else removed)


def test_an_output_that_is_refused_leaves_an_earlier_patch() -> None:
    model = vidtldr.apply_patch(model_of("dinov2_backbone"), r=[5])
    merged = outputs(model)
    with pytest.raises(NotImplementedError, match="output='grid'"):
        vidtldr.apply_patch(model, r=[3], output="tokens")
    assert equal(outputs(model), merged)


def test_what_lays_tokens_out_refuses_tokens_and_names_the_grid() -> None:
    for name in GRID_ONLY:
        with pytest.raises(NotImplementedError, match="output='grid'"):
            vidtldr.apply_patch(model_of(name), r=[5], output="tokens")
    from transformers import ViTConfig, ViTForMaskedImageModeling

    masked = ViTForMaskedImageModeling(ViTConfig(**tiny_encoders.SIZES | {"encoder_stride": 8}))
    with pytest.raises(NotImplementedError, match="output='grid'"):
        vidtldr.apply_patch(masked, r=[5], output="tokens")
    with torch.no_grad():
        vidtldr.apply_patch(masked.eval(), r=[5])
        assert masked(images()).reconstruction.shape == images().shape


@pytest.mark.parametrize("kind", ["CLIP", "Siglip", "MetaClip2"])
def test_the_text_tower_is_not_touched(kind: str) -> None:
    import transformers

    text = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3, "vocab_size": 99}
    text |= {"intermediate_size": 96, "bos_token_id": 97, "eos_token_id": 98, "pad_token_id": 1}
    towers = {"text_config": text, "vision_config": tiny_encoders.SIZES}
    config = getattr(transformers, f"{kind}Config")(**towers)
    model = tiny_encoders.spread_out_weights(getattr(transformers, f"{kind}Model")(config))
    ids = torch.tensor([[97, 5, 6, 98]])
    with torch.no_grad():
        before = model.get_text_features(input_ids=ids).pooler_output
        images_before = model.get_image_features(pixel_values=images()).pooler_output
        vidtldr.apply_patch(model, r=[5, 4])
        assert torch.equal(model.get_text_features(input_ids=ids).pooler_output, before)
        after = model.get_image_features(pixel_values=images()).pooler_output
    assert after.shape == images_before.shape
    assert not torch.equal(after, images_before)
    assert not any("forward" in vars(module) for module in model.text_model.modules())


@pytest.mark.parametrize("output", ["tokens", "grid"])
@pytest.mark.parametrize("name", [name for name in NAMES if name != "siglip2"])  # input decides
def test_flop_budgets_agree_with_the_counter(name: str, output: str) -> None:
    config = MergeConfig(r=(5, 0, 4), output=output)
    model = model_of(name)
    host = find_host(find_host(model).root)
    vidtldr.apply_patch(host.root, config)
    with torch.no_grad():
        counted = count_flops(lambda: host.root(*inputs_of(model, 1).values()))
    assert host.batch_multiple * forward_costs(host, config).flops(config.r) == counted


def test_a_budget_refuses_another_image_size_than_the_configs() -> None:
    """DINOv2 takes any size, and its counts of tokens would be another share of them."""
    model = vidtldr.apply_patch(model_of("dinov2"), flop_ratio=0.9)
    with torch.no_grad(), pytest.raises(ValueError, match="must run on the 26 tokens"):
        model(torch.randn(1, 3, 32, 32))
    vidtldr.apply_patch(model, ratio=[0.25])
    with torch.no_grad():
        assert model(torch.randn(1, 3, 32, 32)).logits.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_old_promises(name: str, tmp_path: Path) -> None:
    """Save and load, pickle, deepcopy, half types and threads."""
    model = vidtldr.apply_patch(model_of(name), r=[5, 0, 4])
    expected = outputs(model)
    model.save_pretrained(tmp_path)
    again = vidtldr.apply_patch(type(model).from_pretrained(tmp_path).eval(), r=[5, 0, 4])
    assert equal(outputs(again), expected)
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert equal(outputs(other), expected)
    found: dict[int, list[Tensor]] = {}
    threads = [
        threading.Thread(target=lambda i=i: found.update({i: outputs(model)})) for i in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(equal(found[i], expected) for i in range(4))
    for dtype in (torch.bfloat16, torch.float16):
        half = copy.deepcopy(model).to(dtype)
        assert all(x.isfinite().all() for x in outputs(half, dtype))


@pytest.mark.parametrize("name", NAMES)
def test_gradient_checkpointing_gives_the_same_gradients(name: str) -> None:
    model = vidtldr.apply_patch(model_of(name), r=[5, 0, 4]).train()
    gradients = []
    for checkpointed in (False, True):
        if checkpointed:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        model.zero_grad()
        torch.manual_seed(0)  # in training DINOv3 draws how it stretches positions
        next(iter(model(**inputs_of(model)).values())).square().sum().backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys() != set()
    for key, gradient in gradients[0].items():
        assert torch.allclose(gradient, gradients[1][key], atol=1e-5, rtol=1e-4), key


@pytest.mark.slow
@pytest.mark.parametrize("output", ["tokens", "grid"])
@pytest.mark.parametrize("name", NAMES)
def test_it_compiles_in_one_graph(name: str, output: str) -> None:
    model = model_of(name)
    root = vidtldr.apply_patch(find_host(model).root, r=[5, 0, 4], output=output)
    torch._dynamo.reset()  # or the other models count towards the limit of graphs
    inputs = list(inputs_of(model).values())
    if name == "siglip2":  # its embeddings read sizes as numbers, which breaks a graph
        root, inputs = root.encoder, [root.embeddings(inputs[0], inputs[2]).detach()]
    elif name in ("idefics3", "smolvlm"):  # a mask of ones is known to be one only by its values
        ones = torch.ones(2, 5, 5, dtype=torch.bool)
        root, inputs = root.encoder, [root.embeddings(inputs[0], ones).detach()]
    with torch.no_grad():
        expected = root(*inputs)[0]
        found = torch.compile(root, fullgraph=True, backend="aot_eager")(*inputs)[0]
    assert torch.allclose(found, expected, atol=1e-4)


def test_older_layers_of_dinov2_are_refused() -> None:
    from transformers import Dinov2Config, Dinov2Model

    model = Dinov2Model(Dinov2Config(hidden_size=12, num_hidden_layers=1, num_attention_heads=2))
    attention = model.encoder.layer[0].attention
    if hasattr(attention, "q_proj"):
        del attention.q_proj
    with pytest.raises(NotImplementedError, match=r"layers of transformers 5\.18 or later, got ol"):
        vidtldr.apply_patch(model, r=[1])
