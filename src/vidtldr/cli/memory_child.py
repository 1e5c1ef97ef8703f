"""One peer in a process of its own: read what to run from standard input, print the peak's bytes.

`bench memory` starts it as `python -m vidtldr.cli.memory_child`.
"""

import json
import sys
from typing import Any

import torch

from vidtldr.bench.resident import peak_above_load
from vidtldr.bench.speed import forward_of
from vidtldr.bench.speed_peers import speed_peers
from vidtldr.cli.bench_subject import SubjectName, load_subject
from vidtldr.hosts.compiling import clear_compiler_errors
from vidtldr.hosts.config import MergeConfig

__all__ = ["main", "measure_peak"]


def measure_peak(order: dict[str, Any]) -> int:
    """The peak of one peer, bytes.

    Args:
        order: `subject`, fields of a `SubjectName`; `merge`, of a `MergeConfig`; `peer`, a name;
            `batch`, `dtype` and `num_threads`.
    """
    if order["num_threads"] is not None:
        torch.set_num_threads(order["num_threads"])
    subject = load_subject(SubjectName(**order["subject"]))
    dtype = getattr(torch, order["dtype"])
    x = subject.pixel_values(order["batch"]).to(dtype)
    peer = speed_peers(MergeConfig.from_dict(order["merge"]))[order["peer"]]
    model = peer.build(subject.model.to(dtype))
    run = forward_of(model, x)
    if peer.counts_as is not None:
        with clear_compiler_errors():
            run()  # compiling takes memory that no later forward does
    return peak_above_load(run, x.device)


def main() -> None:
    """Read, measure, print."""
    print(measure_peak(json.load(sys.stdin)))


if __name__ == "__main__":
    main()
