"""Write the generated blocks of README.md and docs/*.md, from the JSON files of the benchmarks.

A block lies between `<!-- name: start -->` and `<!-- name: end -->`. The figure of the quality
benchmark is also redrawn from its JSON.

    python benchmarks/write_tables.py          # write
    python benchmarks/write_tables.py --check  # fail if a file differs
"""

import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from doc_tables import (
    default_choice,
    dense,
    gpu,
    machines,
    models,
    page,
    paper,
    quality,
    quality_findings,
    scale,
    speed,
    tuning,
)
from doc_tables.results import ROOT, read

from vidtldr.bench.machine_tables import busy_tables, never_slower_tables
from vidtldr.bench.pareto import quality_plot
from vidtldr.bench.quality_result import QualityResult

DOCS = ROOT / "docs"
PAGES = (ROOT / "README.md", *sorted(DOCS.glob("*.md")))
GENERATED: dict[str, Callable[[], str]] = {
    "gains": machines.gains,
    "gpu": gpu.gpu,
    "measured": speed.measured,
    "never_slower": partial(never_slower_tables, machines.NEVER_SLOWER),
    "small_models": machines.small_models,
    "busy": partial(busy_tables, machines.BUSY),
    "latency": speed.latency,
    "compiled": speed.compiled,
    "encoders": speed.encoders,
    "towers": speed.towers,
    "exporters": speed.exporters,
    "exported": speed.exported,
    "peak_memory": speed.peak_memory,
    "attention_of_a_layer": speed.attention_of_a_layer,
    "stored_maps": speed.stored_maps,
    "training": quality.training,
    "quality": quality.quality,
    "findings": quality_findings.findings,
    "in_short": quality_findings.in_short,
    "against_tome": quality_findings.against_tome,
    "saliency": quality.saliency,
    "dense": dense.dense,
    "dense_masks": dense.dense_masks,
    "default_choice": default_choice.default_choice,
    "layers_on_photos": default_choice.layers_on_photos,
    "tuning": tuning.tuning,
    "schedules": paper.schedules,
    "reproduce": paper.reproduce,
    "refused": models.refused,
    "show_cost": page.show_cost,
    "reading": scale.reading,
    "token_sizes": scale.token_sizes,
    "scale_measured": scale.measured,
    "scale_on_paper": scale.on_paper,
    "writer_memory": scale.writer_memory,
}
BLOCK = re.compile(r"<!-- (\w+): start -->.*?<!-- \1: end -->", re.DOTALL)
MARKER = re.compile(r"<!-- (\w+): (?:start|end) -->")


def with_generated(text: str) -> str:
    """Return a page with its blocks regenerated.

    Raises:
        ValueError: If a marker has no block or no partner.
    """
    for name in MARKER.findall(text):
        if name not in GENERATED:
            raise ValueError(f"marker must name one of {', '.join(GENERATED)}, got {name!r}.")
    names = BLOCK.findall(text)
    if len(MARKER.findall(text)) != 2 * len(names):
        raise ValueError("every start marker must have its end marker, and no block lie in another")
    return BLOCK.sub(lambda found: _block(found[1]), text)


def _block(name: str) -> str:
    return f"<!-- {name}: start -->\n\n{GENERATED[name]().strip()}\n\n<!-- {name}: end -->"


def main() -> int:
    before = {path: path.read_text() for path in PAGES}
    after = {path: with_generated(text) for path, text in before.items()}
    shown = {name for text in after.values() for name in BLOCK.findall(text)}
    if missing := sorted(set(GENERATED) - shown):
        raise ValueError(f"every block must be in README.md or docs/, got none of {missing}")
    changed = [path for path in PAGES if before[path] != after[path]]
    if "--check" in sys.argv:
        for path in changed:
            print(f"{path.relative_to(ROOT)} differs from its JSON: make readme")
        return int(bool(changed))
    for path in changed:
        path.write_text(after[path])
    result = QualityResult.from_dict(read(quality.QUALITY))
    quality_plot(result).write(DOCS / Path(quality.PLOT).with_suffix(""))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
