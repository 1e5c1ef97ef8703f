import statistics
from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny_dense import SIDE, tiny_dense_model, write_photos
from support.tiny_files import write_video

from vidtldr.baselines.baseline import Merging
from vidtldr.baselines.schedules import PAPER, placement
from vidtldr.bench.dense import run_dense
from vidtldr.bench.dense_figures import agreement, feature_distance, map_auroc, map_change, max_f
from vidtldr.bench.dense_methods import DENSE_METHODS, plan_dense
from vidtldr.bench.dense_model import DenseModel
from vidtldr.bench.dense_result import DenseResult, mean_figure
from vidtldr.bench.merging_methods import SPREAD_METHODS
from vidtldr.bench.picture_files import PictureFile, find_pictures
from vidtldr.bench.pictures import read_picture
from vidtldr.bench.quality_methods import Cell
from vidtldr.bench.saliency_quality import auroc
from vidtldr.bench.saliency_scores import SCORES
from vidtldr.config import MergeConfig
from vidtldr.measure.flops import count_flops
from vidtldr.measure.result_store import ResultStore
from vidtldr.patch.patching import patched, trace
from vidtldr.patch.twin import merged_twin

MERGE = MergeConfig(r=[0, 9, 4], score="sharpness", output="grid")
NOTHING = MergeConfig(r=[], score="sharpness", output="grid")
RANDOM = MergeConfig(r=[9], score=None, metric="random", output="grid")
CELLS = [
    Cell("vid-TLDR", (1, 2), 0.7, Merging(MERGE)),
    Cell("the same again", (1, 2), 0.6, Merging(MERGE)),
    Cell("nothing", (0,), 0.99, Merging(NOTHING)),
    Cell("random merging", (0,), 0.8, Merging(RANDOM)),
    Cell("too much", (3,), 0.1, None, "too few"),
]


@pytest.fixture(scope="module")
def model() -> DenseModel:
    return tiny_dense_model()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("dense"))


@pytest.fixture(scope="module")
def files(folder: Path) -> list[PictureFile]:
    return find_pictures(folder / "photos", folder / "masks")


@pytest.fixture(scope="module")
def store_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store") / "dense.jsonl"


@pytest.fixture(scope="module")
def result(model: DenseModel, files: list[PictureFile], store_file: Path) -> DenseResult:
    return run_dense(model, files, CELLS, ResultStore(store_file), num_frames=2)


@torch.inference_mode()
def test_figures_are_those_of_a_patched_model(
    model: DenseModel, files: list[PictureFile], result: DenseResult
) -> None:
    for place, file in enumerate(files):
        picture = read_picture(file, SIDE, 1)
        assert picture.mask is not None
        before = model(picture.pixel_values)
        with patched(model.backbone, MERGE):
            after = model(picture.pixel_values)
        expected = {
            "feature_distance": feature_distance(after.features, before.features),
            "map_change": map_change(after.maps, before.maps),
            "max_f": max_f(after.maps[0], picture.mask),
            "auroc": map_auroc(after.maps[0], picture.mask),
            "max_f_change": max_f(after.maps[0], picture.mask)
            - max_f(before.maps[0], picture.mask),
            "auroc_change": map_auroc(after.maps[0], picture.mask)
            - map_auroc(before.maps[0], picture.mask),
        }
        agreed = agreement(after.maps[0], before.maps[0])
        found = {name: figure.values[place] for name, figure in result.rows[0].figures.items()}
        assert found == pytest.approx({**expected, "agreement": agreed}, abs=1e-9)
        assert expected["feature_distance"] > 1e-4


def test_merging_nothing_changes_nothing(result: DenseResult) -> None:
    for row in (result.unmerged, result.rows[2]):
        assert row.flop_ratio == 1
        figures = {name: figure.mean for name, figure in row.figures.items()}
        assert figures["feature_distance"] == pytest.approx(0, abs=1e-12)
        assert figures["map_change"] == figures["max_f_change"] == figures["auroc_change"] == 0
        assert figures["agreement"] == 1
    assert result.rows[2].figures["max_f"] == result.unmerged.figures["max_f"]


