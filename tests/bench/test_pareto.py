import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from bench.made_up_result import made_up_result

from vidtldr.bench.pareto import LABEL_GAP, _spread_out, plot_quality, require_matplotlib


def test_without_matplotlib_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"not installed. Run pip install 'vidtldr\[plots\]'"):
        require_matplotlib()


@pytest.mark.parametrize(
    "wanted", [[0.5], [0.5, 0.5, 0.5], [0.97, 0.98, 0.99], [0.0, 0.01, 0.3, 1.2]]
)
def test_labels_stand_apart_in_their_order_and_below_the_top(wanted: list[float]) -> None:
    places = _spread_out(wanted)
    assert len(places) == len(wanted)
    assert all(high - low >= LABEL_GAP - 1e-9 for low, high in pairwise(places))
    assert places[-1] <= 1.0


def test_a_label_with_room_stays_level_with_its_line() -> None:
    assert _spread_out([0.1, 0.4, 0.9]) == [0.1, 0.4, 0.9]


@pytest.mark.parametrize("is_timed", [True, False])
def test_both_files_are_drawn_with_a_panel_for_each_placement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_timed: bool
) -> None:
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    figures: list[Any] = []
    save = Figure.savefig

    def keep(self: Any, *args: Any, **kwargs: Any) -> None:
        figures.append(self)
        save(self, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", keep)
    result = made_up_result()
    if not is_timed:
        result = replace(result, rows=tuple(replace(row, timing=None) for row in result.rows))
    png, svg = plot_quality(result, tmp_path / "quality.json")
    assert png.read_bytes().startswith(b"\x89PNG")
    assert "<svg" in svg.read_text()
    panels = figures[0].axes
    assert len(panels) == 2 * (2 if is_timed else 1)  # layers 0-2 and 2-4
    texts = {text.get_text() for text in panels[0].texts}
    assert {"vid-TLDR", "bundled preset", "fewer frames", "the paper's setting"} == texts
    later = {text.get_text() for text in panels[-1].texts}
    assert {"random dropping", "bundled preset", "fewer frames"} == later
