"""The measured models, with random weights."""

from functools import cache

from vidtldr.bench.never_slower.workloads import umt_b, videomae_b
from vidtldr.bench.subject import Subject, build_subject

__all__ = ["SUBJECTS", "subject"]

#: Add V-JEPA 2 ViT-L and SigLIP so400m once they are hosts.
SUBJECTS = ("umt-b16", "videomae-b", "umt-l16", "videomae-l")


@cache
def subject(name: str, *, is_smoke: bool) -> Subject:
    """Build one of `SUBJECTS` on the CPU, float32; in a smoke run a tiny one of its family."""
    if not is_smoke:
        return build_subject(name)
    return (umt_b if name.startswith("umt") else videomae_b)(True).subject