def test_a_row_says_what_was_merged_and_what_it_costs(
    model: DenseModel, result: DenseResult
) -> None:
    picture = torch.zeros(1, 3, SIDE, SIDE)
    twin = merged_twin(model.backbone, MERGE)
    with torch.inference_mode():
        full = count_flops(lambda: model.backbone(picture))
        assert result.rows[0].flop_ratio == count_flops(lambda: twin(picture)) / full
    assert result.gflops == full / 1e9
    assert result.rows[0].setting == Merging(MERGE).to_dict()
    assert result.rows[0].figures == result.rows[1].figures
    assert result.rows[4].unreachable == "too few"
    assert result.rows[4].figures == {}
    assert (result.pictures, result.num_masks) == (("disc0.jpg", "disc1.jpg", "disc2.jpg"), 3)


def test_means_and_standard_errors_are_over_the_pictures_that_have_the_figure() -> None:
    found = mean_figure([0.5, None, 0.1, 0.3])
    assert found is not None
    assert found.mean == pytest.approx(0.3)
    assert found.standard_error == pytest.approx(statistics.stdev([0.5, 0.1, 0.3]) / 3**0.5)
    assert found.values == (0.5, None, 0.1, 0.3)
    assert mean_figure([None]) is None
    alone = mean_figure([0.25, None])
    assert alone is not None
    assert (alone.mean, alone.standard_error) == (0.25, None)


def test_a_run_goes_on_where_it_was_stopped(
    model: DenseModel, files: list[PictureFile], tmp_path: Path, result: DenseResult
) -> None:
    store, steps = tmp_path / "dense.jsonl", []

    def stop(_: str, done: int, total: int) -> None:
        steps.append((done, total))
        if done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_dense(model, files, CELLS, ResultStore(store), num_frames=2, on_step=stop)
    assert steps == [(done, 15) for done in range(1, 8)]  # 4 settings and the scores, 3 times
    assert len(store.read_text().splitlines()) == 7
    again = run_dense(model, files, CELLS, ResultStore(store), num_frames=2)
    assert again == result
    assert len(store.read_text().splitlines()) == 15


def test_nothing_is_computed_twice(
    model: DenseModel,
    files: list[PictureFile],
    store_file: Path,
    result: DenseResult,
) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("the model ran")

    hooks = [each.register_forward_pre_hook(refuse) for each in (model, model.backbone)]
    try:
        assert run_dense(model, files, CELLS, ResultStore(store_file), num_frames=2) == result
    finally:
        for hook in hooks:
            hook.remove()


def test_what_is_stored_belongs_to_these_weights_this_photo_and_its_mask(
    model: DenseModel, folder: Path, files: list[PictureFile], store_file: Path, result: DenseResult
) -> None:
    before = store_file.read_bytes()
    try:
        file, other = files[0], files[1]
        store = ResultStore(store_file)
        swapped = PictureFile(file.name, file.path, other.mask)
        found = run_dense(model, [swapped], CELLS, store, num_frames=2)
        assert found.unmerged.figures["auroc"].mean != result.unmerged.figures["auroc"].values[0]
        without = run_dense(model, [PictureFile(file.name, file.path)], CELLS, store, num_frames=2)
        assert "max_f" not in without.unmerged.figures
        assert without.scores_against == "own map"
        changed = tiny_dense_model()
        with torch.no_grad():
            changed.decoder.final_conv.bias += 0.1
        moved = run_dense(changed, [file], CELLS, store, num_frames=2)
        assert moved.rows[0].figures["map_change"] != result.rows[0].figures["map_change"]
    finally:
        store_file.write_bytes(before)


def test_random_draws_repeat_and_differ_from_photo_to_photo(
    model: DenseModel, files: list[PictureFile], result: DenseResult
) -> None:
    before = torch.get_rng_state()
    again = run_dense(model, files, CELLS[3:4], ResultStore(), num_frames=2)
    assert again.rows[0] == result.rows[3]
    assert torch.equal(torch.get_rng_state(), before)


def test_a_bad_photo_does_not_stop_the_rest(
    model: DenseModel, folder: Path, files: list[PictureFile], result: DenseResult, tmp_path: Path
) -> None:
    broken = PictureFile("broken.jpg", tmp_path / "broken.jpg")
    broken.path.write_bytes(b"no picture")
    steps: list[int] = []
    found = run_dense(
        model,
        [files[0], broken, *files[1:]],
        CELLS,
        ResultStore(),
        num_frames=2,
        on_step=lambda _, done, total: steps.append(total - done),
    )
    assert [each.name for each in found.failed] == ["broken.jpg"]
    assert "UnidentifiedImageError" in found.failed[0].error
    assert found.rows == result.rows
    assert steps == list(range(19, -1, -1))
    with pytest.raises(ValueError, match=r"no picture could be measured; the first: .*broken\.jpg"):
        run_dense(model, [broken], CELLS, ResultStore(), num_frames=2)


