"""The paper's table with the command of each row, and its schedules."""

import json
from typing import Any

from doc_tables.results import ROOT, read, table
from vidtldr.presets import NUM_TOKENS, PRESETS

PAPER = ROOT / "benchmarks" / "paper_umt.json"


def reproduce() -> str:
    """The paper's table, from paper_umt.json and the presets."""
    paper = json.loads(PAPER.read_text())
    pairs = [(row, size) for size in ("b16", "l16") for row in paper["rows"]]
    lines = [_row(row, size, paper["unmerged_gmacs"][size]) for row, size in pairs]
    head = ["set", "model", "schedule", "UMT alone", "+ vid-TLDR", "GMACs", "here"]
    commands = "\n".join(_command(row, size) for row, size in pairs)
    return "\n\n".join(
        [
            table(head, lines),
            "The command of each row, in the same order:",
            f"```text\n{commands}\n```",
        ]
    )


def _row(row: dict[str, Any], size: str, unmerged_gmacs: float) -> list[str]:
    alone, merged, gmacs = row[size]
    return [
        row["set"],
        f"UMT-{size[0].upper()}/16",
        ", ".join(map(str, PRESETS[f"umt-{size}/{row['preset']}"])),
        f"{alone:.1f}",
        "-" if merged is None else f"{merged:.1f}",
        f"{unmerged_gmacs:.1f} to {gmacs:.1f}",
        "not run here",
    ]


def _command(row: dict[str, Any], size: str) -> str:
    parts = [f"vidtldr evaluate {row['task']} --annotations {row['annotations']} --videos VIDEOS"]
    if row["task"] == "retrieval":
        parts.append(f"--protocol {row['protocol']}")
    else:
        parts.append(f"--answers {row['answers']}")
    parts.append(f"--model umt:{row['checkpoint'].format(size=size)}")
    parts += ["--arch l16"] * (size == "l16")
    return " ".join([*parts, f"--preset umt-{size}/{row['preset']}", "--compare"])


def schedules() -> str:
    """How much the paper merges."""
    shares = [sum(r) / NUM_TOKENS for r in PRESETS.values()]
    depths = sorted({len(r) for r in PRESETS.values()})
    measured = {result["model"]: result for result in read("01_cpu_speed")["results"]}
    removed = {
        name: sum(measured[name]["r"]) / _first_num_tokens(measured[name])
        for name in ("umt-b", "videomae-b")
    }
    return (
        f"The paper's {len(PRESETS)} schedules for UMT remove {min(shares):.0%} to "
        f"{max(shares):.0%} of all tokens, in the first {depths[0]} to {depths[-1]} layers. Its "
        f"schedule for MSRVTT, `{measured['umt-b']['r']}`, removes {removed['umt-b']:.0%} of the "
        f"{_first_num_tokens(measured['umt-b'])} tokens of UMT-B, but {removed['videomae-b']:.0%} "
        f"of the {_first_num_tokens(measured['videomae-b'])} tokens of VideoMAE-B."
    )


def _first_num_tokens(result: dict[str, Any]) -> int:
    return int(result["sides"]["unmerged"]["num_tokens"][0])
