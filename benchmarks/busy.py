"""How much of the speed-up is left on a busy machine.

Each round times the merged and the unmerged model twice: with nothing else running, and with a busy
loop pinned to every core. Each row is written as soon as it is measured, to a file named after the
processor.

    python benchmarks/busy.py
    python benchmarks/busy.py --rows videomae-384 --rounds 15
"""

from pathlib import Path

from vidtldr.bench.busy_rows import BUSY_ROWS
from vidtldr.bench.row_script import run_script

RESULTS = Path(__file__).parent / "results" / "busy"

if __name__ == "__main__":
    run_script(__doc__, BUSY_ROWS, RESULTS)
