import pytest
from bench.tiny_world_model import tiny_world_model

from vidtldr.bench.peers import Merging, RandomDropping, Unmerged
from vidtldr.bench.quality_methods import (
    ABLATIONS,
    METHODS,
    PRESET,
    Cell,
    placement,
    plan,
    preset_method,
    random_dropping,
    vision_flops,
)
from vidtldr.hosts.config import MergeConfig
from vidtldr.models.umt.vision import VisionEncoder

EARLY, LATE = placement(0), placement(2)


@pytest.fixture(scope="module")
def encoder() -> VisionEncoder:
    return tiny_world_model().vision_encoder


@pytest.fixture(scope="module")
def cells(encoder: VisionEncoder) -> list[Cell]:
    return plan(encoder, (0.8, 0.5), (EARLY, LATE))


def test_there_is_a_cell_for_every_method_placement_and_budget(cells: list[Cell]) -> None:
    placed = [method for method in METHODS if method.chooses_layers]
    lines = 2 * len(placed) + (len(METHODS) - len(placed)) + len(ABLATIONS)
    assert len(cells) == len({(c.method, c.layers, c.budget) for c in cells}) == 2 * lines
    assert {cell.layers for cell in cells} == {(0, 1, 2), (2, 3, 4), None}


def test_counted_flops_stay_within_the_budget_and_close_to_it(
    encoder: VisionEncoder, cells: list[Cell]
) -> None:
    full = vision_flops(encoder, Unmerged())
    for cell in cells:
        if cell.peer is None:
            continue
        ratio = vision_flops(encoder, cell.peer) / full
        assert ratio <= cell.budget + 1e-9, cell
        if cell.layers is not None:
            assert ratio > cell.budget - 0.02, cell


def test_a_budget_out_of_reach_says_why_and_how_low_it_goes(cells: list[Cell]) -> None:
    late = [cell for cell in cells if cell.layers == LATE and cell.budget == 0.5]
    assert late
    assert all(cell.peer is None for cell in late)
    assert all("flop_ratio must be at least 0." in (cell.unreachable or "") for cell in late)
    early = [cell for cell in cells if cell.layers == EARLY and cell.budget == 0.8]
    assert all(cell.peer is not None for cell in early)


def test_the_ablation_changes_the_weighting_alone(cells: list[Cell]) -> None:
    configs = [
        cell.peer.config
        for cell in cells
        if isinstance(cell.peer, Merging) and cell.method.startswith("vid-TLDR")
    ]
    early = [config for config in configs if config.r is not None and config.r[0]]
    assert {config.weighting for config in early} == {"masked-saliency", "saliency", "mask"}
    assert {(config.score, config.metric) for config in early} == {("sharpness", "x")}


def test_dropping_pays_nothing_for_matching_and_so_keeps_more_tokens(
    encoder: VisionEncoder, cells: list[Cell]
) -> None:
    dropping = random_dropping(encoder, 0.5, EARLY)
    plain = next(
        cell.peer.config
        for cell in cells
        if isinstance(cell.peer, Merging)
        and (cell.method, cell.layers, cell.budget) == ("plain merging on x", EARLY, 0.5)
    )
    assert isinstance(dropping, RandomDropping)
    assert plain.r is not None
    assert sum(dropping.r) < sum(plain.r)


def test_frames_and_resolution_take_the_dearest_setting_within_the_budget(
    encoder: VisionEncoder, cells: list[Cell]
) -> None:
    settings = {
        (cell.method, cell.budget): cell.peer.to_dict()
        for cell in cells
        if cell.layers is None and cell.peer is not None
    }
    assert settings["fewer frames", 0.8]["num_frames"] == 3
    assert settings["fewer frames", 0.5]["num_frames"] == 2
    assert settings["lower resolution", 0.8]["side"] == 80
    assert settings["lower resolution", 0.5]["side"] == 64


def test_a_budget_below_one_frame_is_out_of_reach(encoder: VisionEncoder) -> None:
    cells = plan(encoder, (0.01,), (EARLY,))
    assert all(cell.peer is None for cell in cells)
    (frames,) = (cell.unreachable for cell in cells if cell.method == "fewer frames")
    assert frames is not None
    assert "for fewer frames, got 0.01. Raise it." in frames


def test_a_preset_keeps_its_choices_and_layers_at_every_budget(encoder: VisionEncoder) -> None:
    preset = MergeConfig(r=[0, 12, 0, 7], score="received", metric="keys")
    cells = [cell for cell in plan(encoder, (0.8, 0.7), (EARLY,), preset) if cell.method == PRESET]
    assert [cell.layers for cell in cells] == [(1, 3), (1, 3)]
    for cell in cells:
        assert isinstance(cell.peer, Merging)
        assert (cell.peer.config.score, cell.peer.config.metric) == ("received", "keys")
    assert preset_method(MergeConfig(flop_ratio=0.5, layers=[1, 2]))[1] == (1, 2)


def test_what_cannot_be_planned_is_refused(encoder: VisionEncoder) -> None:
    with pytest.raises(ValueError, match=r"budgets must be in \(0, 1\), got 1.0. The unmerged"):
        plan(encoder, (1.0,), (EARLY,))
    with pytest.raises(ValueError, match=r"layers must be in \[0, 4\] .* got \[3, 4, 5\]"):
        plan(encoder, (0.5,), (placement(3),))
    with pytest.raises(ValueError, match="preset must name the layers that merge, got"):
        preset_method(MergeConfig(flop_ratio=0.5))
