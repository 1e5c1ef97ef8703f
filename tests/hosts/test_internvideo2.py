"""InternVideo2: our own encoder and modules of the published names and layout."""

import copy
import pickle
import threading
from typing import Any

import pytest
import torch
from support import tiny_internvideo2
from support.encoder_oracle import DEFAULT, PAPER, PROTECTED, internvideo2_parts, merged_tokens
from support.tiny_internvideo2 import (
    TINY,
    DropoutAddRMSNorm,
    InternVideo2,
    PretrainInternVideo2,
    PretrainVisionTransformer_clean,
    clips,
    internvideo2,
    published,
)
from torch import Tensor, nn

import vidtldr
from vidtldr.budget.counts import forward_costs
from vidtldr.config import MergeConfig
from vidtldr.hosts.registry import find_host, is_known
from vidtldr.measure.flops import count_flops

BUILDS: dict[str, Any] = {
    "ours": internvideo2,
    "headless": lambda: internvideo2(None),
    "published": published,
    "pretrain": lambda: published(PretrainInternVideo2),
    "tower": lambda: published(PretrainVisionTransformer_clean),
}
PLAIN = ["ours", "published"]
WALKED = [*PLAIN, "tower"]
FIELDS: list[dict[str, Any]] = [{"output": "tokens"}, {"output": "grid"}, {"pooling": "mass"}]
#: The published pools have no mass, and pretraining reads every place.
UNSUPPORTED: list[tuple[str, dict[str, Any]]] = [
    ("published", {"pooling": "mass"}),
    ("pretrain", {"pooling": "mass"}),
    ("pretrain", {"output": "tokens"}),
    ("tower", {"pooling": "mass"}),
    ("tower", {"output": "tokens"}),
]
SCHEDULES = [[1], [13], [5, 0, 4], [0, 7, 3, 2]]
CASES = [
    *((r, PAPER) for r in SCHEDULES),
    *((SCHEDULES[-1], choices) for choices in (DEFAULT, PROTECTED)),
]


def pixels_for(model: nn.Module, batch: int = 2) -> Tensor:
    """Clips in the dtype and layout that a model takes; the published ones have channels first."""
    pixels = clips(batch).to(next(model.parameters()).dtype)
    is_ours = type(model).__module__.startswith("vidtldr")
    return pixels if is_ours else pixels.transpose(1, 2)


def outputs(model: nn.Module) -> list[Tensor]:
    with torch.no_grad():
        found = model(pixels_for(model))
    return [found] if isinstance(found, Tensor) else [x for x in found if x is not None]


def equal(one: list[Tensor], other: list[Tensor]) -> bool:
    return len(one) == len(other) and all(map(torch.equal, one, other))


def at_the_blocks(model: nn.Module, batch: int) -> list[Tensor]:
    """What enters the first block and what leaves the last."""
    found: list[Tensor] = []
    blocks = find_host(model).blocks
    handles = [
        blocks[0].register_forward_pre_hook(lambda _, args: found.append(args[0])),
        blocks[-1].register_forward_hook(lambda _, __, output: found.append(output)),
    ]
    with torch.no_grad():
        model(pixels_for(model, batch))
    for handle in handles:
        handle.remove()
    return found


@pytest.mark.parametrize("name", BUILDS)
def test_off_and_removed_are_bit_identical(name: str) -> None:
    model = BUILDS[name]()
    before = outputs(model)
    vidtldr.apply_patch(model, r=[0, 0, 0, 0])
    assert equal(outputs(model), before)
    vidtldr.apply_patch(model, r=[5, 3])
    assert not equal(outputs(model), before)
    assert [x.shape for x in outputs(model)] == [x.shape for x in before]  # on the grid
    vidtldr.remove_patch(model)
    assert equal(outputs(model), before)


@torch.no_grad()
@pytest.mark.parametrize("output", ["tokens", "grid"])
@pytest.mark.parametrize(("r", "choices"), CASES, ids=str)
@pytest.mark.parametrize("name", WALKED)
def test_a_merged_forward_equals_the_float64_oracle(
    name: str, r: list[int], choices: dict[str, Any], output: str
) -> None:
    if (name, {"output": output}) in UNSUPPORTED:
        return
    model = BUILDS[name]().double()
    host = find_host(model)
    entered, _ = at_the_blocks(model, 3)
    parts = [internvideo2_parts(block) for block in host.blocks]
    expected, holders = merged_tokens(entered, parts, 3, r, 1, choices)
    if output == "grid":
        expected = torch.stack([x[places] for x, places in zip(expected, holders, strict=True)])
    vidtldr.apply_patch(model, r=r, output=output, **choices)
    with vidtldr.trace(model) as trace:
        _, found = at_the_blocks(model, 3)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < 1e-9
    assert trace.source.tolist() == holders
    assert trace.num_tokens[-1] == 28 - sum(r)


