"""The report as a person has it: opened from a file, moved about in, and what it draws."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.browser import OpenReport, why_not
from support.read_page import HOSTILE
from support.scenes import Scene, frames_of

from vidtldr.video.transform import Region
from vidtldr.visualize.colours import FOREGROUND, patch_colours
from vidtldr.visualize.merged_layer import MergedLayer
from vidtldr.visualize.report import write_report
from vidtldr.visualize.tiles import make_tiles

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
    canvas = page.find("#stage .panels canvas[data-view=groups]")
    groups, plain = page.drawn(canvas).astype(int), page.picture_under(canvas, 0).astype(int)
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


def test_a_click_holds_a_patch_and_says_how_to_let_go(page: OpenReport) -> None:
    from selenium.webdriver import Keys

    groups, picture = (
        page.find(f"#stage .panels canvas[data-view={view}]") for view in ("groups", "picture")
    )
    for lets_go in ("click", "escape"):
        page.hover(picture, 1, 1, GRID)
        assert not page.find("#facts-held").is_displayed()
        click_here(page)
        held = page.text("#facts")
        assert "row 1, column 1" in held
        assert page.text("#facts-held") == ", held: click it again or press Esc"
        page.hover(groups, 0, 0, GRID)
        assert page.text("#facts") == held
        if lets_go == "click":
            page.hover(picture, 1, 1, GRID)
            click_here(page)
        else:
            page.find("#theme").send_keys(Keys.ESCAPE)  # wherever the focus is
            assert not page.find("#facts").is_displayed()
        page.hover(groups, 2, 0, GRID)
        assert "row 2, column 0" in page.text("#facts")
        assert not page.find("#facts-held").is_displayed()


def click_here(page: OpenReport) -> None:
    """Click where the pointer is."""
    from selenium.webdriver import ActionChains

    ActionChains(page.driver, duration=0).click().perform()
    page.settle()


def test_a_click_on_a_small_picture_chooses_its_frame_and_holds_nothing(page: OpenReport) -> None:
    canvas = page.find_all(".strip canvas")[4]
    page.hover(canvas, 1, 1, GRID)
    canvas.click()
    assert page.text("#frame-value") == "4, 2.00 s"
    assert "is-chosen" in page.find(".strip li:nth-child(5)").get_attribute("class")
    assert not page.find("#facts-held").is_displayed()
    page.hover(page.find("#stage .panels canvas[data-view=picture]"), 0, 0, GRID)
    assert "row 0, column 0, frames 4–5" in page.text("#facts")


def test_it_opens_on_the_patch_that_adds_most_to_the_largest_mass(
    page: OpenReport, scene: Scene
) -> None:
    layer = scene.seen["vid-TLDR"].layers[1]
    token = layer.mass.argmax()
    weight = np.where(layer.group == token, layer.weight, 0)
    t, row, column = np.unravel_index(weight.argmax(), weight.shape)
    facts = page.text("#facts")
    assert f"row {row}, column {column}, frames {2 * t}–{2 * t + 1}" in facts
    assert f"{layer.mass.max():.2f}; this patch adds {weight.max():.2f}" in facts


@pytest.mark.parametrize(("weight", "words"), [(1e-5, "less than 0.01"), (0.014, "0.01")])
def test_a_patch_that_is_not_dropped_never_adds_nothing(
    driver: Any, scene: Scene, tmp_path: Path, weight: float, words: str
) -> None:
    report = scene.report()
    first, layer = report.merged.layers
    light = replace(layer, weight=np.where(layer.is_dropped, 0, weight).astype(np.float32))
    merged = replace(report.merged, layers=[first, light])
    write_report(tmp_path / "light.html", replace(report, merged=merged))
    page = OpenReport(driver, tmp_path / "light.html", 1440)
    assert f"this patch adds {words}" in page.text("#facts")


@pytest.mark.parametrize(("height", "width"), [(36, 640), (640, 36)])
def test_a_very_flat_or_tall_clip_is_drawn_at_a_size_to_see(
    driver: Any, scene: Scene, tmp_path: Path, height: int, width: int
) -> None:
    tiles = make_tiles(frames_of(6, height, width), Region(0, 0, height, width), 288)
    write_report(tmp_path / "long.html", scene.report(tiles=tiles))
    page = OpenReport(driver, tmp_path / "long.html", 1440)
    for canvas in page.find_all("canvas"):
        drawn = [int(canvas.get_attribute(side)) for side in ("height", "width")]
        assert 0.39 < drawn[0] / drawn[1] < 2.51
    assert page.complaints() == []


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
    for selector, name in (("#stage", "vid-TLDR"), ("[aria-labelledby=rival-title]", "ToMe")):
        canvas = page.find(f"{selector} canvas[tabindex]")
        look_away(page)
        for key in (Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_DOWN):
            canvas.send_keys(key)
        assert "row 1, column 1, frames 2–3" in page.text("#facts")
        assert page.text("#facts-method") == name
        canvas.send_keys(Keys.ESCAPE)
        assert not page.find("#facts").is_displayed()
        assert page.find("#facts-hint").is_displayed()
    canvas.send_keys(Keys.ARROW_DOWN)
    page.hover(page.find("#stage .panels canvas[data-view=picture]"), 3, 2, GRID)
    assert "row 3, column 2" in page.text("#facts")  # the pointer is not frozen


def test_sliders_say_what_they_stand_at(page: OpenReport) -> None:
    slide(page, "layer", 0)
    slide(page, "frame", 3)
    assert page.text("#layer-value") == "0 (of 0 to 3): 48 → 32 tokens"
    assert page.find("#layer").get_attribute("aria-valuetext") == page.text("#layer-value")
    assert page.text("#frame-value") == "3, 1.50 s"
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


def test_a_phone_shows_the_groups_at_full_width(page: OpenReport) -> None:
    width = page.js("return document.documentElement.clientWidth")
    panels = page.find("#stage .panels").size["width"]
    groups = page.find("#stage .panels canvas[data-view=groups]").size["width"]
    assert (groups == panels) == (width == 375)


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
