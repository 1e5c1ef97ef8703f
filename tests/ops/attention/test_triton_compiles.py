"""The Triton kernels compile for GPUs that are not there: what the interpreter cannot show."""

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="triton comes for Linux"),
    pytest.mark.skipif("TRITON_INTERPRET" in os.environ, reason="nothing is compiled there"),
]

# Bytes of shared memory of one program: an A100 and an H100 by their data sheets.
SHARED_MEMORY = {80: 163 * 1024, 90: 227 * 1024}
NAMES = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}
STATISTICS = ("mass_ptr", "row_max_ptr", "row_sum_ptr", "entropy_ptr", "parts_ptr")


def compiled(
    kernel: Any, tiles: Any, capability: int, dtype: torch.dtype, without: set[str]
) -> Any:
    """Compile for an NVIDIA GPU, with arguments as `triton_launch` passes them and D = 64."""
    import triton
    from triton.backends.compiler import GPUTarget

    constants = {"D": 64, "PADDED_D": 64, "SHARPNESS": True, **tiles.kwargs}
    signature: dict[str, Any] = {}
    values: dict[tuple[int, ...], Any] = {}
    for index, name in enumerate(kernel.fn.arg_names):
        if name in without or name in constants:
            signature[name] = "constexpr"
            values[(index,)] = constants.get(name)
        elif name.endswith("_strides"):
            signature[name] = ("i32", "i32", "i32", "constexpr")
            values[(index, 3)] = 1
        elif name.endswith("_ptr"):
            signature[name] = "*fp32" if name in STATISTICS else f"*{NAMES[dtype]}"
        else:
            signature[name] = "fp32" if name == "scale_log2e" else "i32"
    return triton.compile(
        triton.compiler.ASTSource(kernel.fn, signature, values),
        target=GPUTarget("cuda", capability, 32),
        options={"num_warps": tiles.num_warps, "num_stages": tiles.num_stages},
    )


@pytest.mark.parametrize("capability", [80, 90])
@pytest.mark.parametrize("dtype", NAMES)
@pytest.mark.parametrize(
    ("name", "without"),
    [
        ("attention_kernel", {"entropy_ptr"}),
        ("attention_kernel", {"row_max_ptr", "row_sum_ptr", "mass_ptr"}),
        (
            "attention_kernel",
            {"entropy_ptr", "mass_ptr", "v_ptr", "v_strides", "x_ptr", "x_strides"},
        ),
        ("score_kernel", set()),
    ],
)
def test_every_candidate_compiles_fits_and_multiplies_in_the_right_precision(
    name: str,
    without: set[str],
    dtype: torch.dtype,
    capability: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernels = importlib.import_module("vidtldr.ops.attention.triton_kernels")
    kernel = getattr(kernels, name)
    candidates = kernels._for_dtype(kernel.configs, {"q_ptr": torch.empty(0, dtype=dtype)})
    assert len(candidates) >= 3
    for tiles in candidates:
        binary = compiled(kernel, tiles, capability, dtype, without)
        assert binary.metadata.shared <= SHARED_MEMORY[capability]
        ptx = binary.asm["ptx"]
        assert "tf32" not in ptx
        if dtype == torch.float32:
            assert "mma" not in ptx
        else:
            assert ("wgmma" if capability == 90 else "mma.sync") in ptx