@torch.no_grad()
@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("fields", FIELDS)
def test_merging_equal_neighbours_changes_nothing(name: str, fields: dict[str, Any]) -> None:
    """Without positions and with every patch twice, plain merging of all pairs is exact."""
    if (name, fields) in UNSUPPORTED:
        return
    model = BUILDS[name]().double()
    model.pos_embed.zero_()
    pixels = with_equal_neighbours(clips().double())
    pixels = pixels if name == "ours" else pixels.transpose(1, 2)
    expected, merged = (
        found if isinstance(found, Tensor) else found.logits
        for found in (
            model(pixels),
            vidtldr.apply_patch(model, r=[13], score=None, **fields)(pixels),
        )
    )
    # Tokens that count alike give the class token and the last patch too large a share.
    assert torch.allclose(merged, expected, atol=1e-9) is (fields != {"output": "tokens"})


def with_equal_neighbours(pixels: Tensor) -> Tensor:
    """The same clips with every even patch of 4 x 4 equal to the next; the last of 27 is alone."""
    rows = pixels.unflatten(-1, (3, 4)).unflatten(-3, (3, 4))  # (B, T, 3, 3, 4, 3, 4)
    patches = rows.permute(0, 1, 3, 5, 2, 4, 6).flatten(1, 3).clone()  # (B, 27, 3, 4, 4)
    patches[:, 0:26:2] = patches[:, 1:27:2]
    rows = patches.unflatten(1, (3, 3, 3)).permute(0, 1, 4, 2, 5, 3, 6)
    return rows.reshape(pixels.shape)


@torch.no_grad()
def test_pooling_by_mass_is_that_of_the_grid() -> None:
    model = internvideo2().double()
    grid = vidtldr.apply_patch(model, r=[5, 0, 7], score=None)(clips().double())
    vidtldr.apply_patch(model, r=[5, 0, 7], score=None, pooling="mass")
    found = model(clips().double())
    assert found.tokens.shape[1] == found.mass.shape[1] == 28 - 12
    assert found.mass.max() > 1
    assert torch.allclose(found.pooled, grid.pooled, atol=1e-10)
    assert torch.allclose(found.logits, grid.logits, atol=1e-10)
    vidtldr.apply_patch(model, r=[5, 0, 7], score=None, output="tokens")
    assert not torch.allclose(model(clips().double()).pooled, grid.pooled, atol=1e-4)


def test_the_published_pool_does_not_weigh_by_mass() -> None:
    with pytest.raises(NotImplementedError, match="pooling must be 'tokens' for InternVideo2"):
        vidtldr.apply_patch(published(), r=[5], pooling="mass")


@pytest.mark.parametrize("fields", FIELDS)
@pytest.mark.parametrize("name", BUILDS)
def test_flop_budgets_agree_with_the_counter(name: str, fields: dict[str, Any]) -> None:
    if (name, fields) in UNSUPPORTED:
        return
    config = MergeConfig(r=(5, 0, 4), **fields)
    model = vidtldr.apply_patch(BUILDS[name](), config)
    with torch.no_grad():
        counted = count_flops(lambda: model(pixels_for(model, 1)))
    assert forward_costs(find_host(model), config).flops(config.r) == counted


@pytest.mark.parametrize("name", BUILDS)
def test_old_promises(name: str) -> None:
    """Pickle, deepcopy, half types and threads."""
    model = vidtldr.apply_patch(BUILDS[name](), r=[5, 0, 4])
    expected = outputs(model)
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
        half = outputs(copy.deepcopy(model).to(dtype))
        assert all(x.isfinite().all() and x.dtype == dtype for x in half)


@torch.no_grad()
@pytest.mark.parametrize("name", PLAIN)
def test_autocast_stays_close(name: str) -> None:
    model = vidtldr.apply_patch(BUILDS[name](), r=[5, 0, 4], output="grid")
    exact = outputs(model)[-1]
    with torch.autocast("cpu", torch.bfloat16):
        found = outputs(model)[-1]
    assert (found.float() - exact).abs().max() < 0.2 * exact.abs().max()


def test_pretraining_reads_every_place_and_takes_only_the_grid() -> None:
    model = published(PretrainInternVideo2)
    with pytest.raises(
        NotImplementedError, match=r"output must be 'grid' for PretrainInternVideo2"
    ):
        vidtldr.apply_patch(model, r=[5], output="tokens")
    holder = nn.ModuleDict({"vision_encoder": model})  # as in stage 2
    vidtldr.apply_patch(holder, r=[5, 0, 4])
    with torch.no_grad():
        tokens, _, decoded = model(pixels_for(model))
    assert tokens.shape == (2, 28, 24)
    assert decoded.shape == (2, 2, 28, 5)


@pytest.mark.parametrize("name", ["return_index", "clip_return_index", "down_norm"])
def test_variants_that_read_places_take_only_the_grid(name: str) -> None:
    model = published()
    vidtldr.apply_patch(model, r=[5], output="tokens")
    setattr(model, name, [3])  # as the teacher of distillation has it, or means by frame
    with pytest.raises(NotImplementedError, match="Pass output='grid'"):
        vidtldr.apply_patch(model, r=[5], output="tokens")
    assert vidtldr.apply_patch(model, r=[5]) is model


