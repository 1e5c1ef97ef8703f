"""A plot that is drawn when a file of it is wanted, at the width that is wanted."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any
from warnings import catch_warnings, filterwarnings

__all__ = ["NARROW_INCHES", "WIDE_INCHES", "Plot", "require_matplotlib"]

WIDE_INCHES = 7.0  # one column
NARROW_INCHES = 4.0  # a phone's screen
_DOTS_PER_INCH = 150


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
    """What can be drawn.

    Attributes:
        draw: Makes a figure of matplotlib, given its width in inches.
        title: What it shows.
        text: How to read it.
        font_size: Points.
    """

    draw: Callable[[float], Any]
    title: str
    text: str
    font_size: float = 10

    def write(self, path: Path) -> list[Path]:
        """Write it as PNG and as SVG.

        Args:
            path: Where; its ending is replaced by `.png` and `.svg`.

        Returns:
            Both files.

        Raises:
            ImportError: If matplotlib is missing.
        """
        files = [path.with_suffix(ending) for ending in (".png", ".svg")]
        with self._drawn(WIDE_INCHES) as figure:
            for file in files:
                metadata = {"Date": None} if file.suffix == ".svg" else None
                figure.savefig(file, dpi=_DOTS_PER_INCH, metadata=metadata)
        return files

    def svg(self, width_inches: float) -> bytes:
        """It as SVG of some width.

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
            # A name of a file may have letters that no font here has; boxes stand for them.
            filterwarnings("ignore", "Glyph .* missing from font")
            yield self.draw(width_inches)
