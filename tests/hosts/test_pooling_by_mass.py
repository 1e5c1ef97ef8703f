"""Pooling by mass behind the blocks: probes, attentive poolers and means of merged tokens."""

import copy
import pickle
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from support import tiny_encoders
from support.tiny_encoders import SIZES, inputs_of, spread_out_weights
from support.tiny_models import clips, videomae
from torch import Tensor, nn

import vidtldr
from vidtldr.budget.counts import forward_costs
from vidtldr.config import MergeConfig
from vidtldr.hosts.registry import find_host
from vidtldr.measure.flops import count_flops


def siglip_classifier() -> nn.Module:
    from transformers import SiglipConfig, SiglipForImageClassification

    config = SiglipConfig(text_config={}, vision_config=SIZES, num_labels=5)
    return spread_out_weights(SiglipForImageClassification(config))


def two_layer_pooler() -> nn.Module:
    return tiny_encoders.vjepa2(num_pooler_layers=2)


def clip_classifier() -> nn.Module:
    from transformers import CLIPConfig, CLIPForImageClassification

    config = CLIPConfig(text_config={}, vision_config=SIZES, num_labels=5)
    return spread_out_weights(CLIPForImageClassification(config))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "siglip": tiny_encoders.siglip,
    "siglip2": tiny_encoders.siglip2,
    "siglip_classifier": siglip_classifier,
    "clip_classifier": clip_classifier,
    "videomae": videomae,
    "dinov2": tiny_encoders.dinov2,
    "dinov2_registers": tiny_encoders.dinov2_registers,
    "vjepa2": two_layer_pooler,
}


def inputs_for(model: nn.Module, batch: int = 2) -> dict[str, Tensor]:
    is_videomae = "VideoMAE" in type(model).__name__
    return {"pixel_values": clips(batch)} if is_videomae else inputs_of(model, batch)


def pooled(model: nn.Module, batch: int = 2) -> Tensor:
    dtype = next(model.parameters()).dtype
    inputs = inputs_for(model, batch)
    with torch.no_grad():
        out = model(**{k: x.to(dtype) if x.is_floating_point() else x for k, x in inputs.items()})
    found: Tensor = out["logits"] if "logits" in out else out["pooler_output"]
    return found


@pytest.mark.parametrize("name", MODELS)
def test_merged_tokens_pool_as_their_places_do(name: str) -> None:
    """Plain merging: the grid repeats each token once for each unit of its mass."""
    model = MODELS[name]().double()
    grid = pooled(vidtldr.apply_patch(model, r=[5, 0, 7], score=None, output="grid"))
    vidtldr.apply_patch(model, r=[5, 0, 7], score=None, pooling="mass")
    with vidtldr.trace(model) as trace:
        found = pooled(model)
    assert torch.allclose(found, grid, atol=1e-10)
    assert trace.mass.max() > 1
    if name != "vjepa2":  # which refuses tokens that count alike
        vidtldr.apply_patch(model, r=[5, 0, 7], score=None, output="tokens")
        if name != "siglip2":  # as NaFlex does in its classifier
            assert not torch.allclose(pooled(model), grid, atol=1e-4)


def weighed(x: Tensor, mass: Tensor, q: Tensor, attention: Any, names: str) -> Tensor:
    """One attention of queries (M, C) to tokens (N, C) in proportion to mass, a key at a time."""
    k_proj, v_proj = (getattr(attention, f"{name}_proj") for name in names)
    keys, values, out = k_proj(x), v_proj(x), torch.zeros_like(q)
    width = q.shape[-1] // attention.num_heads
    for head in range(attention.num_heads):
        part = slice(head * width, (head + 1) * width)
        for i in range(len(q)):
            counts = [
                mass[j] * (q[i, part] @ keys[j, part] / width**0.5).exp() for j in range(len(x))
            ]
            total = sum(counts)
            for j, count in enumerate(counts):
                out[i, part] += count / total * values[j, part]
    return out


@torch.no_grad()
def test_the_attentive_pooler_of_vjepa_weighs_by_mass() -> None:
    model = tiny_encoders.vjepa2().double()
    vidtldr.apply_patch(model, r=[5, 0, 4], pooling="mass")
    seen: list[Tensor] = []
    handle = model.pooler.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with vidtldr.trace(model) as trace:
        found = pooled(model)
    handle.remove()
    (layer,), cross = model.pooler.self_attention_layers, model.pooler.cross_attention_layer
    for b, mass in enumerate(trace.mass):
        x, y = seen[0][b], layer.layer_norm1(seen[0][b])
        attention = layer.self_attn
        y = weighed(y, mass, attention.q_proj(y), attention, "kv")
        x = x + attention.out_proj(y)
        x = cross.layer_norm1(x + layer.mlp(layer.layer_norm2(x)))
        query = model.pooler.query_tokens[0]
        y = query + weighed(x, mass, cross.cross_attn.q_proj(query), cross.cross_attn, "kv")
        y = y + cross.mlp(cross.layer_norm2(y))
        assert torch.allclose(found[b], model.classifier(y[0]), atol=1e-9)


