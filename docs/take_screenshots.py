"""Take the pictures of the report that README.md and docs/report.md show, from generated clips.

Needs Chromium and the dev extra; run it on a quiet machine, as the times are in the picture:

    PYTHONPATH=tests python docs/take_screenshots.py
"""

import base64
import subprocess
import sys
import tempfile
from io import BytesIO
from pathlib import Path

from PIL import Image
from visualize.browser import OpenReport, open_browser

HERE = Path(__file__).resolve().parent
WIDTH, MOST_BYTES = 1200, 300_000
#: Theme, number of the clip, and the sections from which to which the picture goes.
SHOTS = {
    "report-light": (1, 0, "header", "#stage"),
    "report-dark": (2, 1, "#stage", "section[aria-labelledby=rival-title]"),
}


def vidtldr(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "vidtldr", *map(str, arguments)], check=True)


def shoot(page: OpenReport, first: str, last: str) -> Image.Image:
    box = "return document.querySelector(arguments[0]).getBoundingClientRect().toJSON()"
    top, bottom = page.js(box, first)["top"], page.js(box, last)["bottom"]
    clip = {"x": 0, "y": top, "width": WIDTH, "height": bottom - top + 8, "scale": 1}
    shot = {"format": "png", "captureBeyondViewport": True, "clip": clip}
    data = page.driver.execute_cdp_cmd("Page.captureScreenshot", shot)["data"]
    return Image.open(BytesIO(base64.b64decode(data))).convert("RGB")


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        clips = Path(directory) / "clips"
        vidtldr("shapes", "export", clips, "--num", 2, "--seed", 3)
        videos = sorted(clips.glob("*.mp4"))
        with open_browser(Path(directory) / "profile") as driver:
            for name, (theme, number, first, last) in SHOTS.items():
                path = Path(directory) / f"{name}.html"
                vidtldr("show", videos[number], "-o", path, "--score", "sharpness", "--rounds", 9)
                page = OpenReport(driver, path, WIDTH)
                for _ in range(theme):
                    page.find("#theme").click()
                page.settle()
                picture = shoot(page, first, last).quantize(256, Image.Quantize.MEDIANCUT)
                picture.save(HERE / f"{name}.png", optimize=True)
                size = (HERE / f"{name}.png").stat().st_size
                assert size < MOST_BYTES, f"{name}.png has {size} bytes, more than {MOST_BYTES}"


if __name__ == "__main__":
    main()
