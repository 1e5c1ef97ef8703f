"""A processor name fit for file names: maker, generation and best vector unit."""

import platform
import re
from collections.abc import Mapping

from vidtldr.ops.processor import capability_of, cpu_capability, cpuinfo_fields

__all__ = ["processor_name", "processor_of"]

# Virtual machines often hide the model name; family and model still give the generation.
_GENERATIONS = {
    ("AuthenticAMD", 23, 1): "7001",
    ("AuthenticAMD", 23, 49): "7002",
    ("AuthenticAMD", 25, 1): "7003",
    ("AuthenticAMD", 25, 17): "9004",
    ("AuthenticAMD", 25, 160): "9004",
    ("AuthenticAMD", 26, 2): "9005",
    ("AuthenticAMD", 26, 17): "9005",
    ("GenuineIntel", 6, 85): "skylake-or-cascade-lake",
    ("GenuineIntel", 6, 106): "ice-lake",
    ("GenuineIntel", 6, 143): "sapphire-rapids",
    ("GenuineIntel", 6, 207): "emerald-rapids",
    ("GenuineIntel", 6, 173): "granite-rapids",
}
_NOISE = re.compile(r"\((r|tm)\)|@.*|\bcpu\b|\bprocessor\b|\b\d+-core\b", re.IGNORECASE)


def processor_name() -> str:
    """Name this machine's processor, such as `amd-epyc-7003-avx2`."""
    return processor_of(cpuinfo_fields())


def processor_of(fields: Mapping[str, str]) -> str:
    """Name a processor from its fields in `/proc/cpuinfo`.

    Args:
        fields: From `fields_of`; empty without that file.

    Returns:
        Model, generation and best vector unit, in lower case with hyphens, fit for a file name.
    """
    capability = capability_of(fields) if fields else cpu_capability()
    words = [_model_of(fields), _generation_of(fields), capability]
    return "-".join(filter(None, words))


def _model_of(fields: Mapping[str, str]) -> str:
    name = fields.get("model name") or _arm_part(fields) or platform.processor()
    return "-".join(re.findall(r"[a-z0-9]+", _NOISE.sub(" ", name or platform.machine()).lower()))


def _arm_part(fields: Mapping[str, str]) -> str:
    """Return Arm's maker and part numbers, which it reports instead of a name."""
    numbers = [fields[name] for name in ("CPU implementer", "CPU part") if name in fields]
    return " ".join(["arm", *numbers]) if numbers else ""


def _generation_of(fields: Mapping[str, str]) -> str:
    try:
        family, model = int(fields["cpu family"]), int(fields["model"])
    except (KeyError, ValueError):  # not an x86 processor
        return ""
    known = _GENERATIONS.get((fields.get("vendor_id", ""), family, model))
    return known or f"family-{family}-model-{model}"