@torch.no_grad()
@pytest.mark.parametrize("name", ["siglip", "siglip2"])
def test_the_probe_of_siglip_weighs_by_mass(name: str) -> None:
    model = MODELS[name]().double()
    vidtldr.apply_patch(model, r=[5, 0, 4], pooling="mass")
    seen: list[Tensor] = []
    handle = model.head.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with vidtldr.trace(model) as trace:
        found = pooled(model)
    handle.remove()
    head, attention = model.head, model.head.attention
    for number, part in enumerate("qkv"):
        rows = slice(number * 48, (number + 1) * 48)
        projection = nn.Linear(48, 48).double()
        projection.weight.copy_(attention.in_proj_weight[rows])
        projection.bias.copy_(attention.in_proj_bias[rows])
        setattr(head, f"{part}_proj", projection)
    head.num_heads = attention.num_heads
    for b, mass in enumerate(trace.mass):
        x = weighed(seen[0][b], mass, head.q_proj(head.probe[0]), head, "kv")
        x = attention.out_proj(x)
        expected = x + head.mlp(head.layernorm(x))
        assert torch.allclose(found[b], expected[0], atol=1e-9)


@torch.no_grad()
@pytest.mark.parametrize("name", ["dinov2", "dinov2_registers"])
def test_the_mean_of_dinov2_weighs_by_mass(name: str) -> None:
    model = MODELS[name]().double()
    host = find_host(model)
    vidtldr.apply_patch(model, r=[5, 0, 4], pooling="mass")
    seen: list[Tensor] = []
    handle = host.blocks[-1].register_forward_hook(lambda _, __, x: seen.append(x))
    with vidtldr.trace(model) as trace:
        found = pooled(model)
    handle.remove()
    vidtldr.remove_patch(model)
    x = host.root.layernorm(seen[0])
    first = host.num_prefix_tokens
    mass = trace.mass[:, first:, None]
    mean = (x[:, first:] * mass).sum(1) / mass.sum(1)
    expected = model.classifier(torch.cat([x[:, 0], mean], dim=1))
    assert torch.allclose(found, expected, atol=1e-10)


@torch.no_grad()
def test_the_mean_of_videomae_weighs_by_mass() -> None:
    model = vidtldr.apply_patch(videomae().double(), r=[9, 0, 5], pooling="mass")
    seen: list[Tensor] = []
    last = find_host(model).blocks[-1]
    handle = last.register_forward_hook(lambda _, __, x: seen.append(x))
    with vidtldr.trace(model) as trace:
        found = pooled(model)
    handle.remove()
    mass = trace.mass[..., None]
    mean = (seen[0] * mass).sum(1) / mass.sum(1)
    assert torch.allclose(found, model.classifier(model.fc_norm(mean)), atol=1e-10)


@pytest.mark.parametrize("name", MODELS)
def test_it_is_undone_copied_and_pickled(name: str) -> None:
    model = MODELS[name]()
    before = pooled(model)
    vidtldr.apply_patch(model, r=[5, 0, 4], pooling="mass")
    merged = pooled(model)
    assert not torch.equal(merged, before)
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert torch.equal(pooled(other), merged)
        vidtldr.remove_patch(model)
        assert torch.equal(pooled(other), merged)
        assert torch.equal(pooled(model), before)
        vidtldr.apply_patch(model, r=[5, 0, 4], pooling="mass")
    for dtype in (torch.bfloat16, torch.float16):
        assert pooled(copy.deepcopy(model).to(dtype)).isfinite().all()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.allclose(pooled(model).float(), merged, atol=0.5)


@pytest.mark.parametrize("name", MODELS)
def test_gradients_flow_and_checkpointing_keeps_them(name: str) -> None:
    model = vidtldr.apply_patch(MODELS[name](), r=[5, 0, 4], pooling="mass").train()
    gradients = []
    for checkpointed in (False, True):
        if checkpointed:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        model.zero_grad()
        out = model(**inputs_for(model))
        (out["logits"] if "logits" in out else out["pooler_output"]).square().sum().backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys() != set()
    for key, gradient in gradients[0].items():
        assert torch.allclose(gradient, gradients[1][key], atol=1e-4, rtol=1e-3), key


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["siglip", "siglip_classifier", "clip_classifier", "videomae", "dinov2", "vjepa2"]
)
def test_it_compiles_in_one_graph(name: str) -> None:
    model = vidtldr.apply_patch(MODELS[name](), r=[5, 0, 4], pooling="mass")
    torch._dynamo.reset()
    inputs = inputs_for(model)
    with torch.no_grad():
        expected = pooled(model)
        found = torch.compile(model, fullgraph=True, backend="aot_eager")(**inputs)
    found = found["logits"] if "logits" in found else found["pooler_output"]
    assert torch.allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("name", ["siglip", "siglip_classifier", "dinov2", "vjepa2"])
