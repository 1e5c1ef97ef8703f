"""Write the generated parts of README.md: the measured table, and how to reproduce the paper.

python benchmarks/write_readme_table.py          # write
python benchmarks/write_readme_table.py --check  # fail if README.md differs
"""

import json
import sys
from pathlib import Path
from typing import Any

from vidtldr.hosts.presets import preset

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = ROOT / "benchmarks"
RESULTS = ("01_cpu_speed.json", "01_cpu_speed_timm.json")
NAMES = {
    "videomae-b": "VideoMAE-B, 16 x 224²",
    "umt-b": "UMT-B, 12 x 224²",
    "vit-b": "ViT-B/16 (timm), 224²",
}


def measured() -> str:
    """Speed and memory, from the JSON of 01_cpu_speed.py."""
    reports = [json.loads((BENCHMARKS / "results" / name).read_text()) for name in RESULTS]
    lines = [
        "| model | r | GFLOPs | unmerged, SDPA | merged | speed-up | map stored | peak memory |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [speed_row(result) for report in reports for result in report["results"]]
    return "\n".join([*lines, "", *(footnote(report) for report in reports)])


def speed_row(result: dict[str, Any]) -> str:
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
        f"{env['versions']['torch']}, "
        f"float32, batch 1, random weights: `{env['command']}`.  "
    )


def reproduce() -> str:
    """The paper's table with the command of each row, from paper_umt.json and the presets."""
    paper = json.loads((BENCHMARKS / "paper_umt.json").read_text())
    lines = [
        "| set | model | schedule | UMT alone | + vid-TLDR | GMACs | here |",
        "|---|---|---|---|---|---|---|",
    ]
    pairs = [(row, size) for size in ("b16", "l16") for row in paper["rows"]]
    lines += [paper_row(row, size, paper["unmerged_gmacs"][size]) for row, size in pairs]
    commands = [command(row, size) for row, size in pairs]
    return "\n".join(
        [*lines, "", "The command of each row, in the same order:", "", "```text", *commands, "```"]
    )


def paper_row(row: dict[str, Any], size: str, unmerged_gmacs: float) -> str:
    alone, merged, gmacs = row[size]
    schedule = preset(f"umt-{size}/{row['preset']}").r or ()
    cells = [
        row["set"],
        f"UMT-{size[0].upper()}/16",
        ", ".join(map(str, schedule)),
        f"{alone:.1f}",
        "-" if merged is None else f"{merged:.1f}",
        f"{unmerged_gmacs:.1f} to {gmacs:.1f}",
        "not run here",
    ]
    return f"| {' | '.join(cells)} |"


def command(row: dict[str, Any], size: str) -> str:
    parts = [f"vidtldr evaluate {row['task']} --annotations {row['annotations']} --videos VIDEOS"]
    if row["task"] == "retrieval":
        parts.append(f"--protocol {row['protocol']}")
    else:
        parts.append(f"--answers {row['answers']}")
    parts.append(f"--model umt:{row['checkpoint'].format(size=size)}")
    parts += ["--arch l16"] * (size == "l16")
    return " ".join([*parts, f"--preset umt-{size}/{row['preset']}", "--compare"])


def with_generated(readme: str) -> str:
    for name, text in (("measured", measured()), ("reproduce", reproduce())):
        start, end = f"<!-- {name}: start -->", f"<!-- {name}: end -->"
        head, rest = readme.split(start)
        readme = f"{head}{start}\n{text}\n{end}{rest.split(end)[1]}"
    return readme


def main() -> int:
    readme = ROOT / "README.md"
    before = readme.read_text()
    after = with_generated(before)
    if "--check" in sys.argv:
        return int(after != before)
    readme.write_text(after)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
