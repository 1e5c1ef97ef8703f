"""Time every workload that merging must never slow down, merged against unmerged.

Large models in both dtypes, small ones at one clip and at several, image models, sharp attention,
attention of one layer, and how many operators a layer calls. Unmerged on fused attention and merged
run in turn; outputs are checked first. Each row is written as soon as it is measured, to a file
named after the processor; rows that are in the file already stay until they are measured again.

    python benchmarks/never_slower.py
    python benchmarks/never_slower.py --rows bundled,sharp --rounds 15
"""

from pathlib import Path

from vidtldr.bench.never_slower.rows import ROWS
from vidtldr.bench.row_script import run_script

RESULTS = Path(__file__).parent / "results" / "never_slower"

if __name__ == "__main__":
    run_script(__doc__, ROWS, RESULTS)
