import pytest
from support.tiny_models import clips, vivit
from support.tiny_world_model import tiny_world_model

from vidtldr.baselines.baseline import Merging, RandomDropping, Unmerged
from vidtldr.baselines.schedules import PAPER, front_loaded, placement, random_dropping
from vidtldr.bench.merging_methods import DEFAULT, VID_TLDR
from vidtldr.bench.quality_methods import (
    ABLATIONS,
    METHODS,
    Cell,
    plan,
    vision_flops,
)
from vidtldr.budget.costs import default_layers
from vidtldr.bundled import BUNDLED, bundled_merge
from vidtldr.models.umt import load_umt
from vidtldr.models.umt.vision import VisionEncoder
from vidtldr.patch.patching import apply_patch

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


@pytest.mark.slow
def test_counted_flops_stay_within_the_budget_and_close_to_it(
    encoder: VisionEncoder, cells: list[Cell]
) -> None:
    full = vision_flops(encoder, Unmerged())
    for cell in cells:
        if cell.variant is None:
            continue
        ratio = vision_flops(encoder, cell.variant) / full
        assert ratio <= cell.budget + 1e-9, cell
        if cell.method not in ("fewer frames", "lower resolution"):
            assert ratio > cell.budget - 0.02, cell


def test_a_budget_out_of_reach_says_why_and_how_low_it_goes(cells: list[Cell]) -> None:
    late = [cell for cell in cells if cell.layers == LATE and cell.budget == 0.5]
    assert late
    assert all(cell.variant is None for cell in late)
    assert all("`flop_ratio` must be at least 0." in (cell.unreachable or "") for cell in late)
    early = [cell for cell in cells if cell.layers == EARLY and cell.budget == 0.8]
    assert all(cell.variant is not None for cell in early)


def test_the_ablation_changes_the_weighting_alone(cells: list[Cell]) -> None:
    configs = [
        cell.variant.config
        for cell in cells
        if isinstance(cell.variant, Merging)
        and cell.method in (VID_TLDR, *(method.name for method in ABLATIONS))
    ]
    early = [config for config in configs if config.r is not None and config.r[0]]
    assert {config.weighting for config in early} == {"masked-saliency", "saliency", "mask"}
    assert {(config.score, config.metric) for config in early} == {("sharpness", "x")}


def test_dropping_pays_nothing_for_matching_and_so_keeps_more_tokens(
    encoder: VisionEncoder, cells: list[Cell]
) -> None:
    dropping = random_dropping(encoder, 0.5, EARLY)
    plain = next(
        cell.variant.config
        for cell in cells
        if isinstance(cell.variant, Merging)
        and (cell.method, cell.layers, cell.budget) == ("plain merging on x", EARLY, 0.5)
    )
    assert isinstance(dropping, RandomDropping)
    assert plain.r is not None
    assert sum(dropping.r) < sum(plain.r)


def test_frames_and_resolution_take_the_dearest_setting_within_the_budget(
    encoder: VisionEncoder, cells: list[Cell]
) -> None:
    settings = {
        (cell.method, cell.budget): cell.variant.to_dict()
        for cell in cells
        if cell.layers is None and cell.variant is not None
    }
    assert settings["fewer frames", 0.8]["num_frames"] == 3
    assert settings["fewer frames", 0.5]["num_frames"] == 2
    assert settings["lower resolution", 0.8]["side"] == 80
    assert settings["lower resolution", 0.5]["side"] == 64


def test_a_budget_below_one_frame_is_out_of_reach(encoder: VisionEncoder) -> None:
    cells = plan(encoder, (0.01,), (EARLY,))
    assert all(cell.variant is None for cell in cells)
    (frames,) = (cell.unreachable for cell in cells if cell.method == "fewer frames")
    assert frames is not None
    assert "for fewer frames, got 0.01. Raise it." in frames


def test_the_default_has_layers_of_its_own_and_is_pooled_by_mass(
    encoder: VisionEncoder, cells: list[Cell]
) -> None:
    (cell,) = [cell for cell in cells if (cell.method, cell.budget) == (DEFAULT, 0.8)]
    assert isinstance(cell.variant, Merging)
    config = cell.variant.config
    merging = tuple(layer for layer, entry in enumerate(config.schedule) if entry)
    assert merging == default_layers(len(encoder.blocks), "ward") == (0, 1, 2, 3)
    assert (config.score, config.linkage, config.pooling) == (None, "ward", "mass")


def test_the_bundled_preset_is_the_default_at_0_6_of_the_flops() -> None:
    (cell,) = plan(load_umt(BUNDLED).vision_encoder, (0.6,), (EARLY,), [DEFAULT])
    assert cell.variant == Merging(bundled_merge())


def test_the_papers_setting_shares_out_r_as_the_paper_does(
    encoder: VisionEncoder, cells: list[Cell]
) -> None:
    (cell,) = [cell for cell in cells if (cell.method, cell.budget) == (PAPER, 0.8)]
    assert isinstance(cell.variant, Merging)
    config = cell.variant.config
    assert (config.score, config.metric, config.weighting) == ("sharpness", "x", "masked-saliency")
    assert config.r is not None
    most = config.r[0]
    assert list(config.r) == [most, most * 2 // 6, most // 6]
    with pytest.raises(
        ValueError, match=r"`flop_ratio` must be at least 0.* in these shares, got 0"
    ):
        front_loaded(encoder, 0.1, EARLY)


def test_the_papers_shares_leave_a_class_token_alone() -> None:
    model = vivit(num_frames=6, image_size=24)  # 27 tokens that can merge: at most 13 do
    with pytest.raises(ValueError, match="`flop_ratio` must be at least") as refused:
        front_loaded(model, 0.1, (0,))
    lowest = float(str(refused.value).split()[5])
    r = front_loaded(model, lowest + 1e-3, (0,)).config.r
    assert r == (13,)
    apply_patch(model, r=r)
    model(clips(1)[..., :24, :24])


def test_methods_are_taken_by_name(encoder: VisionEncoder) -> None:
    cells = plan(encoder, (0.8,), (EARLY, LATE), ["random dropping", "no drop mask"])
    found = [(cell.method, cell.layers) for cell in cells]
    assert found == [("random dropping", EARLY), ("random dropping", LATE), ("no drop mask", EARLY)]
    names = r"`methods` must be among default, default .*, got tome"
    with pytest.raises(ValueError, match=names):
        plan(encoder, (0.8,), (EARLY,), ["tome"])


def test_what_cannot_be_planned_is_refused(encoder: VisionEncoder) -> None:
    with pytest.raises(ValueError, match=r"`budgets` must be in \(0, 1\), got 1.0. The unmerged"):
        plan(encoder, (1.0,), (EARLY,))
    with pytest.raises(ValueError, match=r"`layers` must be in \[0, 4\] .* got \[3, 4, 5\]"):
        plan(encoder, (0.5,), (placement(3),))
