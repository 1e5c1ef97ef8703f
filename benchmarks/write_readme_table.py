"""Write the measured tables of README.md from the JSON files of the benchmarks.

python benchmarks/write_readme_table.py          # write
python benchmarks/write_readme_table.py --check  # fail if README.md differs
"""

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ("01_cpu_speed.json", "01_cpu_speed_timm.json")
START, END = "<!-- measured: start -->", "<!-- measured: end -->"
NAMES = {
    "videomae-b": "VideoMAE-B, 16 x 224²",
    "umt-b": "UMT-B, 12 x 224²",
    "vit-b": "ViT-B/16 (timm), 224²",
}


def table(reports: list[dict[str, Any]]) -> str:
    lines = [
        "| model | r | GFLOPs | unmerged, SDPA | merged | speed-up | with the map stored | peak "
        "of memory |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [row(result) for report in reports for result in report["results"]]
    return "\n".join([*lines, "", *(footnote(report) for report in reports)])


def row(result: dict[str, Any]) -> str:
    plain, merged, stored = (result["sides"][side] for side in ("unmerged", "blocked", "reference"))
    speed = merged["speedup"]
    cells = [
        NAMES[result["model"]],
        ", ".join(map(str, result["r"])),
        f"{plain['gflops']:.0f} to {merged['gflops']:.0f}",
        f"{plain['median_ms']:.0f} ms",
        f"{merged['median_ms']:.0f} ms",
        f"**{speed['median']:.2f}x** ({speed['lowest']:.2f} to {speed['highest']:.2f})",
        f"{stored['speedup']['median']:.2f}x",
        f"{merged['peak_resident_ratio']:.2f} of unmerged",
    ]
    return f"| {' | '.join(cells)} |"


def footnote(report: dict[str, Any]) -> str:
    env = report["environment"]
    return (
        f"Measured on {env['cpu']}, {env['num_threads']} threads, torch "
        f"{env['versions']['torch']}, float32, "
        f"batch 1, random weights: `{env['command']}`.  "
    )


def main() -> int:
    results = [ROOT / "benchmarks" / "results" / name for name in RESULTS]
    reports = [json.loads(path.read_text()) for path in results]
    readme = ROOT / "README.md"
    before = readme.read_text()
    head, rest = before.split(START)
    after = head + START + "\n" + table(reports) + "\n" + END + rest.split(END)[1]
    if "--check" in sys.argv:
        return int(after != before)
    readme.write_text(after)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
