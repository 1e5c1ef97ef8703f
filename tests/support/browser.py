"""A real browser for the tests: Chromium without a window, or a reason why there is none."""

import base64
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import numpy as np
from PIL import Image

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", "--force-color-profile=srgb",
)  # fmt: skip
HEIGHT = 900


def why_not() -> str | None:
    """Why there is no browser to test with; None if there is one."""
    try:
        import selenium  # noqa: F401
    except ImportError:
        return "selenium is not installed (pip install -e '.[dev]')"
    if find_browser() is None or shutil.which("chromedriver") is None:
        return "no Chromium with its driver is installed (apt-get install chromium chromium-driver)"
    return None


def find_browser() -> str | None:
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


@contextmanager
def open_browser(profile: Path) -> Iterator[Any]:
    """Chromium with a new profile, which writes down its console and its network."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = find_browser() or ""
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


def picture_of(url: str) -> np.ndarray:
    """The picture in a data URL, shape (h, w, 3)."""
    content = base64.b64decode(url.split(",")[1])
    return np.asarray(Image.open(BytesIO(content)).convert("RGB"))


class OpenReport:
    """A report in the browser."""

    def __init__(self, driver: Any, path: Path, width: int) -> None:
        from selenium.webdriver.common.actions.action_builder import ActionBuilder
        from selenium.webdriver.support.wait import WebDriverWait

        self.driver, self.path = driver, path
        size = {"width": width, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        for log in ("browser", "performance"):
            driver.get_log(log)  # what came before is not this page's
        corner = ActionBuilder(driver, duration=0)  # a pointer left on a picture would point
        corner.pointer_action.move_to_location(0, 0)
        corner.perform()
        driver.get(path.as_uri())
        ready = "return document.documentElement.dataset.ready === 'yes'"
        WebDriverWait(driver, 30).until(lambda d: d.execute_script(ready))

    def find(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def find_all(self, selector: str) -> list[Any]:
        return self.driver.find_elements("css selector", selector)

    def text(self, selector: str) -> str:
        return self.find(selector).text

    def js(self, code: str, *arguments: Any) -> Any:
        return self.driver.execute_script(code, *arguments)

    def drawn(self, canvas: Any) -> np.ndarray:
        """What is on a canvas now, shape (h, w, 3)."""
        self.settle()
        return picture_of(self.js("return arguments[0].toDataURL('image/png')", canvas))

    def picture_under(self, canvas: Any, number: int) -> np.ndarray:
        """A picture of the report at a canvas's size, as the browser scales it, (h, w, 3)."""
        code = """
          const [canvas, number] = arguments;
          const source = JSON.parse(document.getElementById("data").textContent).pictures[number];
          const under = document.createElement("canvas");
          [under.width, under.height] = [canvas.width, canvas.height];
          const context = under.getContext("2d");
          context.imageSmoothingQuality = "high";
          const image = pictures.find((one) => one.src === source);
          context.drawImage(image, 0, 0, under.width, under.height);
          return under.toDataURL("image/png");
        """
        return picture_of(self.js(code, canvas, number))

    def settle(self) -> None:
        """Let everything that was asked for be drawn."""
        wait = "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(done))"
        self.driver.execute_async_script(wait)

    def hover(self, canvas: Any, row: float, column: float, grid: tuple[int, int]) -> None:
        """Move the pointer to the centre of a patch."""
        from selenium.webdriver import ActionChains

        self.js("arguments[0].scrollIntoView({block: 'center'})", canvas)
        box = self.js("return arguments[0].getBoundingClientRect().toJSON()", canvas)
        x = ((column + 0.5) / grid[1] - 0.5) * box["width"]
        y = ((row + 0.5) / grid[0] - 0.5) * box["height"]
        ActionChains(self.driver, duration=0).move_to_element_with_offset(
            canvas, round(x), round(y)
        ).perform()
        self.settle()

    def complaints(self) -> list[str]:
        """What the console says since the page was opened."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Addresses that were asked for, but the page itself and what it holds."""
        found = []
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                found.append(message["params"]["request"]["url"])
        own = {"data", "blob", "about", "chrome"}  # the start page may still be loading
        return [
            url for url in found if url != self.path.as_uri() and urlparse(url).scheme not in own
        ]
