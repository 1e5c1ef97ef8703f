from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.made_up_result import made_up_result

from vidtldr.baselines.schedules import PAPER
from vidtldr.bench.merging_methods import DEFAULT, VID_TLDR
from vidtldr.bench.pareto import OTHERS, quality_plot


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
    png, svg = quality_plot(result).write(tmp_path / "quality.json")
    assert png.read_bytes().startswith(b"\x89PNG")
    assert "<svg" in svg.read_text()
    titles = [panel.get_title(loc="left") for panel in figures[0].axes]
    layers = [f"merging in layers {each} (counted from 0)" for each in ("0, 1, 2", "2, 3, 4")]
    assert titles == layers + layers[:1] * is_timed
    (legend,) = figures[0].legends
    names = {text.get_text() for text in legend.get_texts()}
    assert names == {DEFAULT, PAPER, VID_TLDR, "random dropping", "fewer frames", OTHERS}
    later = {line.get_label() for line in figures[0].axes[1].lines}
    assert later == {DEFAULT, PAPER, "random dropping", "fewer frames"}
