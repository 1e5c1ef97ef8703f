import re

import pytest

from vidtldr.measure.processor import processor_name, processor_of
from vidtldr.ops.processor import cpu_capability, fields_of

EPYC = """processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 25
model\t\t: 1
model name\t: AMD EPYC
flags\t\t: fpu sse avx2 sha_ni

processor\t: 1
flags\t\t: fpu avx512f
"""
XEON = """vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 143
model name\t: Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz
flags\t\t: avx2 avx512f avx512_bf16 amx_bf16 amx_tile
"""
ARM = """processor\t: 0
Features\t: fp asimd bf16
CPU implementer\t: 0x41
CPU part\t: 0xd4f
"""


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        (EPYC, "amd-epyc-7003-avx2"),
        (EPYC.replace(": 1\n", ": 7\n"), "amd-epyc-family-25-model-7-avx2"),
        (XEON, "intel-xeon-platinum-8481c-sapphire-rapids-amx"),
        (ARM, "arm-0x41-0xd4f-arm-bf16"),
    ],
)
def test_a_processor_is_named_by_model_generation_and_vector_unit(cpuinfo: str, name: str) -> None:
    assert processor_of(fields_of(cpuinfo)) == name


def test_this_machine_has_a_name_that_a_file_can_bear() -> None:
    assert re.fullmatch(r"[a-z0-9-]+", processor_name())
    assert processor_name().endswith(cpu_capability())
    assert processor_of({}).endswith(cpu_capability())
