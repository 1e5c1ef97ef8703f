from pathlib import Path

import pytest
import torch

from vidtldr.ops import processor
from vidtldr.ops.processor import bfloat16_is_native, capability_of, fields_of

CPU = torch.device("cpu")
X86 = "processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: fpu avx2 avx512f {}\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd {}\n"


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        (X86.format("avx512_bf16"), "avx512-bf16"),
        (X86.format("avx512_bf16 amx_bf16 amx_tile"), "amx"),
        (X86.format("avx512_vnni"), "avx512"),
        (X86.format("not_avx512_bf16"), "avx512"),
        (X86.format("") + X86.format("avx512_bf16"), "avx512"),  # the first one speaks for all
        ("flags\t\t: fpu sse2 avx2\n", "avx2"),
        ("flags\t\t: fpu sse2\n", "other"),
        (ARM.format("bf16"), "arm-bf16"),
        (ARM.format("i8mm"), "arm"),
        ("model name\t: avx512_bf16\n", "other"),
        ("", "other"),
    ],
)
def test_the_flags_of_a_processor_tell(cpuinfo: str, expected: str) -> None:
    assert capability_of(fields_of(cpuinfo)) == expected


def test_this_machine_is_what_torch_says_of_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    found = bfloat16_is_native(CPU)
    monkeypatch.setattr(processor, "CPUINFO", Path("nowhere"))
    if torch.cpu.get_capabilities()["architecture"] == "x86_64":
        assert bfloat16_is_native(CPU) == found


def test_gpus_are_taken_to_have_it() -> None:
    assert bfloat16_is_native(torch.device("cuda"))


@pytest.mark.parametrize("name", ["avx512_bf16", "amx_bf16", "bf16", "sve_bf16"])
def test_where_there_is_no_cpuinfo_torch_is_asked(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor, "CPUINFO", Path("nowhere"))
    for found in (True, False):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=found: {name: found})
        assert bfloat16_is_native(CPU) is found
