import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "04_gpu_attention.py"


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
