import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vidtldr.method.matching import Match, match_tokens
from vidtldr.method.merging import merge_tokens

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def reference_merge(
    x: Tensor, mass: Tensor, match: Match, weights: Tensor | None, b: int
) -> tuple[list[list[float]], list[float]]:
    """Eq. 10 and 11 for clip `b`, a group at a time, in Python floats (float64)."""
    tokens, m = x[b].double().tolist(), mass[b].double().tolist()
    p, end, length = match.num_prefix_tokens, match.end, match.tube_length
    w = [1.0] * (end - p) if weights is None else weights[b].double().tolist()
    pairs = list(zip(match.src[b].tolist(), match.dst[b].tolist(), strict=True))
    out, out_mass = [], []
    destinations = [k for k in range(p, end) if (k - p) // length % 2]
    for k in [*range(p), *match.kept[b].tolist(), *destinations, *range(end, len(tokens))]:
        group = [(m[k], tokens[k])] + [(m[i] * w[i - p], tokens[i]) for i, j in pairs if j == k]
        total = sum(mi for mi, _ in group)
        out.append([sum(mi * t[c] for mi, t in group) / total for c in range(len(tokens[0]))])
        out_mass.append(total)
    return out, out_mass


def test_three_tokens_worked_by_hand() -> None:
    x = torch.tensor([[[2.0], [6.0], [10.0]]])
    match = match_tokens(torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.1, 1.0]]]), 1)  # 2 into 1
    # Token 2 has mass 4 and weight 1/2: 2 of its mass join 1's own mass of 2.
    merged, mass = merge_tokens(
        x, torch.tensor([[1.0, 2.0, 4.0]]), match, torch.tensor([[1, 1, 0.5]])
    )
    assert merged.tolist() == [[[2.0], [8.0]]]
    assert mass.tolist() == [[1.0, 4.0]]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("num_tokens", "prefix", "r", "suffix", "tube"),
    [(8, 0, 4, 0, 1), (9, 0, 3, 0, 1), (13, 1, 6, 0, 1), (14, 5, 2, 0, 1), (14, 1, 4, 3, 1),
     (24, 1, 3, 2, 3), (21, 0, 2, 1, 4)],
)  # fmt: skip
@pytest.mark.parametrize("weighted", [True, False])
def test_merging_equals_the_loops(
    dtype: torch.dtype,
    num_tokens: int,
    prefix: int,
    r: int,
    suffix: int,
    tube: int,
    weighted: bool,
) -> None:
    x = torch.randn(3, num_tokens, 5, dtype=torch.float64).to(dtype)
    mass = 1 + 9 * torch.rand(3, num_tokens, dtype=torch.promote_types(dtype, torch.float32))
    num_mergeable = num_tokens - prefix - suffix
    weights = torch.rand(3, num_mergeable, dtype=mass.dtype) if weighted else None
    match = match_tokens(x, r, prefix, suffix, tube)
    found, found_mass = merge_tokens(x, mass, match, weights)
    for b in range(3):
        expected, expected_mass = reference_merge(x, mass, match, weights, b)
        # A mean of at most r + 1 tokens: their roundings in float32, and one of the result.
        size = max(1.0, x.double().abs().max().item())
        tolerance = size * (torch.finfo(dtype).eps + 4 * (r + 1) * torch.finfo(mass.dtype).eps)
        assert (
            found[b].double() - torch.tensor(expected, dtype=torch.float64)
        ).abs().max() <= tolerance
        assert torch.allclose(
            found_mass[b].double(), torch.tensor(expected_mass, dtype=torch.float64), rtol=1e-6
        )
    assert found.dtype == dtype


@pytest.mark.parametrize("dtype", DTYPES)
def test_r_of_zero_moves_tokens_but_changes_none(dtype: torch.dtype) -> None:
    x = torch.randn(2, 7, 3).to(dtype)
    mass = 1 + torch.rand(2, 7)
    match = match_tokens(x, 0, 1)
    merged, merged_mass = merge_tokens(x, mass, match, torch.rand(2, 6))
    order = [0, 1, 3, 5, 2, 4, 6]  # prefix, sources, destinations
    assert torch.equal(merged, x[:, order])
    assert torch.equal(merged_mass, mass[:, order])


