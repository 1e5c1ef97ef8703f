"""Contrast of the page's colours by WCAG 2.2: 4.5 for text, 3 for what charts draw."""

import re
from importlib.resources import files

import numpy as np
import pytest
from visualize.test_colours import luminance

CSS = (files("vidtldr.visualize") / "page" / "theme.css").read_text()


def themes() -> dict[str, dict[str, str]]:
    blocks = re.findall(r"([^{}]+)\{([^{}]*)\}", CSS)
    found = {}
    for selector, body in blocks:
        name = "dark" if "dark" in selector else "light" if selector.strip() == ":root" else "auto"
        found[name] = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", body))
    return found


def contrast(one: str, other: str) -> float:
    channels = [[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in (one, other)]
    low, high = sorted(luminance(np.asarray(channels, float)))
    return (high + 0.05) / (low + 0.05)


def test_the_system_s_dark_theme_is_the_chosen_one() -> None:
    assert themes()["auto"] == themes()["dark"]
    assert set(themes()["light"]) == set(themes()["dark"])


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("ground", ["paper", "card", "accent-soft"])
@pytest.mark.parametrize("ink", ["ink", "muted", "accent"])
def test_text_can_be_read(theme: str, ground: str, ink: str) -> None:
    assert contrast(themes()[theme][ink], themes()[theme][ground]) >= 4.5


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("series", ["series-0", "series-1", "series-2"])
def test_lines_can_be_seen(theme: str, series: str) -> None:
    assert contrast(themes()[theme][series], themes()[theme]["card"]) >= 3
