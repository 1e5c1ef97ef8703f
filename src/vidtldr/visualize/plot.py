"""Plots that are drawn only when written, at the requested width."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from textwrap import fill
from typing import Any
from warnings import catch_warnings, filterwarnings

from vidtldr.files import whole_file

__all__ = [
    "NARROW_INCHES",
    "WIDE_INCHES",
    "Panel",
    "Plot",
    "Style",
    "panels_plot",
    "require_matplotlib",
]

WIDE_INCHES = 7.0  # one column
NARROW_INCHES = 4.0  # a phone's screen
_DOTS_PER_INCH = 150
# On a phone: characters per line beside names, and per line of the legend; height of the latter.
_NARROW_LETTERS, _LEGEND_LETTERS, _LINE_INCHES = 26, 48, 0.17

#: Height in inches, and the function that draws into a panel.
Panel = tuple[float, Callable[[Any], None]]


def require_matplotlib() -> None:
    """Check that plots can be drawn.

    Raises:
        ImportError: If matplotlib is missing.
    """
    if find_spec("matplotlib") is None:
        raise ImportError(
            "plots must have matplotlib, which is not installed. Run pip install 'vidtldr[plots]'."
        )


@dataclass(frozen=True)
class Plot:
    """A plot, drawn on demand.

    Attributes:
        draw: Makes a matplotlib figure, given its width in inches.
        title: What it shows.
        text: How to read it.
        font_size: Points.
    """

    draw: Callable[[float], Any]
    title: str
    text: str
    font_size: float = 10

    def write(self, path: Path) -> list[Path]:
        """Write the plot as PNG and as SVG.

        Args:
            path: Where to write; its extension is replaced by `.png` and `.svg`.

        Returns:
            Both files.

        Raises:
            ImportError: If matplotlib is missing.
        """
        files = [path.with_suffix(ending) for ending in (".png", ".svg")]
        with self._drawn(WIDE_INCHES) as figure:
            for file in files:
                metadata = {"Date": None} if file.suffix == ".svg" else None
                with whole_file(file) as unfinished:
                    figure.savefig(unfinished, dpi=_DOTS_PER_INCH, metadata=metadata)
        return files

    def svg(self, width_inches: float) -> bytes:
        """Return the plot as SVG of the given width.

        Raises:
            ImportError: If matplotlib is missing.
        """
        content = BytesIO()
        with self._drawn(width_inches) as figure:
            figure.savefig(content, format="svg", metadata={"Date": None})
        return content.getvalue()

    @contextmanager
    def _drawn(self, width_inches: float) -> Iterator[Any]:
        require_matplotlib()
        from matplotlib import rc_context

        size = self.font_size
        settings = {"font.size": size, "svg.hashsalt": "vidtldr", "axes.titlesize": size}
        with rc_context(settings), catch_warnings():  # type: ignore[arg-type,unused-ignore]
            # A file name may have characters that the fonts lack; they are drawn as boxes.
            filterwarnings("ignore", "Glyph .* missing from font")
            yield self.draw(width_inches)


@dataclass(frozen=True)
class Style:
    """How a line is drawn."""

    colour: str = "#b0b0b0"
    width: float = 1.0
    dashes: str = "-"


# Okabe and Ito's palette, safe for the colour-blind; widths and dashes tell lines apart in print.
METHOD_STYLES = {
    "default": Style("#0072b2", 3.0),
    "paper's setting": Style("#d55e00", 3.0),
    "vid-TLDR": Style("#d55e00", 1.4),
    "plain merging on x": Style("#56b4e9", 1.4),
    "plain by mass": Style("#56b4e9", 2.4, "--"),
    "vid-TLDR by mass": Style("#d55e00", 1.4, "--"),
    "ToMe (keys)": Style("#009e73", 1.4),
    "random merging": Style("#000000", 1.4, "-."),
    "random dropping": Style("#000000", 1.8, "--"),
    "fewer frames": Style("#cc79a7", 1.8, ":"),
    "lower resolution": Style("#e69f00", 1.8, ":"),
}


def panels_plot(panels: Sequence[Panel], title: str, text: str) -> Plot:
    """Stack panels vertically.

    Args:
        panels: Top panel first.
        title: What they show.
        text: How to read them.
    """
    return Plot(partial(_draw_panels, panels), title, text)


def _draw_panels(panels: Sequence[Panel], width_inches: float) -> Any:
    from matplotlib.figure import Figure

    heights = [height for height, _ in panels]
    figure = Figure(figsize=(width_inches, sum(heights)), layout="constrained")
    grid: dict[str, Any] = {
        "nrows": len(panels),
        "ncols": 1,
        "squeeze": False,
        "height_ratios": heights,
    }
    is_narrow = width_inches < WIDE_INCHES
    if is_narrow:  # a subfigure each, so that its legend has room below it
        axes = [part.subplots() for part in figure.subfigures(**grid)[:, 0]]
    else:
        axes = list(figure.subplots(**grid)[:, 0])
    num_lines = 0
    for (_, draw), ax in zip(panels, axes, strict=True):
        draw(ax)
        num_lines += _fit_a_phone(ax) if is_narrow else 0
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.25, linewidth=0.5)
    figure.set_figheight(sum(heights) + _LINE_INCHES * num_lines)
    return figure


def _fit_a_phone(ax: Any) -> int:
    """Wrap long lines and put the legend below; return its number of lines."""
    ax.set_title(fill(ax.get_title(loc="left"), _NARROW_LETTERS), loc="left")
    ax.set_xlabel(fill(ax.get_xlabel(), _NARROW_LETTERS))
    ax.tick_params("y", labelsize="small")
    if ax.get_legend() is None:
        return 0
    ax.get_legend().remove()
    handles, labels = ax.get_legend_handles_labels()
    labels = [fill(label, _LEGEND_LETTERS) for label in labels]
    ax.figure.legend(handles, labels, loc="outside lower left", frameon=False, fontsize="small")
    return sum(label.count("\n") + 1 for label in labels)
