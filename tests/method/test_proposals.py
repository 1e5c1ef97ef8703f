import math

import pytest
import torch
from torch import Tensor

from vidtldr.method.matching import Match, match_tokens
from vidtldr.method.proposals import apply_protection, find_outliers, propose


def reference_values(
    clip: list[list[float]], mass: list[float], spared: list[bool]
) -> list[tuple[float, int]]:
    """Value and destination of each source's proposal of one clip, by loops in Python floats."""

    def value(i: int, j: int) -> float:
        a, b = clip[i], clip[j]
        dot = sum(u * v for u, v in zip(a, b, strict=True))
        cosine = dot / math.sqrt(sum(u * u for u in a) * sum(v * v for v in b))
        # Growth of the sum of squared distances to the mean, when two unit vectors merge.
        growth = mass[i] * mass[j] / (mass[i] + mass[j]) * (2 - 2 * cosine)
        return 1 - growth - (1e4 if spared[i] or spared[j] else 0)

    destinations = range(1, len(clip), 2)
    return [max((value(i, j), -(j // 2)) for j in destinations) for i in range(0, len(clip), 2)]


@pytest.mark.parametrize("num_tokens", [2, 7, 16, 31])
@pytest.mark.parametrize("with_spared", [False, True])
def test_proposals_by_ward_equal_the_loops(num_tokens: int, with_spared: bool) -> None:
    metric = torch.randn(3, num_tokens, 6, dtype=torch.float64)
    mass = 1 + 9 * torch.rand(3, num_tokens, dtype=torch.float64)
    spared = torch.rand(3, num_tokens) < 0.3
    value, index = propose(metric, mass, spared if with_spared else None)
    nobody = torch.zeros_like(spared)
    for b in range(3):
        own = (spared if with_spared else nobody)[b].tolist()
        expected = reference_values(metric[b].tolist(), mass[b].tolist(), own)
        assert index[b].tolist() == [-j for _, j in expected]
        # Sparing adds 1e4, whose rounding in float64 is 2e-12.
        torch.testing.assert_close(
            value[b],
            torch.tensor([v for v, _ in expected], dtype=torch.float64),
            atol=4e-12,
            rtol=0,
        )


def test_ward_is_the_growth_of_the_variance_within_groups() -> None:
    # Two unit vectors of mass 3 and 5, written out as eight points.
    a, b = torch.nn.functional.normalize(torch.randn(2, 4, dtype=torch.float64), dim=1)
    points = torch.stack([a] * 3 + [b] * 5)
    growth = (points - points.mean(dim=0)).square().sum()
    value, _ = propose(torch.stack([a, b])[None], torch.tensor([[3.0, 5.0]]))
    torch.testing.assert_close(1 - value[0, 0], growth)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_with_masses_of_one_ward_is_the_cosine_bit_for_bit(dtype: torch.dtype) -> None:
    metric = torch.randn(2, 33, 8, dtype=dtype)
    by_ward, by_cosine = propose(metric, torch.ones(2, 33)), propose(metric)
    assert torch.equal(by_ward[0], by_cosine[0])
    assert torch.equal(by_ward[1], by_cosine[1])


def test_by_ward_a_heavy_token_is_left_for_a_less_similar_light_one() -> None:
    source, heavy, light = [1.0, 0.0], [0.99, 0.14], [0.9, 0.43]
    metric = torch.tensor([[source, heavy, source, light]])
    assert propose(metric)[1].tolist() == [[0, 0]]
    mass = torch.tensor([[40.0, 40.0, 1.0, 1.0]])
    assert propose(metric, mass)[1][0, 0].item() == 1


def test_heavy_pairs_merge_last() -> None:
    metric = torch.randn(1, 12, 5)
    mass = torch.ones(1, 12)
    mass[0, 1::2] = 50.0  # beside light tokens, a heavy one costs at most twice as much
    best = match_tokens(metric, 1).src
    mass[0, best[0, 0]] = 50.0
    assert best[0, 0] not in match_tokens(metric, 5, mass=mass).src


def test_protection_lowers_a_value_by_standard_deviations_of_its_clip() -> None:
    value = torch.tensor([[0.9, 0.8, 0.7], [0.5, 0.5, 0.5]])
    protection = torch.tensor([[0.0, 1.0, 2.0], [0.0, 1.0, 2.0]])
    spread = ((0.1**2 + 0.1**2) / 3) ** 0.5
    expected = torch.tensor([[0.9, 0.8 - spread, 0.7 - 2 * spread], [0.5, 0.5, 0.5]])
    torch.testing.assert_close(apply_protection(value, protection), expected)


def test_protection_chooses_who_merges_and_not_with_whom() -> None:
    metric = torch.randn(2, 40, 6)
    protection = torch.rand(2, 40)
    plain, protected = match_tokens(metric, 20), match_tokens(metric, 20, protection=protection)
    # All sources merge: in another order, with the same destinations.
    for before, after in zip(_pairs(plain), _pairs(protected), strict=True):
        assert before == after
    few = match_tokens(metric, 8, protection=100 * protection)
    kept = protection.gather(1, few.kept)
    assert (protection.gather(1, few.src).amax(dim=1) <= kept.amin(dim=1)).all()


def test_no_protection_is_the_paper() -> None:
    metric = torch.randn(2, 31, 6)
    zeros = torch.zeros(2, 30)
    by_zeros = match_tokens(metric, 9, 1, protection=zeros)
    assert all(map(torch.equal, match_tokens(metric, 9, 1)[:3], by_zeros[:3]))


def test_spared_tokens_neither_merge_nor_receive_while_others_can() -> None:
    metric = torch.randn(2, 41, 6)
    spared = torch.rand(2, 40) < 0.3
    num_free = int((~spared[:, 0::2]).sum(dim=1).min())
    match = match_tokens(metric, num_free, 1, spared=spared)
    for own, src, dst in zip(spared, match.src, match.dst, strict=True):
        assert not own[src - 1].any()
        assert not own[dst - 1].any()
    everything = match_tokens(metric, 20, 1, spared=torch.ones(2, 40, dtype=torch.bool))
    assert everything.src.shape == (2, 20)


def test_a_spared_token_does_not_count_in_the_standard_deviation() -> None:
    value = torch.tensor([[0.9, 0.8, 0.7, -9999.3], [-9999.1, -9999.2, -9999.3, -9999.4]])
    protection = torch.tensor([[1.0, 0.0, 2.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    alone = apply_protection(value[:1, :3], protection[:1, :3])
    torch.testing.assert_close(apply_protection(value, protection)[:1, :3], alone)
    assert torch.equal(apply_protection(value, protection)[1], value[1])  # none is left to count


def test_options_of_tubes_hold_for_the_whole_tube() -> None:
    metric = torch.randn(2, 1 + 8 * 3, 4)
    mass = torch.cat([torch.ones(2, 1), (1 + torch.rand(2, 8)).repeat_interleave(3, 1)], dim=1)
    protection = torch.rand(2, 8).repeat_interleave(3, 1)
    match = match_tokens(metric, 2, 1, 0, 3, mass=mass, protection=protection)
    means = torch.stack([metric[:, i : i + 3].mean(1) for i in range(1, 25, 3)], dim=1)
    tubes = match_tokens(means, 2, mass=mass[:, 1::3], protection=protection[:, ::3])
    assert torch.equal(match.src[:, ::3], 1 + 3 * tubes.src)
    assert torch.equal(match.dst[:, ::3], 1 + 3 * tubes.dst)


def test_outliers_are_longer_than_so_many_median_tokens() -> None:
    x = torch.ones(2, 9, 4)
    x[0, 3] *= 5
    x[1, 8] *= 3
    assert find_outliers(x, 4).nonzero().tolist() == [[0, 3]]
    assert find_outliers(x.bfloat16(), 2.5).nonzero().tolist() == [[0, 3], [1, 8]]
    assert not find_outliers(torch.zeros(1, 3, 2), 4).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"mass": torch.ones(2, 8)},
            r"`mass` must have shape \(2, 9\), one .* got \(2, 8\)",
        ),
        (
            {"protection": torch.ones(2, 9)},
            r"`protection` must have shape \(2, 8\), .* got \(2, 9\)",
        ),
        ({"spared": torch.ones(8).bool()}, r"`spared` must have shape \(2, 8\), .* got \(8,\)"),
    ],
)
def test_options_of_other_shapes_are_refused(options: dict[str, Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        match_tokens(torch.randn(2, 9, 4), 2, 1, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mass": torch.ones(2, 9).cfloat()}, "mass must be floating point, got torch.complex64"),
        ({"mass": torch.ones(2, 9).int()}, r"mass must be floating point, .* Convert it with .flo"),
        ({"protection": torch.ones(2, 8).bool()}, "protection must be floating point, got torch.b"),
        ({"spared": torch.ones(2, 8)}, "spared must be bool, .*, got torch.float32. Compare it"),
        ({"spared": torch.full((2, 8), 2)}, "spared must be bool, .*, got torch.int64"),
    ],
)
def test_options_of_other_dtypes_are_refused(options: dict[str, Tensor], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        match_tokens(torch.randn(2, 9, 4), 2, 1, **options)


def _pairs(match: Match) -> list[dict[int, int]]:
    rows = zip(match.src.tolist(), match.dst.tolist(), strict=True)
    return [dict(zip(src, dst, strict=True)) for src, dst in rows]
