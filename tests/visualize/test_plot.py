import re
import sys

import pytest
from support.made_up_result import made_up_result

from vidtldr.bench.pareto import quality_plot
from vidtldr.bench.quality_result import spread
from vidtldr.bench.saliency_plot import saliency_plot
from vidtldr.bench.saliency_quality import SaliencyResult, SaliencyRow
from vidtldr.bench.saliency_scores import SCORES
from vidtldr.visualize.plot import NARROW_INCHES, WIDE_INCHES, require_matplotlib


def test_without_matplotlib_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"not installed. Run pip install 'vidtldr\[plots\]'"):
        require_matplotlib()


def test_a_plot_is_as_wide_as_is_wanted_and_equal_to_the_byte() -> None:
    pytest.importorskip("matplotlib")
    plot = quality_plot(made_up_result())
    for inches in (WIDE_INCHES, NARROW_INCHES):
        svg = plot.svg(inches)
        assert re.search(rb'<svg [^>]*width="([0-9.]+)pt"', svg)[1] == b"%d" % (72 * inches)
        assert plot.svg(inches) == svg


def test_the_saliency_plot_has_a_panel_for_each_file_whatever_its_name(
    recwarn: pytest.WarningsRecorder,
) -> None:
    pytest.importorskip("matplotlib")
    rows = [
        SaliencyRow(layer, score, *[spread([0.4 + 0.1 * layer, 0.5])] * 4)
        for layer in (2, 0, 1)
        for score in SCORES
    ]
    names = ["$\\frac{", "鯨 \U0001f40b.pt", "W" * 300]
    plot = saliency_plot({name: SaliencyResult(tuple(rows), spread([0.1]), 8) for name in names})
    figure = plot.draw(WIDE_INCHES)
    assert [panel.get_title(loc="left").replace("\n", "") for panel in figure.axes] == names
    for panel in figure.axes:
        assert list(panel.get_xticks()) == [0, 1, 2]
        lines = [line for line in panel.lines if len(line.get_xdata()) == 3]
        assert all(list(line.get_xdata()) == [0, 1, 2] for line in lines)
    legend = {text.get_text() for text in figure.legends[0].get_texts()}
    assert legend == {*SCORES, "chance"}
    assert plot.svg(NARROW_INCHES).count(b"<path") > 3 * len(SCORES)
    assert not recwarn.list
