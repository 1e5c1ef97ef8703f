"""Choose how the bundled model merges.

    python recipes/choose_preset.py --weights runs/shapes/model.safetensors --out runs/shapes

Tries every score in many sets of layers at 0.6 of the FLOPs, on validation clips. Writes
`preset.json`, which goes beside the bundled weights, and `03_preset.json` with every row. Stop it
at any time; the same command goes on.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from vidtldr.bench.environment import environment
from vidtldr.bench.preset_choice import choose_preset
from vidtldr.bench.quality import QualityOptions, Row
from vidtldr.bench.result_store import ResultStore
from vidtldr.bench.trained_shapes import load_shapes
from vidtldr.tasks.fingerprint import file_sha256


def main() -> None:
    """Choose, print and write."""
    args = parse_arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    model = load_shapes(args.weights).to(args.device)
    options = QualityOptions(args.num_clips, tuple(args.seeds), "validation")
    choice = choose_preset(
        model, options, ResultStore(args.out / "preset.jsonl"), on_step=print_step
    )
    print(f"{'':78}", end="\r")
    for row in choice.rows:
        print(line_of(row))
    report = {
        "environment": environment(model.temp.device),
        "weights_sha256": file_sha256(args.weights),
        "options": asdict(options),
        "chosen": choice.config.to_dict(),
        "rows": [asdict(row) for row in choice.rows],
    }
    write(args.out / "03_preset.json", report)
    write(args.out / "preset.json", choice.config.to_dict())


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True, help="model.safetensors of a run")
    parser.add_argument("--out", type=Path, required=True, help="directory to write to")
    parser.add_argument("--num-clips", type=int, default=300, help="validation clips of each seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the world")
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


def print_step(what: str, done: int, total: int) -> None:
    """Show how far it is."""
    print(f"{what}: {done} of {total}   ", end="\r", flush=True)


def line_of(row: Row) -> str:
    """A row as text."""
    layers = ",".join(map(str, row.layers or ()))
    start = f"{row.budget:.1f}  {row.method:22} {layers:8}"
    if row.measures is None or row.r1_change is None:
        return f"{start} {row.unreachable}"
    figures = "  ".join(f"{row.measures[name].mean:5.1f}" for name in ("r1", "answering", "labels"))
    return f"{start} {figures}  R@1 {row.r1_change.mean:+.1f} ±{row.r1_change.std:.1f}"


def write(path: Path, value: object) -> None:
    """Write JSON."""
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