@torch.no_grad()
def test_a_forward_that_stops_early_leaves_nothing_behind() -> None:
    """Video language models read the tokens of a block before the last."""
    model = published(PretrainInternVideo2)
    before, pixels = outputs(model), pixels_for(model)
    plain = model(pixels, stop_before=1)[0]
    vidtldr.apply_patch(model, r=[5, 0, 4])
    merged = outputs(model)
    early = model(pixels, stop_before=1)[0]
    assert early.shape == plain.shape
    assert not torch.equal(early, plain)
    assert equal(outputs(model), merged)
    vidtldr.remove_patch(model)
    assert torch.equal(model(pixels, stop_before=1)[0], plain)
    assert equal(outputs(model), before)


@pytest.mark.parametrize("name", ["InternVideo2", "PretrainInternVideo2", "DistInternVideo2"])
def test_published_classes_are_known_by_name_in_any_module(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = "transformers_modules.some_model.modeling_internvideo2"
    for part in ("Block", "Attention"):
        monkeypatch.setattr(getattr(tiny_internvideo2, part), "__module__", inside)
    model = published(type(name, (PretrainInternVideo2,), {"__module__": inside}))
    assert find_host(model).family == "InternVideo2 (published code)"
    vidtldr.apply_patch(model, r=[5])
    assert outputs(model)[0].shape == (2, 28, 24)


def test_a_class_of_another_name_or_layout_is_not_taken_for_it() -> None:
    other = type("Encoder", (nn.Module,), {})()
    other.blocks = published().blocks
    assert not is_known(other)
    model = published()
    del model.blocks[2].ls1
    assert not is_known(model)
    assert not is_known(type("InternVideo2", (nn.Module,), {})())


def test_blocks_that_depend_on_more_than_tokens_are_not_known() -> None:
    """Copies that pack clips of several lengths pass these to their blocks."""

    class Block(tiny_internvideo2.Block):
        def forward(self, x: Tensor, residual: Any = None, seqlens: Any = None) -> Tensor:
            return super().forward(x, residual)

    model = published()
    model.blocks[3] = Block(TINY)
    with pytest.raises(ValueError, match="model must be of a known family"):
        vidtldr.apply_patch(model, r=[5])


@pytest.mark.parametrize("how", ["norm", "flag"])
def test_fused_norms_are_refused_with_the_remedy(how: str) -> None:
    model = published()
    block: Any = model.blocks[1]
    if how == "norm":
        block.norm1 = DropoutAddRMSNorm(24)
    else:
        block.use_fused_rmsnorm = True
    with pytest.raises(
        NotImplementedError, match=r"got \w*RMSNorm in block 1: .*use_fused_rmsnorm=False"
    ):
        vidtldr.apply_patch(model, r=[5])


def test_fused_attention_alone_is_no_obstacle() -> None:
    """Towers of language models have it without fused norms; merging layers attend themselves."""
    model = published()
    expected = outputs(vidtldr.apply_patch(model, r=[5, 0, 4]))
    for block in model.blocks:
        block.attn.use_flash_attn = True
    assert equal(outputs(vidtldr.apply_patch(model, r=[5, 0, 4])), expected)


def test_a_tower_without_a_pool_takes_only_the_grid() -> None:
    model = BUILDS["tower"]()
    with pytest.raises(NotImplementedError, match="for PretrainVisionTransformer_clean"):
        vidtldr.apply_patch(model, r=[5], output="tokens")
    vidtldr.apply_patch(model, r=[5, 0, 4])
    assert outputs(model)[0].shape == (2, 28, 24)
    assert isinstance(model.blocks[0].ls1, nn.Parameter)


def test_blocks_of_another_class_are_refused() -> None:
    class Attention(tiny_internvideo2.Attention):
        """Computes something else, under a local name."""

    model = published()
    model.blocks[0].attn = Attention(24, 3)
    with pytest.raises(NotImplementedError, match="model must be built of"):
        vidtldr.apply_patch(model, r=[5])


def test_the_sizes_of_clips_decide_the_tokens_of_a_host() -> None:
    for model in (internvideo2(), published(), internvideo2(num_frames=5)):
        host = find_host(model)
        frames = 5 if model.pos_embed.shape[1] == 46 else 3
        assert host.num_tokens == 1 + 9 * frames
        assert host.num_prefix_tokens == 1
    assert find_host(InternVideo2(TINY)).num_mergeable == 27


@pytest.mark.slow
@pytest.mark.parametrize("fields", FIELDS)
def test_it_compiles_in_one_graph(fields: dict[str, Any]) -> None:
    model = vidtldr.apply_patch(internvideo2(), r=[5, 0, 4], **fields)
    torch._dynamo.reset()
    with torch.no_grad():
        expected = model(clips()).logits
        found = torch.compile(model, fullgraph=True, backend="aot_eager")(clips()).logits
    assert torch.allclose(found, expected, atol=1e-4)