@torch.inference_mode()
def test_a_video_counts_once_with_the_mean_of_its_frames(model: DenseModel, tmp_path: Path) -> None:
    file = PictureFile("film.mp4", write_video(tmp_path / "film.mp4"))
    found = run_dense(model, [file], CELLS[:1], ResultStore(), num_frames=5)
    picture = read_picture(file, SIDE, 5)
    twin = merged_twin(model.backbone, MERGE)
    one_by_one = [
        feature_distance(model(frame[None], twin).features, model(frame[None]).features)
        for frame in picture.pixel_values
    ]
    figure = found.rows[0].figures["feature_distance"]
    assert figure.mean == pytest.approx(statistics.fmean(one_by_one), rel=1e-5)
    assert figure.standard_error is None
    assert len(figure.values) == 1
    assert found.num_frames == 5


@torch.inference_mode()
def test_scores_are_those_that_a_merging_layer_sees(
    model: DenseModel, files: list[PictureFile], result: DenseResult
) -> None:
    """In the first layer that merges; the others are equal by the same code."""
    assert result.scores_against == "masks"
    assert [row.score for row in result.scores[: len(SCORES)]] == list(SCORES)
    assert {row.layer for row in result.scores} == {0, 1, 2, 3}
    picture = read_picture(files[1], SIDE, 1)
    assert picture.mask is not None
    shares = torch.nn.functional.avg_pool2d(picture.mask[None].float(), 8).flatten()
    with (
        patched(model.backbone, MergeConfig(r=[0, 9], score="sharpness", output="grid")),
        trace(model.backbone) as traced,
    ):
        model.backbone(picture.pixel_values)
    saliency = traced.layers[1].saliency  # which grows with the sharpness
    assert saliency is not None
    expected = auroc(saliency, shares >= 0.5).item()
    [found] = [row.auroc for row in result.scores if (row.layer, row.score) == (1, "sharpness")]
    assert found.values[1] == pytest.approx(expected, abs=1e-9)


def test_a_plan_has_every_method_placement_and_budget(model: DenseModel) -> None:
    cells = plan_dense(model.backbone, [0.9, 0.05], [placement(0), placement(1)])
    placed = set(DENSE_METHODS) - set(SPREAD_METHODS) - {PAPER}
    assert len(cells) == (len(SPREAD_METHODS) + 1) * 2 + len(placed) * 4
    assert {cell.method for cell in cells} == set(DENSE_METHODS)
    assert {cell.layers for cell in cells if cell.method in placed} == {(0, 1, 2), (1, 2, 3)}
    assert {cell.layers for cell in cells if cell.method not in placed} == {(0, 1, 2)}
    for cell in cells:
        is_met = cell.budget == 0.9
        assert (cell.variant is not None) == is_met
        assert bool(cell.unreachable) != is_met
        if isinstance(cell.variant, Merging):
            assert cell.variant.config.output == "grid"
    few = plan_dense(model.backbone, [0.9], [placement(0)], ["ToMe (keys)"])
    assert [cell.method for cell in few] == ["ToMe (keys)"]


def test_the_papers_setting_has_the_papers_shares(model: DenseModel) -> None:
    [cell] = plan_dense(model.backbone, [0.9], [placement(1)], [PAPER])
    assert isinstance(cell.variant, Merging)
    first, second, third = cell.variant.config.r or ()
    assert first > 0
    assert (second, third) == (first * 2 // 6, first // 6)
    assert (cell.variant.config.score, cell.variant.config.linkage) == ("sharpness", "cosine")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0], [(0,)]), "`budgets` must be in"),
        (([0.9], [(3, 4, 5)]), r"`layers` must be in \[0, 3\]"),
        (
            ([0.9], [(0,)], ["random dropping"]),
            "`methods` must be among default, .* got random",
        ),
    ],
)
def test_plans_that_cannot_be_are_refused(
    model: DenseModel, arguments: tuple[Any, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        plan_dense(model.backbone, *arguments)
