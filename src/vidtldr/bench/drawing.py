"""Pictures of benchmarks: panels under each other, as PNG and SVG."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__all__ = ["WIDTH_INCHES", "Drawing", "draw_panels", "require_matplotlib", "save_figure"]

WIDTH_INCHES = 7.0  # one column, so that it can be read on a phone, too

#: Height in inches, and what draws into a panel.
Drawing = tuple[float, Callable[[Any], None]]


def require_matplotlib() -> None:
    """Check that plots can be drawn.

    Raises:
        ImportError: If matplotlib is missing.
    """
    if find_spec("matplotlib") is None:
        raise ImportError(
            "plots must have matplotlib, which is not installed. Run pip install 'vidtldr[plots]'."
        )


def draw_panels(drawings: Sequence[Drawing], path: Path) -> list[Path]:
    """Draw panels under each other.

    Args:
        drawings: Top panel first.
        path: Where to write; its ending is replaced by `.png` and `.svg`.

    Returns:
        Both files.

    Raises:
        ImportError: If matplotlib is missing.
    """
    require_matplotlib()
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    heights = [height for height, _ in drawings]
    with rc_context({"font.size": 10, "svg.hashsalt": "vidtldr", "axes.titlesize": 10}):
        figure = Figure(figsize=(WIDTH_INCHES, sum(heights)), layout="constrained")
        panels = figure.subplots(len(drawings), 1, squeeze=False, height_ratios=heights)[:, 0]
        for (_, draw), panel in zip(drawings, panels, strict=True):
            draw(panel)
            panel.spines[["top", "right"]].set_visible(False)
            panel.grid(alpha=0.25, linewidth=0.5)
        return save_figure(figure, path)


def save_figure(figure: Any, path: Path) -> list[Path]:
    """Write a figure twice; its SVG is the same whenever it is drawn.

    Args:
        figure: Of matplotlib.
        path: Where to; its ending is replaced by `.png` and `.svg`.

    Returns:
        Both files.
    """
    files = [path.with_suffix(ending) for ending in (".png", ".svg")]
    for file in files:
        metadata = {"Date": None} if file.suffix == ".svg" else None
        figure.savefig(file, dpi=150, metadata=metadata)
    return files
