"""Choose how the bundled model merges: `python recipes/shapes/choose_preset.py`.

For each FLOP budget, tries every score in many layer sets, then metrics, weightings and shares, on
validation clips. Writes every row to `03_preset.json`, and the choice at a budget of 0.6 to the
bundled `merge.json`. It can be stopped at any time; the same command resumes.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vidtldr.bench.preset_choice import LAYER_SETS, PresetChoice, choose_preset
from vidtldr.bench.quality import QualityOptions
from vidtldr.bench.trained_shapes import load_shapes
from vidtldr.bundled import BUNDLED
from vidtldr.measure.environment import environment
from vidtldr.measure.result_store import ResultStore
from vidtldr.tasks.fingerprint import file_sha256

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"
PRESET_BUDGET = 0.6


def main() -> None:
    """Choose, print and write."""
    args = parse_arguments()
    model = load_shapes(args.weights).to(args.device)
    options = QualityOptions(args.clips, tuple(args.seeds), "validation")
    store = ResultStore(args.cache / "preset.jsonl")
    choices = {}
    for budget in args.budgets:
        choices[budget] = choose_preset(
            model,
            options,
            store,
            budget,
            layer_sets=args.layer_sets,
            num_finalists=args.finalists,
            on_step=print_step,
        )
        print_choice(budget, choices[budget])
    report = {
        "environment": environment(model.temp.device),
        "weights_sha256": file_sha256(args.weights),
        "options": asdict(options),
        "chosen": {str(budget): choice.config.to_dict() for budget, choice in choices.items()},
        "rows": {str(budget): rows_of(choice) for budget, choice in choices.items()},
    }
    write(args.output, report)
    if PRESET_BUDGET in choices and args.merge is not None:
        write(args.merge, choices[PRESET_BUDGET].config.to_dict())


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, default=BUNDLED / "model.safetensors")
    parser.add_argument("--clips", type=int, default=100, help="validation clips of each seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the world")
    parser.add_argument("--budgets", type=float, nargs="+", default=[0.6, 0.7, 0.5, 0.4, 0.3])
    parser.add_argument(
        "--layer-sets", type=layers, nargs="+", default=LAYER_SETS, help="such as 0,1,2 1,2"
    )
    parser.add_argument("--finalists", type=int, default=3, help="rows for the second round")
    parser.add_argument("--cache", type=Path, default=Path("runs/quality"), help="to go on from")
    parser.add_argument("--output", type=Path, default=RESULTS / "03_preset.json")
    parser.add_argument("--merge", type=Path, default=BUNDLED / "merge.json")
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


def layers(text: str) -> tuple[int, ...]:
    """Read layers such as `0,1,2`."""
    return tuple(int(layer) for layer in text.split(","))


def print_step(what: str, done: int, total: int) -> None:
    """Show progress."""
    print(f"{what}: {done} of {total}   ", end="\r", flush=True)


def print_choice(budget: float, choice: PresetChoice) -> None:
    """Print the finalists, best first."""
    print(f"{budget:g} of the FLOPs: R@1, answers, labels; change of R@1 ± its standard error")
    for row in choice.finalists:
        assert row.measures is not None  # finalists are those that were measured
        assert row.change is not None
        figures = (row.measures[name].mean for name in ("r1", "answering", "labels"))
        print(
            f"  {row.method:52} {','.join(map(str, row.layers or ())):8}"
            f" {' '.join(f'{figure:5.1f}' for figure in figures)}"
            f"  {row.change['r1'].mean:+.1f} ±{row.change['r1'].standard_error:.1f}"
        )


def rows_of(choice: PresetChoice) -> dict[str, list[Any]]:
    """Every row, ready for JSON; grid rows keep their recall only."""
    grid = [(row.setting, row.measures) for row in choice.grid]
    recall = [{"setting": at, "r1": found["r1"].mean} for at, found in grid if found is not None]
    return {"finalists": [asdict(row) for row in choice.finalists], "grid": recall}


def write(path: Path, value: object) -> None:
    """Write JSON."""
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {path.name}")


if __name__ == "__main__":
    main()
