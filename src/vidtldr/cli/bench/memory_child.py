"""A process that measures one memory peak."""

import json
import sys
from typing import Any

import torch

from vidtldr.bench.resident import peak_above_load
from vidtldr.bench.speed import forward_of
from vidtldr.bench.speed_variants import speed_variants
from vidtldr.cli.bench.subject import SubjectName, load_subject
from vidtldr.config import MergeConfig
from vidtldr.patch.compiling import clear_compiler_errors

__all__ = ["main", "measure_peak"]


def measure_peak(order: dict[str, Any]) -> int:
    """Measure the memory peak of one variant, bytes.

    Args:
        order: `subject`, the fields of a `SubjectName`; `merge`, those of a `MergeConfig`; `peer`,
            the variant's name; `batch`, `dtype` and `num_threads`.
    """
    if order["num_threads"] is not None:
        torch.set_num_threads(order["num_threads"])
    subject = load_subject(SubjectName(**order["subject"]))
    dtype = getattr(torch, order["dtype"])
    x = subject.pixel_values(order["batch"]).to(dtype)
    variant = speed_variants(MergeConfig.from_dict(order["merge"]))[order["peer"]]
    model = variant.build(subject.model.to(dtype))
    run = forward_of(model, x)
    if variant.counts_as is not None:
        with clear_compiler_errors():
            run()  # compiling takes memory that later forward passes do not
    return peak_above_load(run, x.device)


def main() -> None:
    """Read the order, measure and print the peak."""
    print(measure_peak(json.load(sys.stdin)))


if __name__ == "__main__":
    main()
