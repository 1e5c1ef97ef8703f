"""InternVideo2's encoder against a slow reference in float64, by the names of its weights."""

import pytest
import torch
from support.tiny_internvideo2 import TINY, InternVideo2, PretrainInternVideo2, clips, internvideo2
from torch import Tensor
from torch.nn import functional as F

from vidtldr.models.internvideo2 import InternVideo2 as OurInternVideo2
from vidtldr.models.internvideo2 import InternVideo2Config


def rms(x: Tensor, weight: Tensor) -> Tensor:
    return weight * x / ((x * x).sum() / len(x) + 1e-6).sqrt()


def attend(q: list[Tensor], k: list[Tensor], v: list[Tensor], num_heads: int) -> list[Tensor]:
    """Attention of each query (C,) to all keys, a head and a query at a time."""
    width, found = len(k[0]) // num_heads, []
    for query in q:
        parts = []
        for first in range(0, num_heads * width, width):
            part = slice(first, first + width)
            logits = torch.stack([query[part] @ key[part] / width**0.5 for key in k])
            values = torch.stack([value[part] for value in v])
            parts.append((logits.exp() / logits.exp().sum()) @ values)
        found.append(torch.cat(parts))
    return found


def reference(
    w: dict[str, Tensor], config: InternVideo2Config, clip: Tensor
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Tokens (N, C), pooled (E,) and logits of one clip (T, 3, S, S), a token at a time."""

    def linear(name: str, x: Tensor) -> Tensor:
        return w[f"{name}.weight"] @ x + w.get(f"{name}.bias", 0)

    def layer_norm(name: str, x: Tensor) -> Tensor:
        centred = x - x.mean()
        x = centred / (centred.square().mean() + 1e-5).sqrt()
        return x * w[f"{name}.weight"] + w[f"{name}.bias"]

    side, size = config.image_size, config.patch_size
    filters, x = w["patch_embed.proj.weight"][:, :, 0], [w["cls_token"][0, 0]]
    for frame in clip:
        for row in range(0, side, size):
            for column in range(0, side, size):
                patch = frame[:, row : row + size, column : column + size]
                x.append((filters * patch).sum((1, 2, 3)) + w["patch_embed.proj.bias"])
    x = [token + place for token, place in zip(x, w["pos_embed"][0], strict=True)]
    for i in range(config.num_layers):
        block = f"blocks.{i}"
        y = [rms(token, w[f"{block}.norm1.weight"]) for token in x]
        q, k, v = ([part @ token for token in y] for part in w[f"{block}.attn.qkv.weight"].chunk(3))
        q = [rms(each, w[f"{block}.attn.q_norm.weight"]) for each in q]
        k = [rms(each, w[f"{block}.attn.k_norm.weight"]) for each in k]
        attended = attend(q, k, v, config.num_heads)
        gamma = w[f"{block}.ls1.gamma"]
        x = [t + gamma * linear(f"{block}.attn.proj", y) for t, y in zip(x, attended, strict=True)]
        for j, token in enumerate(x):
            inside = F.gelu(linear(f"{block}.mlp.fc1", rms(token, w[f"{block}.norm2.weight"])))
            x[j] = token + w[f"{block}.ls2.gamma"] * linear(f"{block}.mlp.fc2", inside)
    pool = "clip_projector"
    read = {"q": [torch.stack(x).mean(0)], "k": x, "v": x}
    q, k, v = (
        [
            linear(f"{pool}.cross_attn.{name}", layer_norm(f"{pool}.norm1_{name}", token))
            + w[f"{pool}.cross_attn.{name}_bias"]
            for token in tokens
        ]
        for name, tokens in read.items()
    )
    pooled = linear(f"{pool}.cross_attn.proj", attend(q, k, v, config.num_pool_heads)[0])
    if "head.weight" not in w:
        return torch.stack(x), pooled, None
    return torch.stack(x), pooled, linear("head", layer_norm("fc_norm", pooled))


@torch.no_grad()
@pytest.mark.parametrize("num_labels", [None, 7])
@pytest.mark.parametrize(
    "sizes", [{}, {"num_frames": 1}, {"image_size": 10, "patch_size": 5, "num_heads": 1}]
)
def test_a_forward_equals_the_float64_reference(
    num_labels: int | None, sizes: dict[str, int]
) -> None:
    model = internvideo2(num_labels, num_layers=2, **sizes).double()
    config = model.config
    pixels = clips(2, num_frames=config.num_frames)[..., : config.image_size, : config.image_size]
    pixels = pixels.double()
    found = model(pixels)
    assert found.tokens.shape == (2, config.num_tokens, config.hidden_size)
    assert found.mass is None
    for b, clip in enumerate(pixels):
        tokens, pooled, logits = reference(model.state_dict(), config, clip)
        assert (found.tokens[b] - tokens).abs().max() < 1e-9
        assert (found.pooled[b] - pooled).abs().max() < 1e-9
        if logits is None:
            assert found.logits is None
        else:
            assert (found.logits[b] - logits).abs().max() < 1e-9


@torch.no_grad()
def test_names_and_outputs_are_those_of_the_published_layout() -> None:
    ours, theirs = internvideo2().double(), InternVideo2().double().eval()
    theirs.load_state_dict(ours.state_dict())  # strict: no name is missing or left over
    pixels = clips().double()
    assert torch.allclose(ours(pixels).logits, theirs(pixels.transpose(1, 2)), atol=1e-9)
    alone = OurInternVideo2(TINY).state_dict().keys()
    extra = {
        "clip_pos_embed",
        *(f"clip_decoder.{i}.{p}" for i in (0, 1) for p in ("weight", "bias")),
    }
    assert alone | extra == PretrainInternVideo2().state_dict().keys()


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_close_and_scales_are_not_lost(dtype: torch.dtype) -> None:
    model, pixels = internvideo2(), clips()
    exact = model(pixels)
    half = model.to(dtype)(pixels)
    assert half.pooled.dtype == dtype
    assert (half.pooled.float() - exact.pooled).abs().max() < 0.1 * exact.pooled.abs().max()
    tiny = OurInternVideo2(TINY).to(dtype).blocks[0]
    x = torch.full((1, 1, 24), 100.0, dtype=dtype)
    assert (tiny.ls1(x) != 0).all()  # fresh scales are 1e-5, below float16's normal numbers


@torch.no_grad()
def test_mass_pools_tokens_as_their_copies() -> None:
    model = internvideo2().double()
    x = torch.randn(2, 5, 24, dtype=torch.float64)
    mass = torch.tensor([[1.0, 2, 1, 3, 1], [1, 1, 4, 1, 1]], dtype=torch.float64)
    found = model.pool(x, mass)
    for b in range(2):
        copies = x[b].repeat_interleave(mass[b].long(), dim=0)[None]
        assert torch.allclose(found.pooled[b], model.pool(copies).pooled[0], atol=1e-12)
    assert found.mass is mass


@pytest.mark.parametrize("shape", [(1, 2, 3, 12, 12), (1, 3, 3, 14, 14), (3, 3, 12, 12)])
def test_another_shape_of_clips_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"pixel_values must be \(clips, 3, 3, 12, 12\), got"):
        internvideo2()(torch.zeros(shape))


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("b14", (768, 12, 12, 3072)),
        ("l14", (1024, 24, 16, 4096)),
        ("1b", (1408, 40, 16, 6144)),
    ],
)
def test_the_published_sizes(name: str, sizes: tuple[int, ...]) -> None:
    config = InternVideo2Config.named(name)
    assert (config.hidden_size, config.num_layers, config.num_heads, config.mlp_size) == sizes
    assert config.num_tokens == 2049
    if name == "1b":
        with torch.device("meta"):
            model = OurInternVideo2(config)
        assert sum(p.numel() for p in model.parameters()) == pytest.approx(1e9, rel=0.05)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": 25}, "hidden_size must be a multiple of num_heads=3, got 25"),
        ({"num_pool_heads": 7}, "hidden_size must be a multiple of num_pool_heads=7, got 24"),
        ({"patch_size": 5}, "image_size must be a multiple of patch_size=5, got 12"),
        ({"num_frames": 0}, r"num_frames must be an int in \[1, 1048576\], got 0"),
        ({"num_frames": 2**19}, "num_frames must be at most 29127 with 9 patches a frame"),
        ({"mlp_size": "40"}, "mlp_size must be an int"),
    ],
)
def test_sizes_that_cannot_be_built_are_refused(change: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        InternVideo2Config(**vars(TINY) | change)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"\('b14', 'l14', '1b'\) or an InternVideo2Config"):
        InternVideo2Config.named("6b")
