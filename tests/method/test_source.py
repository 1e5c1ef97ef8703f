import pytest
import torch

from vidtldr.method.matching import match_tokens
from vidtldr.method.merging import merge_tokens
from vidtldr.method.source import moved_to, places_after, unmerge_tokens, update_source


def test_the_new_place_of_each_token_worked_by_hand() -> None:
    # Prefix 1; sources 1, 3, 5; destinations 2, 4. Token 3 merges into 4.
    metric = torch.tensor([[[9.0, 9], [1, 0], [0, 1], [0.6, -0.8], [0.5, -0.8], [-1, 0]]])
    match = match_tokens(metric, 1, 1)
    assert (match.src.tolist(), match.dst.tolist()) == ([[3]], [[4]])
    # After: prefix, 1, 5, 2, 4.
    assert moved_to(match).tolist() == [[0, 1, 3, 4, 4, 2]]


@pytest.mark.parametrize(
    ("num_tokens", "prefix", "suffix", "tube"),
    [(16, 0, 0, 1), (17, 2, 0, 1), (21, 0, 0, 1), (21, 1, 3, 1), (39, 1, 2, 2)],
)
def test_two_merges_compose_as_following_each_token_does(
    num_tokens: int, prefix: int, suffix: int, tube: int
) -> None:
    x, mass = torch.randn(3, num_tokens, 4), torch.ones(3, num_tokens)
    source = torch.arange(num_tokens).expand(3, -1)
    steps = []
    for r in (5, 3):
        match = match_tokens(x, r, prefix, suffix, tube)
        steps.append(moved_to(match))
        source = update_source(source, match)
        x, mass = merge_tokens(x, mass, match, None)
    for b in range(3):
        for token in range(num_tokens):
            place = token
            for step in steps:
                place = int(step[b, place])
            assert int(source[b, token]) == place
    assert source.dtype == torch.int64
    assert int(source.max()) == x.shape[1] - 1
    behind = torch.arange(x.shape[1] - suffix, x.shape[1]).expand(3, -1)
    assert torch.equal(source[:, num_tokens - suffix :], behind)
    assert torch.equal(source[:, :prefix], torch.arange(prefix).expand(3, -1))


@pytest.mark.parametrize("suffix", [0, 2])
def test_places_after_a_merge_are_those_of_destinations_and_kept_tokens(suffix: int) -> None:
    x = torch.randn(2, 13, 4)
    match = match_tokens(x, 3, 1, suffix)
    places = torch.arange(13).expand(2, -1)
    after = places_after(places, match)
    for b in range(2):
        merged = set(match.src[b].tolist())
        assert sorted(after[b].tolist()) == [i for i in range(13) if i not in merged]
        stays = [i for i in range(13) if i not in merged]
        assert all(after[b, moved_to(match)[b, i]] == i for i in stays)


def test_plain_merging_is_the_mean_of_the_tokens_that_point_to_a_place() -> None:
    x = torch.randn(2, 12, 4, dtype=torch.float64)
    match = match_tokens(x, 5)
    merged, mass = merge_tokens(x, torch.ones(2, 12, dtype=torch.float64), match, None)
    source = moved_to(match)
    for b in range(2):
        for place in range(7):
            members = x[b][source[b] == place]
            assert torch.allclose(merged[b, place], members.mean(dim=0))
            assert mass[b, place] == len(members)


def test_unmerging_gives_every_original_token_the_result_of_its_place() -> None:
    x = torch.randn(2, 3, 4)
    source = torch.tensor([[0, 0, 2, 1], [2, 1, 1, 0]])
    full = unmerge_tokens(x, source)
    assert full.shape == (2, 4, 4)
    for b in range(2):
        for token in range(4):
            assert torch.equal(full[b, token], x[b, source[b, token]])
    assert torch.equal(unmerge_tokens(x[..., 0], source), full[..., 0])


def test_unmerging_after_no_merge_is_the_identity() -> None:
    x = torch.randn(2, 6, 3)
    assert torch.equal(unmerge_tokens(x, torch.arange(6).expand(2, -1)), x)


def test_maps_that_do_not_fit_are_refused() -> None:
    x = torch.randn(2, 6, 3)
    with pytest.raises(
        ValueError, match=r"source must be \(2, N0\), one row per clip, got shape \(3, 4\)"
    ):
        unmerge_tokens(x, torch.zeros(3, 4, dtype=torch.long))
    with pytest.raises(TypeError, match=r"source must be int64, got torch.int32"):
        unmerge_tokens(x, torch.zeros(2, 4, dtype=torch.int32))
    with pytest.raises(ValueError, match=r"x must be \(B, N, C\) or \(B, N\), got shape \(6,\)"):
        unmerge_tokens(x[0, :, 0], torch.zeros(2, 4, dtype=torch.long))
    with pytest.raises(ValueError, match=r"source must be \(2, N0\), .* got shape \(1, 6\)"):
        update_source(torch.zeros(1, 6, dtype=torch.long), match_tokens(x, 2))
