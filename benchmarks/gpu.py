"""Run all GPU measurements in one go, the most important first. Needs one NVIDIA GPU.

    python benchmarks/gpu.py --output-dir gpu-results
    python benchmarks/gpu.py --output-dir /tmp/smoke --smoke

The package need not be installed: the sources next to this file are used if it is not. Each stage
writes its own JSON file as soon as it has results. If a stage fails, its traceback goes into that
file and the next stage runs, in a new process if the GPU no longer responds. Stages that no longer
fit into the time are skipped; `summary.json` lists what happened to each. `--smoke` runs every
stage on a CPU with tiny sizes and the kernels in Triton's interpreter; its times mean nothing.

Stages: environment; the Triton kernels against float64 and the tests marked gpu; attention of one
layer; models in bfloat16, unmerged on each fused back-end, merged, ToMe and with stored attention
maps; time per part of each merging layer; models compiled with CUDA graphs; tile sizes of the
kernels.
"""

import argparse
import os
import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    arguments = _parse()
    if arguments.smoke:
        os.environ["TRITON_INTERPRET"] = "1"  # Triton reads it once, when it is imported
    if find_spec("vidtldr") is None:
        sys.path.insert(0, str(ROOT / "src"))
    from gpu_stages.driver import drive
    from gpu_stages.plan import stages_of
    from gpu_stages.worker import run_stages

    stages = stages_of(smoke=arguments.smoke, commit=arguments.commit)
    if arguments.until is not None:
        return run_stages(stages, arguments.output_dir, arguments.until, smoke=arguments.smoke)
    command = [sys.executable, __file__, *sys.argv[1:]]
    return drive(command, stages, arguments.output_dir, arguments.minutes * 60)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output-dir", type=Path, required=True, help="folder for the JSON files")
    parser.add_argument(
        "--minutes", type=float, default=6, help="time limit for all stages together"
    )
    parser.add_argument("--smoke", action="store_true", help="run on a CPU with tiny sizes")
    parser.add_argument("--commit", help="commit of the sources, if they are not a git checkout")
    # Passed to the process that runs the stages: its deadline.
    parser.add_argument("--until", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.minutes <= 0:
        parser.error(
            f"--minutes must be positive, got {arguments.minutes}. Give 6 for a whole run."
        )
    if arguments.until is None:
        _validate(parser, arguments)
    return arguments


def _validate(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    if arguments.output_dir.exists() and any(arguments.output_dir.glob("*.json")):
        parser.error(
            f"--output-dir must hold no JSON files yet, got {arguments.output_dir.name!r} with "
            "some. Name a new folder."
        )
    import torch

    if not arguments.smoke and not torch.cuda.is_available():
        parser.error(
            "this benchmark must run on a machine with CUDA, got none. Run it where "
            "torch.cuda.is_available() is True; --smoke tries every stage on a CPU."
        )


if __name__ == "__main__":
    sys.exit(main())
