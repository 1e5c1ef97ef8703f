"""A benchmark's page as a person has it, opened from a file."""

import base64
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.bench_pages import hostile_page, plain_page
from support.browser import OpenReport, why_not

from vidtldr.visualize.bench_page import write_bench_page

WHY_NOT = why_not()
pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))
WIDTHS = [375, 1440]
GREEN, BLUE = (0, 255, 0), (0, 0, 255)


@pytest.fixture(params=WIDTHS)
def page(driver: Any, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[OpenReport]:
    """At a phone's and a desk's width; it must be silent and ask for nothing."""
    write_bench_page(tmp_path / "a b & #1.html", plain_page())
    page = OpenReport(driver, tmp_path / "a b & #1.html", request.param)
    yield page
    assert page.complaints() == []
    assert page.requests() == []


def seen(page: OpenReport, element: Any) -> np.ndarray:
    """The middle of what is on the screen where an element is, (3,)."""
    page.js("arguments[0].scrollIntoView({block: 'center'})", element)
    page.settle()
    shot = page.driver.execute_cdp_cmd("Page.captureScreenshot", {})["data"]
    picture = np.asarray(Image.open(BytesIO(base64.b64decode(shot))).convert("RGB"))
    box = page.js("return arguments[0].getBoundingClientRect().toJSON()", element)
    return picture[int(box["y"] + box["height"] / 2), int(box["x"] + box["width"] / 2)].astype(int)


def choose_theme(page: OpenReport, theme: str) -> None:
    while page.text("#theme-value") != theme:
        page.find("#theme").click()


def test_the_plot_that_fits_the_screen_is_seen(page: OpenReport) -> None:
    width = page.js("return document.documentElement.clientWidth")
    image = page.find(".plot img")
    choose_theme(page, "light")
    assert tuple(seen(page, image)) == (BLUE if width == 375 else GREEN)
    shown = page.js("return arguments[0].clientWidth", image)
    assert 300 < shown < min(width, 800)


def test_a_plot_is_dark_in_the_dark_theme_and_keeps_its_hues(page: OpenReport) -> None:
    choose_theme(page, "dark")
    colour = seen(page, page.find(".plot img"))
    strongest = 2 if page.js("return document.documentElement.clientWidth") == 375 else 1
    assert colour.argmax() == strongest
    assert page.js("return getComputedStyle(document.body).color") == "rgb(233, 236, 242)"


def test_a_wide_table_scrolls_in_its_place_and_the_page_does_not(page: OpenReport) -> None:
    width = page.js("return document.documentElement.clientWidth")
    assert page.js("return document.documentElement.scrollWidth") <= width
    wide = page.find(".wide")
    assert page.js("return arguments[0].getBoundingClientRect().right", wide) <= width
    hidden = page.js("return arguments[0].scrollWidth - arguments[0].clientWidth", wide)
    assert hidden > 0
    page.js("arguments[0].scrollLeft = 1e6", wide)
    name = page.find(".wide tbody th")
    left = page.js("return arguments[0].getBoundingClientRect().left", name)
    assert left == page.js("return arguments[0].getBoundingClientRect().left", wide)


def test_a_wide_table_scrolls_by_keyboard(page: OpenReport) -> None:
    from selenium.webdriver import Keys

    wide = page.find(".wide")
    wide.send_keys(Keys.END)
    moved = "return arguments[0].scrollLeft"
    wide.send_keys(Keys.ARROW_RIGHT)
    page.driver.execute_async_script(
        "const [box, done] = arguments; const look = () => box.scrollLeft > 0 ? done() :"
        " requestAnimationFrame(look); look()",
        wide,
    )
    assert page.js(moved, wide) > 0


@pytest.mark.parametrize("width", WIDTHS)
def test_hostile_text_runs_nothing_and_breaks_nothing(
    driver: Any, tmp_path: Path, width: int
) -> None:
    path = tmp_path / "hostile.html"
    write_bench_page(path, hostile_page())
    page = OpenReport(driver, path, width)
    assert page.js("return document.title") == hostile_page().title
    assert page.js("return document.images.length") == 1
    assert page.js("return document.documentElement.scrollWidth") <= width
    assert page.complaints() == []
    assert page.requests() == []