@pytest.mark.parametrize("dtype", DTYPES)
def test_when_all_sources_are_background_destinations_stay_bit_for_bit(dtype: torch.dtype) -> None:
    x = torch.randn(2, 10, 3).to(dtype)
    mass = 1 + 3 * torch.rand(2, 10)
    match = match_tokens(x, 5)
    merged, merged_mass = merge_tokens(x, mass, match, torch.zeros(2, 10))
    assert torch.equal(merged, x[:, 1::2])
    assert torch.equal(merged_mass, mass[:, 1::2])


def test_prefix_tokens_stay_put() -> None:
    x = torch.randn(2, 11, 3)
    mass = torch.ones(2, 11)
    merged, merged_mass = merge_tokens(x, mass, match_tokens(x, 4, 3), torch.rand(2, 8))
    assert torch.equal(merged[:, :3], x[:, :3])
    assert merged_mass[:, :3].eq(1).all()


@settings(deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 24), st.integers(0, 3), st.data())
def test_mass_never_falls_below_one_and_never_grows_in_total(
    seed: int, mergeable: int, prefix: int, data: st.DataObject
) -> None:
    r = data.draw(st.integers(0, mergeable // 2))
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, prefix + mergeable, 4, generator=generator)
    mass = 1 + 5 * torch.rand(2, prefix + mergeable, generator=generator)
    weights = torch.rand(2, mergeable, generator=generator).round(decimals=1)
    merged, merged_mass = merge_tokens(x, mass, match_tokens(x, r, prefix), weights)
    assert merged.shape == (2, prefix + mergeable - r, 4)
    assert merged.isfinite().all()
    assert merged_mass.ge(1).all()
    assert merged_mass.sum() <= mass.sum() * (1 + 1e-6)
    assert merged.abs().max() <= x.abs().max() * (1 + 1e-5)  # a mean leaves the hull of no group


def test_one_clip_alone_equals_that_clip_in_a_batch() -> None:
    x, mass, weights = torch.randn(4, 15, 6), 1 + torch.rand(4, 15), torch.rand(4, 15)
    together, _ = merge_tokens(x, mass, match_tokens(x, 6), weights)
    for b in range(4):
        one = slice(b, b + 1)
        alone, _ = merge_tokens(x[one], mass[one], match_tokens(x[one], 6), weights[one])
        assert torch.equal(alone[0], together[b])


def test_gradients_flow_through_tokens_mass_and_weights() -> None:
    x = torch.randn(2, 9, 3, dtype=torch.float64, requires_grad=True)
    mass = (1 + torch.rand(2, 9, dtype=torch.float64)).requires_grad_()
    weights = torch.rand(2, 8, dtype=torch.float64, requires_grad=True)
    match = match_tokens(x, 3, 1)
    assert torch.autograd.gradcheck(
        lambda *a: merge_tokens(a[0], a[1], match, a[2]), (x, mass, weights)
    )


def test_tokens_need_not_be_contiguous() -> None:
    x = torch.randn(2, 5, 10).transpose(1, 2)
    mass, match = torch.ones(2, 10), match_tokens(x, 3)
    strided, _ = merge_tokens(x, mass, match, None)
    assert torch.equal(strided, merge_tokens(x.contiguous(), mass, match, None)[0])


def test_shapes_that_do_not_fit_are_refused() -> None:
    x, mass = torch.randn(2, 9, 3), torch.ones(2, 9)
    match = match_tokens(x, 3, 1)
    with pytest.raises(ValueError, match=r"x must be \(B, 9, C\) .* got shape \(2, 8, 3\)"):
        merge_tokens(x[:, 1:], mass, match, None)
    with pytest.raises(ValueError, match=r"mass must be \(2, 9\), one per token, got .*\(2, 8\)"):
        merge_tokens(x, mass[:, 1:], match, None)
    with pytest.raises(ValueError, match=r"weights must be \(2, 8\), .* got shape \(2, 9\)"):
        merge_tokens(x, mass, match, torch.ones(2, 9))
