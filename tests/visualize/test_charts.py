from dataclasses import replace

import numpy as np
import pytest
from support.scenes import Scene

from vidtldr.visualize.charts import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    layer_chart,
    mass_chart,
)


def test_tokens_fall_in_steps_and_the_table_says_the_same(scene: Scene) -> None:
    sides = scene.report().sides
    chart = layer_chart("tokens", "Tokens", "tokens", sides, [side.num_tokens for side in sides])
    assert chart.rows == [
        ["0", "48", "32", "32"],
        ["1", "48", "24", "24"],
        ["2", "48", "24", "24"],
        ["3", "48", "24", "24"],
    ]
    assert [words for _, words in chart.y_ticks] == ["0", "20", "40", "60"]
    heights = [[float(p.split(",")[1]) for p in line.points.split()] for line in chart.lines]
    inner = HEIGHT - TOP - BOTTOM
    assert heights[1] == pytest.approx(
        [TOP + (1 - tokens / 60) * inner for tokens in (32, 32, 24, 24, 24, 24, 24, 24)], abs=0.1
    )
    assert heights[0] == pytest.approx([TOP + (1 - 48 / 60) * inner] * 8, abs=0.1)
    step = (WIDTH - LEFT - RIGHT) / 4
    edges = [LEFT + step * edge for edge in (0, 1, 1, 2, 2, 3, 3, 4)]
    for line in chart.lines:
        assert [float(p.split(",")[0]) for p in line.points.split()] == pytest.approx(edges)


def test_masses_are_counted_in_ranges_that_double(scene: Scene) -> None:
    layer = scene.seen["ToMe"].layers[-1]
    masses = np.asarray([1, 1, 1, 1.5, 2, 2.1, 7], np.float32)
    side = replace(scene.side("ToMe", "ToMe"), layers=[replace(layer, mass=masses)])
    chart = mass_chart([side])
    assert chart.rows == [["1", "3"], ["1–2", "2"], ["2–4", "1"], ["4–8", "1"]]
    assert [bar.words for bar in chart.bars] == ["3", "2", "1", "1"]
    assert all(bar.y >= TOP for bar in chart.bars)
    assert [bar.y + bar.height for bar in chart.bars] == pytest.approx([HEIGHT - BOTTOM] * 4)
    slot = (WIDTH - LEFT - RIGHT) / 4
    assert [bar.x for bar in chart.bars] == pytest.approx(
        [LEFT + (i + 0.1) * slot for i in range(4)]
    )
    assert chart.bars[0].height > chart.bars[1].height > chart.bars[2].height > 0


def test_tokens_that_all_stand_for_one_patch_make_one_bar(scene: Scene) -> None:
    layer = replace(scene.seen["ToMe"].layers[-1], mass=np.ones(5, np.float32))
    chart = mass_chart([replace(scene.side("ToMe", "ToMe"), layers=[layer])])
    assert chart.rows == [["1", "5"]]


@pytest.mark.parametrize("largest", [1e-4, 0.3, 1, 7, 99, 101, 2352, 6e5])
def test_an_axis_holds_its_largest_value_under_round_ticks(scene: Scene, largest: float) -> None:
    chart = layer_chart("x", "x", "x", [scene.report().unmerged], [[largest, largest / 3]])
    places = [y for y, _ in chart.y_ticks]
    assert 3 <= len(places) <= 6
    assert places[0] == HEIGHT - BOTTOM
    assert places[-1] == TOP
    for line in chart.lines:
        for point in line.points.split():
            x, y = map(float, point.split(","))
            assert LEFT <= x <= WIDTH
            assert TOP <= y <= HEIGHT - BOTTOM


def test_a_deep_model_has_no_more_marks_than_fit(scene: Scene) -> None:
    chart = layer_chart("x", "x", "x", [scene.report().unmerged], [list(range(40))])
    assert len(chart.x_ticks) <= 12
    assert len(chart.rows) == 40
