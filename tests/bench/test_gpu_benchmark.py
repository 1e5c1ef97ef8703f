import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "04_gpu_attention.py"


def test_every_way_of_mass_gives_the_same_values() -> None:
    """What can run on a CPU: fused attention there, with log mass as a bias and as a channel."""
    bench = runpy.run_path(str(SCRIPT))
    bench["make_inputs"].__globals__["NUM_TOKENS"] = 96
    inputs = bench["make_inputs"](2, torch.device("cpu"))
    sides = {n: side for n, side in bench["make_sides"](*inputs).items() if "triton" not in n}
    runs, refused = bench["keep_what_runs"](sides)
    ways = {"sdpa-flash", "sdpa-flash-bias-with-mass", "sdpa-flash-folded-with-mass"}
    assert set(runs) == ways | {"blocked", "blocked-with-mass"}
    assert len(refused) == 6
    errors = bench["check_outputs"](runs, *inputs)
    assert set(errors) == set(runs)
    assert errors["blocked"]["score"] is not None
    # The check can fail: without mass the values are others.
    with pytest.raises(AssertionError):
        bench["check_outputs"]({"sdpa-flash-with-mass": runs["sdpa-flash"]}, *inputs)


@pytest.mark.skipif(torch.cuda.is_available(), reason="it would run for minutes")
def test_without_cuda_it_says_so_and_writes_nothing(tmp_path: Path) -> None:
    output = tmp_path / "result.json"
    done = subprocess.run(
        [sys.executable, SCRIPT, "--output", output], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "must run on a machine with CUDA, got none" in done.stderr
    assert "Traceback" not in done.stderr
    assert not output.exists()
