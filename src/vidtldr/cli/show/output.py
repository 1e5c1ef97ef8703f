"""Output of `vidtldr show`: files and text."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from vidtldr.cli.show.command import IMAGE_NAMES
from vidtldr.cli.terminal import printable
from vidtldr.files import whole_file
from vidtldr.video.decode import Clip
from vidtldr.video.transform import Region
from vidtldr.visualize.contact_sheet import draw_sheet, feature_rows, layer_rows
from vidtldr.visualize.overlay_video import clip_painter, write_overlay_video
from vidtldr.visualize.report import verdict, write_report
from vidtldr.visualize.report_facts import Report, Side

if TYPE_CHECKING:
    from vidtldr.cli.show.run import Shown

__all__ = ["print_json", "print_table", "write_images", "write_page", "write_video"]

_PNG_LEVEL = 4  # half the default's time for a few per cent more bytes


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
    sheets = (
        layer_rows(report.tiles, layer, report.grid),
        feature_rows(report.tiles, *report.features, report.grid),
    )
    paths = []
    for name, rows in zip(IMAGE_NAMES, sheets, strict=True):
        sheet = draw_sheet(heading, rows, report.times_seconds)
        with whole_file(directory / name) as partial:
            sheet.save(partial, dpi=sheet.info["dpi"], compress_level=_PNG_LEVEL)
        paths.append(directory / name)
    return paths


def write_video(
    path: Path,
    clip: Clip,
    report: Report,
    seen_region: Callable[[int, int], Region],
    on_frame: Callable[[], object],
) -> str | None:
    """Write the whole clip with the shown layer over it; `on_frame` is called after each frame.

    Returns:
        A note that H.264 needed even sides, so the size was rounded up; None if it was not.

    Raises:
        OSError: If it cannot be written.
    """
    layer = report.merged.layers[report.shown_layer]
    painter = clip_painter(layer, report.grid, seen_region)
    with whole_file(path) as partial:
        write_overlay_video(partial, clip.path, painter, clip.indices, on_step=on_frame)
    height, width = clip.size
    if path.suffix.lower() == ".mp4" and (height % 2 or width % 2):
        return f"H.264 needs even sides: {width}x{height} became {width + width % 2}x" + str(
            height + height % 2
        )
    return None


def print_json(video: str, shown: "Shown | str") -> None:
    """Print one JSON object."""
    failed = isinstance(shown, str)
    row: dict[str, Any] = {"video": video, "error": shown if failed else None, "files": []}
    if not isinstance(shown, str):
        row["files"] = [str(path) for path in shown.paths]
        caveat = [shown.report.caveat] if shown.report.caveat else []  # tables put it on stderr
        row["notes"] = [*caveat, *shown.report.notes, *shown.notes]
        row |= shown.report.busy.to_dict()
        row["sides"] = [_side_row(side) for side in shown.report.sides]
    print(json.dumps(row))


def print_table(video: str, shown: "Shown | str") -> None:
    """Print the verdict and the paths of the files, or the error."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(Text(printable(video), style="bold"))
    if isinstance(shown, str):
        console.print(Text(f"  error: {shown}", style="red"))
        return
    for note in (*shown.report.notes, *shown.notes):
        console.print(Text(f"  note: {note}", style="yellow"))
    console.print(Text(f"  {verdict(shown.report)}"))
    for path in shown.paths:
        console.print(Text(f"  wrote {printable(str(path))}", style="bold green"))


def _side_row(side: Side) -> dict[str, Any]:
    return {
        "name": side.name,
        "answers": [vars(answer) for answer in side.answers],
        "num_tokens": list(side.num_tokens),
        "gflops": side.flops / 1e9,  # 1 MAC = 2 FLOPs
        "median_ms": side.median_ms,
    }
