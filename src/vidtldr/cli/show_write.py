"""Write the files of `vidtldr show`, each whole or not at all."""

from collections.abc import Callable
from pathlib import Path

from vidtldr.cli.write_output import whole_file
from vidtldr.video.decode import Clip
from vidtldr.video.transform import Region
from vidtldr.visualize.contact_sheet import draw_sheet, feature_rows, layer_rows
from vidtldr.visualize.overlay_video import clip_painter, write_overlay_video
from vidtldr.visualize.report import write_report
from vidtldr.visualize.report_facts import Report

__all__ = ["write_images", "write_page", "write_video"]

_PNG_LEVEL = 4  # half the time of the default for a few hundredths more bytes


def write_page(path: Path, report: Report) -> Path:
    """Write the report.

    Raises:
        ImportError: If the extra is not installed.
        OSError: If it cannot be written.
    """
    with whole_file(path) as partial:
        write_report(partial, report)
    return path


def write_images(directory: Path, report: Report) -> list[Path]:
    """Write the contact sheet of the shown layer, and the features.

    Raises:
        OSError: If they cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    layer = report.merged.layers[report.shown_layer]
    heading = f"{report.video}: {report.merged.name}, " + "; ".join(
        f"{name.lower()} {value}" for name, value in report.facts[:2]
    )
    sheets = {
        "contact-sheet.png": layer_rows(report.tiles, layer, report.grid),
        "features.png": feature_rows(report.tiles, *report.features, report.grid),
    }
    paths = []
    for name, rows in sheets.items():
        sheet = draw_sheet(heading, rows, report.times_seconds)
        with whole_file(directory / name) as partial:
            sheet.save(partial, dpi=sheet.info["dpi"], compress_level=_PNG_LEVEL)
        paths.append(directory / name)
    return paths


def write_video(
    path: Path, clip: Clip, report: Report, seen_region: Callable[[int, int], Region]
) -> str | None:
    """Write the whole clip with the shown layer over it.

    Returns:
        What is to be said of it: that H.264 took a line more; None if nothing is.

    Raises:
        OSError: If it cannot be written.
    """
    layer = report.merged.layers[report.shown_layer]
    painter = clip_painter(layer, report.grid, seen_region)
    with whole_file(path) as partial:
        write_overlay_video(partial, clip.path, painter, clip.indices)
    height, width = clip.frames.shape[1:3]
    if path.suffix.lower() == ".mp4" and (height % 2 or width % 2):
        return f"H.264 needs even sides: {width}x{height} became {width + width % 2}x" + str(
            height + height % 2
        )
    return None
