"""A tiny UMT as a person has it: checkpoints, sizes and a tokenizer on disk."""

import json
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from support.tiny_umt import spread_weights
from support.umt_sets import CONFIG, answering_model, retrieval_model, write_tokenizer

from vidtldr.models.umt import UMTRetrieval


class UMTFiles(NamedTuple):
    directory: Path
    retrieval: Path
    answering: Path
    arch: Path
    tokenizer: Path

    @property
    def flags(self) -> list[str]:
        return [f"--model=umt:{self.retrieval}", *self.size_flags]

    @property
    def answering_flags(self) -> list[str]:
        return [f"--model=umt:{self.answering}", *self.size_flags]

    @property
    def size_flags(self) -> list[str]:
        return [f"--arch={self.arch}", f"--tokenizer={self.tokenizer}"]


def write_umt(directory: Path) -> UMTFiles:
    tokenizer = write_tokenizer(directory / "tokenizer")
    files = UMTFiles(
        directory, directory / "umt.pth", directory / "qa.pth", directory / "arch.json", tokenizer
    )
    torch.save({"model": retrieval_model(tokenizer).state_dict()}, files.retrieval)
    torch.save({"model": answering_model(tokenizer).state_dict()}, files.answering)
    files.arch.write_text(json.dumps(CONFIG.to_dict()))
    return files


def write_wide_umt(directory: Path, num_layers: int = 12) -> UMTFiles:
    """As many tokens, and by default layers, as the paper's presets are for; few channels."""
    tokenizer = write_tokenizer(directory / "tokenizer")
    config = replace(
        CONFIG, image_size=224, patch_size=16, num_frames=12, hidden_size=8, num_layers=num_layers
    )
    files = UMTFiles(directory, directory / "umt.pth", Path(), directory / "arch.json", tokenizer)
    state = spread_weights(UMTRetrieval(config, tokenizer), seed=1).state_dict()
    torch.save({"model": state}, files.retrieval)
    files.arch.write_text(json.dumps(config.to_dict()))
    return files


def write_pretrained(files: UMTFiles) -> Path:
    """The same weights as a pretrained file has them: `bert.` names, and a masked-word head."""
    state = {}
    for name, value in torch.load(files.retrieval)["model"].items():
        state[name.replace("text_encoder.", "text_encoder.bert.")] = value
    for name, value in torch.load(files.answering)["model"].items():
        if name.startswith("text_decoder.cls."):
            state[name.replace("text_decoder.", "text_encoder.")] = value
    torch.save({"model": state}, files.directory / "pretrained.pth")
    return files.directory / "pretrained.pth"