def test_flop_budgets_agree_with_the_counter(name: str) -> None:
    config = MergeConfig(r=(5, 0, 4), pooling="mass")
    model = vidtldr.apply_patch(MODELS[name](), config)
    host = find_host(model)
    with torch.no_grad():
        counted = count_flops(lambda: host.root(*inputs_of(model, 1).values()))
    assert forward_costs(host, config).flops(config.r) == counted


def headless() -> nn.Module:
    return tiny_encoders.siglip(vision_use_head=False)


def first_token() -> nn.Module:
    return videomae(use_mean_pooling=False)


def naflex_classifier() -> nn.Module:
    from transformers import Siglip2Config, Siglip2ForImageClassification

    vision = {name: value for name, value in SIZES.items() if name != "image_size"}
    config = Siglip2Config(text_config={}, vision_config=vision | {"num_patches": 36}, num_labels=5)
    return spread_out_weights(Siglip2ForImageClassification(config))


@pytest.mark.parametrize(
    "build",
    [
        headless,
        first_token,
        tiny_encoders.clip,
        naflex_classifier,
        tiny_encoders.vit,
        tiny_encoders.vjepa2_model,
        tiny_encoders.dinov2_backbone,
        tiny_encoders.xclip,
        tiny_encoders.timesformer,
    ],
)
def test_what_pools_nothing_by_mass_is_refused(build: Callable[[], nn.Module]) -> None:
    with pytest.raises(NotImplementedError, match=r"pooling must be 'tokens' for .* got 'mass'"):
        vidtldr.apply_patch(build(), r=[5], pooling="mass")


def test_the_predictor_of_vjepa_is_out_of_use_while_its_tokens_merge() -> None:
    model = vidtldr.apply_patch(tiny_encoders.vjepa2(), r=[5], pooling="mass")
    inputs = inputs_of(model)
    with torch.no_grad():
        assert model.vjepa2.get_vision_features(*inputs.values()).shape[1] == 27 - 5
        with pytest.raises(NotImplementedError, match="VJEPA2Predictor must be called on an unm"):
            model.vjepa2(**inputs)
        vidtldr.remove_patch(model)
        assert model.vjepa2(**inputs).predictor_output is not None


def test_eager_attention_of_vjepas_pooler_would_drop_the_mass_and_is_refused() -> None:
    model = vidtldr.apply_patch(tiny_encoders.vjepa2(), r=[5], pooling="mass")
    model.set_attn_implementation("eager")
    with pytest.raises(NotImplementedError, match="with 'eager' attention, got 'mass'"):
        pooled(model)


def test_a_forward_that_replaced_the_probes_is_refused() -> None:
    model = tiny_encoders.siglip()
    model.head.attention.forward = lambda *_, **__: None
    with pytest.raises(NotImplementedError, match="MultiheadAttention must have its class's own"):
        vidtldr.apply_patch(model, r=[5], pooling="mass")


def test_a_hook_that_exchanges_tokens_before_the_pooler_is_noticed() -> None:
    model = vidtldr.apply_patch(tiny_encoders.siglip(), r=[5], pooling="mass")
    model.post_layernorm.register_forward_hook(lambda _, __, x: x.clone())
    with pytest.raises(RuntimeError, match="must be the output of layer 3 itself"):
        pooled(model)


def test_a_patch_that_is_removed_midway_pools_as_it_began() -> None:
    model = vidtldr.apply_patch(tiny_encoders.siglip(), r=[5], pooling="mass")
    expected = pooled(model)
    found: list[Tensor] = []
    at_norm, removed = threading.Event(), threading.Event()

    def wait(*_: object) -> None:
        at_norm.set()
        assert removed.wait(20)

    handle = model.post_layernorm.register_forward_pre_hook(wait)
    thread = threading.Thread(target=lambda: found.append(pooled(model)))
    thread.start()
    assert at_norm.wait(20)
    vidtldr.remove_patch(model)
    removed.set()
    thread.join()
    handle.remove()
    assert torch.equal(found[0], expected)
