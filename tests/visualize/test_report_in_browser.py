"""The report as a person has it: opened from a file, moved about in, and what it draws."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from visualize.browser import OpenReport, why_not
from visualize.read_page import HOSTILE
from visualize.scenes import Scene

from vidtldr.visualize.colours import FOREGROUND, patch_colours
from vidtldr.visualize.merged_layer import MergedLayer
from vidtldr.visualize.report import write_report

WHY_NOT = why_not()
pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))
GRID = (4, 4)
WIDTHS = [375, 1440]


@pytest.fixture(scope="module")
def path(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "a b & #1.html"
    write_report(path, scene.report())
    return path


@pytest.fixture(params=WIDTHS)
def page(driver: Any, path: Path, request: pytest.FixtureRequest) -> Iterator[OpenReport]:
    """At a phone's and a desk's width; it must be silent and ask for nothing."""
    page = OpenReport(driver, path, request.param)
    yield page
    assert page.complaints() == []
    assert page.requests() == []


def outline_at(picture: np.ndarray, row: int, column: int) -> list[int]:
    """The middle of the upper edge of a patch."""
    height, width = picture.shape[:2]
    top = int(row * height / GRID[0] + 0.5)  # as the page rounds
    return picture[top, int((column + 0.5) * width / GRID[1])].tolist()


def slide(page: OpenReport, identity: str, value: int) -> None:
    """Move a slider with the keyboard."""
    from selenium.webdriver import Keys

    slider = page.find(f"#{identity}")
    slider.send_keys(Keys.HOME)
    for _ in range(value):
        slider.send_keys(Keys.ARROW_RIGHT)
    page.settle()


def look_away(page: OpenReport) -> None:
    """Take the pointer off every picture."""
    page.js("document.querySelector('#stage canvas').dispatchEvent(new Event('pointerleave'))")


def shared_patch(layer: MergedLayer) -> tuple[int, int, int]:
    """A patch of a group that spans frames, and has another group or none above it."""
    for t, row, column in np.argwhere(layer.is_shared):
        same = (layer.group == layer.group[t, row, column]) & ~layer.is_dropped
        is_top = row == 0 or not same[t, row - 1, column]
        if is_top and same.any(axis=(1, 2)).sum() > 1:
            return int(t), int(row), int(column)
    raise AssertionError("the scene has no such group")


def test_every_group_has_its_colour_on_its_patches(page: OpenReport, scene: Scene) -> None:
    colours = patch_colours(scene.seen["vid-TLDR"].grid)
    for number, layer in enumerate(scene.seen["vid-TLDR"].layers):
        slide(page, "layer", number)
        look_away(page)
        for frame in range(3):
            slide(page, "frame", 2 * frame)
            picture = page.drawn(page.find("#stage .panels canvas[data-view=groups]"))
            for row, column in np.argwhere(layer.is_shared[frame]):
                group = layer.group[frame, row, column]
                is_same = (layer.group[frame] == group) & ~layer.is_dropped[frame]
                if row == 0 or not is_same[row - 1, column]:
                    expected = colours[layer.first_patch[group]].tolist()
                    assert outline_at(picture, row, column) == expected


def test_dropped_patches_are_hatched_and_others_clear(page: OpenReport, scene: Scene) -> None:
    slide(page, "layer", 0)
    slide(page, "frame", 0)
    look_away(page)
    layer = scene.seen["vid-TLDR"].layers[0]
    groups = page.drawn(page.find("#stage .panels canvas[data-view=groups]")).astype(int)
    plain = page.drawn(page.find("#stage .panels canvas[data-view=picture]")).astype(int)
    height, width = groups.shape[0] // GRID[0], groups.shape[1] // GRID[1]
    assert layer.is_dropped[0].any()
    for row, column in np.ndindex(*GRID):
        inside = np.s_[
            row * height + 6 : (row + 1) * height - 6, column * width + 6 : (column + 1) * width - 6
        ]
        if layer.is_dropped[0, row, column]:
            is_far = np.abs(groups[inside] - plain[inside]).max(axis=-1) > 60
            assert 0.1 < is_far.mean() < 0.9  # lines on dark pictures, what is between on bright
        elif not layer.is_shared[0, row, column]:
            assert (groups[inside] == plain[inside]).all()


def test_foreground_is_outlined_and_background_dark(page: OpenReport, scene: Scene) -> None:
    slide(page, "layer", 0)
    slide(page, "frame", 0)
    look_away(page)
    mask = scene.seen["vid-TLDR"].layers[0].is_foreground[0]
    picture = page.drawn(page.find("#stage canvas[data-view=background]"))
    for row, column in np.ndindex(*GRID):
        if mask[row, column] and (row == 0 or not mask[row - 1, column]):
            assert outline_at(picture, row, column) == list(FOREGROUND)


def test_pointing_at_a_patch_tells_its_facts_and_marks_it_in_all_frames(
    page: OpenReport, scene: Scene
) -> None:
    layer = scene.seen["vid-TLDR"].layers[1]
    t, row, column = shared_patch(layer)
    slide(page, "layer", 1)
    slide(page, "frame", 2 * t)
    look_away(page)
    strip = page.find_all(".strip canvas")
    before = [page.drawn(canvas) for canvas in strip]
    page.hover(page.find("#stage .panels canvas[data-view=groups]"), row, column, GRID)
    facts = page.text("#facts")
    token = layer.group[t, row, column]
    assert f"row {row}, column {column}, frames {2 * t}–{2 * t + 1}" in facts
    assert f"{layer.saliency[t, row, column]:.2f}, " in facts
    assert f"{layer.mass[token]:.2f}; this patch adds" in facts
    assert f"shared by {layer.num_members[token]} patches" in facts
    same = (layer.group == token) & ~layer.is_dropped
    spanned = np.flatnonzero(same.any(axis=(1, 2)))
    assert "frames " + ", ".join(f"{2 * f}–{2 * f + 1}" for f in spanned) in facts
    for picture, canvas in enumerate(strip):
        after = page.drawn(canvas)
        marked = (after != before[picture]).any(axis=-1)
        assert marked.any() == (picture // 2 in spanned)
        for r, c in np.argwhere(same[picture // 2]):
            if r == 0 or not same[picture // 2, r - 1, c]:
                assert outline_at(after, r, c) == [0, 0, 0]


def test_a_dropped_patch_says_so(page: OpenReport, scene: Scene) -> None:
    layer = scene.seen["vid-TLDR"].layers[0]
    t, row, column = np.argwhere(layer.is_dropped)[0].tolist()
    slide(page, "layer", 1)
    slide(page, "frame", 2 * t)
    page.hover(page.find("#stage .panels canvas[data-view=picture]"), row, column, GRID)
    assert "merged with weight 0 in layer 0" in page.text("#facts")


def test_a_click_holds_a_patch_and_chooses_its_frame(page: OpenReport) -> None:
    canvas = page.find_all(".strip canvas")[4]
    page.hover(canvas, 1, 1, GRID)
    canvas.click()
    held = page.text("#facts")
    assert page.text("#frame-value") == "frame 4, 2.00 s"
    assert "is-chosen" in page.find(".strip li:nth-child(5)").get_attribute("class")
    page.hover(page.find("#stage .panels canvas[data-view=picture]"), 0, 0, GRID)
    assert page.text("#facts") == held


def test_the_other_method_has_groups_of_its_own(page: OpenReport, scene: Scene) -> None:
    layer = scene.seen["ToMe"].layers[1]
    t, row, column = shared_patch(layer)
    slide(page, "layer", 1)
    slide(page, "frame", 2 * t)
    page.hover(page.find("canvas[data-method='1']"), row, column, GRID)
    assert page.text("#facts-method") == "ToMe"
    assert f"{layer.mass[layer.group[t, row, column]]:.2f}; this patch adds 1.00" in page.text(
        "#facts"
    )


def test_arrow_keys_walk_over_patches(page: OpenReport) -> None:
    from selenium.webdriver import Keys

    slide(page, "frame", 2)
    canvas = page.find("#stage canvas[tabindex]")
    look_away(page)
    for key in (Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_DOWN):
        canvas.send_keys(key)
    assert "row 1, column 1, frames 2–3" in page.text("#facts")
    canvas.send_keys(Keys.ESCAPE)
    assert not page.find("#facts").is_displayed()
    assert page.find("#facts-hint").is_displayed()


def test_sliders_say_what_they_stand_at(page: OpenReport) -> None:
    slide(page, "layer", 0)
    slide(page, "frame", 3)
    assert page.text("#layer-value") == "layer 0 (of 0 to 3): 48 → 32 tokens"
    assert page.find("#layer").get_attribute("aria-valuetext") == page.text("#layer-value")
    assert page.text("#frame-value") == "frame 3, 1.50 s"
    label = page.find("#stage .panels canvas[data-view=groups]").get_attribute("aria-label")
    assert label == "merged groups of frame 3, 1.50 s, layer 0, vid-TLDR"


def test_all_frames_can_show_saliency(page: OpenReport) -> None:
    slide(page, "frame", 0)
    look_away(page)
    page.find("input[value=saliency]").click()
    large = page.drawn(page.find("#stage .panels canvas[data-view=saliency]")).mean(axis=(0, 1))
    small = page.drawn(page.find(".strip canvas")).mean(axis=(0, 1))
    assert np.abs(large - small).max() < 4


def test_the_theme_can_be_chosen(page: OpenReport) -> None:
    def ground() -> str:
        return page.js("return getComputedStyle(document.documentElement).backgroundColor")

    found = {}
    for theme in ("light", "dark", "auto"):
        page.find("#theme").click()
        assert page.text("#theme-value") == theme
        found[theme] = ground()
    assert found["light"] == "rgb(245, 246, 248)"
    assert found["dark"] == "rgb(16, 19, 26)"
    assert found["auto"] in (found["light"], found["dark"])


def test_nothing_is_wider_than_the_window(page: OpenReport) -> None:
    width = page.js("return document.documentElement.clientWidth")
    assert page.js("return document.documentElement.scrollWidth") <= width


def test_canvases_are_as_sharp_as_the_screen(page: OpenReport) -> None:
    for canvas in page.find_all("canvas"):
        shown = page.js("return arguments[0].clientWidth", canvas)
        assert int(canvas.get_attribute("width")) == shown


@pytest.mark.parametrize("width", WIDTHS)
def test_hostile_text_runs_nothing_and_breaks_nothing(
    driver: Any, scene: Scene, tmp_path: Path, width: int
) -> None:
    path = tmp_path / "hostile.html"
    long = "W" * 300
    name = HOSTILE + long
    write_report(path, scene.report(video=name, asked=name, notes=[HOSTILE, long]))
    page = OpenReport(driver, path, width)
    assert page.js("return document.title").endswith(HOSTILE + long)
    assert page.js("return document.images.length") == 0
    assert page.js("return document.documentElement.scrollWidth") <= width
    assert page.complaints() == []
    assert page.requests() == []


def test_the_policy_stops_what_somebody_put_in(driver: Any, path: Path, tmp_path: Path) -> None:
    """The policy is not for show: a script that gets into the page does not run."""
    spoilt = tmp_path / "spoilt.html"
    script = "<script>document.title = 'taken'</script><img src='http://localhost:9/x.png'>"
    spoilt.write_text(path.read_text().replace("</main>", script + "</main>"))
    page = OpenReport(driver, spoilt, 1440)
    assert page.js("return document.title") != "taken"
    assert len([words for words in page.complaints() if "Content Security Policy" in words]) == 2
