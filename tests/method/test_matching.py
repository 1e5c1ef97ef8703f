import pytest
import torch
from torch import Tensor

from vidtldr.method.matching import match_tokens


def reference_match(
    clip: list[list[float]], r: int, prefix: int
) -> tuple[list[int], list[int], list[int]]:
    """Bipartite soft matching of one clip with loops in Python floats (float64)."""

    def cosine(a: list[float], b: list[float]) -> float:
        lengths = sum(u * u for u in a) ** 0.5 * sum(v * v for v in b) ** 0.5
        return sum(u * v for u, v in zip(a, b, strict=True)) / lengths if lengths else 0.0

    sources, destinations = range(prefix, len(clip), 2), range(prefix + 1, len(clip), 2)
    proposals = []
    for i in sources:
        similarity, j = max(
            ((cosine(clip[i], clip[j]), -j) for j in destinations), default=(0.0, 0)
        )
        proposals.append((-similarity, i, -j))
    merged = sorted(proposals)[:r]
    src, dst = [i for _, i, _ in merged], [j for _, _, j in merged]
    return [i for i in sources if i not in src], src, dst


def test_three_tokens_worked_by_hand() -> None:
    # Token 2 points almost as the only destination does, token 0 away from it.
    metric = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.1, 1.0]]])
    match = match_tokens(metric, 1)
    assert (match.kept.tolist(), match.src.tolist(), match.dst.tolist()) == ([[0]], [[2]], [[1]])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("num_tokens", "prefix"), [(8, 0), (9, 0), (9, 1), (12, 5), (31, 3)])
def test_matching_equals_the_loops(dtype: torch.dtype, num_tokens: int, prefix: int) -> None:
    metric = torch.randn(3, num_tokens, 6, dtype=torch.float64).to(dtype)
    for r in range((num_tokens - prefix) // 2 + 1):
        match = match_tokens(metric, r, prefix)
        for b, clip in enumerate(metric.double().tolist()):
            expected = reference_match(clip, r, prefix)
            assert (
                match.kept[b].tolist(),
                match.src[b].tolist(),
                match.dst[b].tolist(),
            ) == expected


def test_length_does_not_matter_only_direction() -> None:
    metric = torch.randn(2, 20, 8)
    longer = metric * torch.rand(2, 20, 1).add(0.1)
    assert torch.equal(match_tokens(metric, 6).dst, match_tokens(longer, 6).dst)


def test_of_equal_proposals_the_earlier_source_wins() -> None:
    match = match_tokens(torch.ones(1, 8, 4), 2)
    assert match.src.tolist() == [[0, 2]]
    assert match.kept.tolist() == [[4, 6]]


def test_tokens_of_zero_length_match_without_nan() -> None:
    metric = torch.zeros(1, 6, 3)
    match = match_tokens(metric, 3)
    assert sorted(match.src[0].tolist()) == [0, 2, 4]


def test_prefix_tokens_take_no_part() -> None:
    metric = torch.randn(2, 13, 4)
    metric[:, :3] = metric[:, 3:6].clone()  # as similar as can be
    match = match_tokens(metric, 4, num_prefix_tokens=3)
    assert min(match.kept.min(), match.src.min(), match.dst.min()) >= 3


def test_suffix_tokens_take_no_part() -> None:
    metric = torch.randn(2, 13, 4)
    metric[:, 9:] = metric[:, 5:9].clone()  # as similar as can be
    match = match_tokens(metric, 4, num_prefix_tokens=1, num_suffix_tokens=4)
    alone = match_tokens(metric[:, :9], 4, num_prefix_tokens=1)
    assert all(torch.equal(a, b) for a, b in zip(match[:3], alone[:3], strict=True))
    assert (match.num_tokens, match.end, match.num_destinations) == (13, 9, 4)


def test_tubes_match_by_the_mean_of_their_tokens() -> None:
    metric = torch.randn(2, 1 + 7 * 3 + 2, 4)
    match = match_tokens(metric, 2, num_prefix_tokens=1, num_suffix_tokens=2, tube_length=3)
    means = torch.stack([metric[:, i : i + 3].mean(1) for i in range(1, 22, 3)], dim=1)
    of_tubes = match_tokens(means, 2)
    for found, tubes in zip(match[:3], of_tubes[:3], strict=True):
        expected = [[1 + 3 * i + t for i in row for t in range(3)] for row in tubes.tolist()]
        assert found.tolist() == expected


@pytest.mark.parametrize("num_tokens", [0, 1])
def test_fewer_than_two_mergeable_tokens_cannot_merge(num_tokens: int) -> None:
    match = match_tokens(torch.randn(2, 2 + num_tokens, 4), 0, num_prefix_tokens=2)
    assert match.kept.shape == (2, num_tokens)
    assert match.src.shape == (2, 0)


def test_the_choice_of_pairs_carries_no_graph() -> None:
    metric = torch.randn(1, 6, 3, requires_grad=True)
    assert not any(part.requires_grad for part in match_tokens(metric, 2)[:3])


def _metric(*shape: int) -> Tensor:
    return torch.randn(*shape)


@pytest.mark.parametrize(
    ("metric", "r", "prefix", "message"),
    [
        (_metric(4, 6), 1, 0, r"metric must be \(B, N, C\), got shape \(4, 6\)"),
        (_metric(1, 9, 2), 5, 0, r"`r` must be in \[0, 4\] \(half of 9 mergeable tokens\), got 5"),
        (_metric(1, 9, 2), 4, 2, r"`r` must be in \[0, 3\] \(half of 7 mergeable tokens\), got 4"),
        (_metric(1, 9, 2), -1, 0, r"`r` must be in \[0, 4\] .* got -1"),
        (_metric(1, 3, 2), 0, 4, r"num_prefix_tokens must be in \[0, 3\] .* got 4"),
    ],
)
def test_an_impossible_request_is_refused(
    metric: Tensor, r: int, prefix: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        match_tokens(metric, r, prefix)


@pytest.mark.parametrize(
    ("r", "extras", "message"),
    [
        (1, (1, 9), r"num_suffix_tokens must be in \[0, 8\] .* got 9"),
        (1, (1, -1), r"num_suffix_tokens must be in \[0, 8\] .* got -1"),
        (4, (1, 1), r"`r` must be in \[0, 3\] \(half of 7 mergeable tokens\), got 4"),
        (1, (1, 1, 2), "tube_length must divide the 7 mergeable tokens, got 2"),
        (1, (0, 0, 0), "tube_length must divide the 9 mergeable tokens, got 0"),
        (2, (0, 0, 3), r"`r` must be in \[0, 1\] .* got 2"),
    ],
)
def test_impossible_extras_and_tubes_are_refused(
    r: int, extras: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        match_tokens(_metric(1, 9, 2), r, *extras)


@pytest.mark.parametrize("r", [0.25, True, "3"])
def test_r_that_is_no_count_is_refused(r: object) -> None:
    with pytest.raises(TypeError, match=r"`r` must be an int, got .* use `ratio`"):
        match_tokens(_metric(1, 8, 2), r)  # type: ignore[arg-type]


def test_an_integer_metric_is_refused() -> None:
    with pytest.raises(TypeError, match="metric must be floating point"):
        match_tokens(torch.zeros(1, 4, 2, dtype=torch.int32), 1)


def test_autocast_around_it_changes_no_match() -> None:
    metric = torch.randn(2, 201, 16)
    plain = match_tokens(metric, 90)
    with torch.autocast("cpu", torch.bfloat16):
        inside = match_tokens(metric, 90)
    assert all(torch.equal(a, b) for a, b in zip(inside[:3], plain[:3], strict=True))
