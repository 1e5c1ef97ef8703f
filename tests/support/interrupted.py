"""Evaluates a small set slowly and says each step; run as a program, to be killed."""

import json
import sys
import time
from pathlib import Path

import torch
from support.umt_sets import retrieval_model

from vidtldr.config import MergeConfig
from vidtldr.evaluate.protocols import RETRIEVAL
from vidtldr.evaluate.retrieval import RetrievalResult, evaluate_retrieval
from vidtldr.evaluate.settings import Settings


def evaluate(directory: Path, cache: Path | None, pause_seconds: float) -> RetrievalResult:
    def on_step(what: str, done: int, _total: int) -> None:
        print(what, done, flush=True)
        time.sleep(pause_seconds if what == "videos" else 0)

    return evaluate_retrieval(
        retrieval_model(directory / "tokenizer"),
        directory / "set.json",
        directory / "videos",
        RETRIEVAL["msrvtt"],
        merge=MergeConfig(r=[20, 8]),
        settings=Settings(cache_dir=cache, num_readers=1),
        on_step=on_step,
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    result = evaluate(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))
    print(json.dumps(result.to_dict()), flush=True)
