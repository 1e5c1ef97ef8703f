from pathlib import Path

import pytest
import torch

from vidtldr.ops import native_bfloat16
from vidtldr.ops.native_bfloat16 import bfloat16_is_native, has_bfloat16_products

CPU = torch.device("cpu")
X86 = "processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: fpu avx2 avx512f {}\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd {}\n"


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        (X86.format("avx512_bf16"), True),
        (X86.format("amx_bf16 amx_tile"), True),
        (X86.format("avx512_vnni"), False),
        (X86.format("not_avx512_bf16"), False),
        (X86.format("") + X86.format("avx512_bf16"), False),  # the first one speaks for all
        (ARM.format("bf16"), True),
        (ARM.format("i8mm"), False),
        ("model name\t: avx512_bf16\n", False),
        ("", False),
    ],
)
def test_the_flags_of_a_processor_tell(cpuinfo: str, expected: bool) -> None:
    assert has_bfloat16_products(cpuinfo) is expected


def test_this_machine_is_what_torch_says_of_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    found = bfloat16_is_native(CPU)
    monkeypatch.setattr(native_bfloat16, "CPUINFO", Path("nowhere"))
    if torch.cpu.get_capabilities()["architecture"] == "x86_64":
        assert bfloat16_is_native(CPU) == found


def test_gpus_are_taken_to_have_it() -> None:
    assert bfloat16_is_native(torch.device("cuda"))


@pytest.mark.parametrize("name", ["avx512_bf16", "amx_bf16", "bf16", "sve_bf16"])
def test_where_there_is_no_cpuinfo_torch_is_asked(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native_bfloat16, "CPUINFO", Path("nowhere"))
    for found in (True, False):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=found: {name: found})
        assert bfloat16_is_native(CPU) is found
