"""Small UMTs, tokenizers and sets of videos on disk."""

import json
import shutil
import string
from pathlib import Path
from typing import Any, NamedTuple

from support.film import write_film
from support.tiny_umt import spread_weights

from vidtldr.models.umt import UMTAnswering, UMTConfig, UMTRetrieval

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [*SPECIAL, *string.ascii_lowercase, *(f"##{letter}" for letter in string.ascii_lowercase)]
WORDS += [*string.digits, *(f"##{digit}" for digit in string.digits)]
WORDS += ["dog", "cat", "runs", "the", "street", "red", "sign", "person", "in", "on"]

TEXT = {
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": len(WORDS),
    "max_position_embeddings": 64,
    "fusion_layer": 1,
}
# 4 frames of 32 pixels in patches of 8: 64 tokens
CONFIG = UMTConfig(32, 8, 4, 24, 3, 2, 12, TEXT)


class VideoSet(NamedTuple):
    """Videos on disk: names of good ones, and one that cannot be read."""

    directory: Path
    good: list[str]
    broken: str

    @property
    def names(self) -> list[str]:
        """The broken one stands in the middle."""
        return [*self.good[:2], self.broken, *self.good[2:]]

    @property
    def paths(self) -> list[str]:
        return [str(self.directory / name) for name in self.names]


def write_tokenizer(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    return directory


def retrieval_model(tokenizer: Path) -> UMTRetrieval:
    return spread_weights(UMTRetrieval(CONFIG, tokenizer), seed=1)


def answering_model(tokenizer: Path) -> UMTAnswering:
    return spread_weights(UMTAnswering(CONFIG, tokenizer), seed=2)


def written_set(directory: Path, num_videos: int = 5) -> VideoSet:
    """Films made on the spot; the broken one is a text."""
    directory.mkdir(parents=True, exist_ok=True)
    good = []
    for number in range(num_videos):
        name = f"film{number}.mp4"
        write_film(directory / name, 12, first_number=37 * number + 5)
        good.append(name)
    (directory / "broken.mp4").write_text("This is no video.\n")
    return VideoSet(directory, good, "broken.mp4")


def real_set(directory: Path, real_videos: Path) -> VideoSet:
    """Short camera footage; the broken one lacks its index."""
    directory.mkdir(parents=True, exist_ok=True)
    good = ["asl_again.mkv", "asl_eat.mkv", "mmaction2_part_0.mp4", "asl_yes.mkv"]
    for name in good:
        shutil.copy(real_videos / "clips" / name, directory / name)
    shutil.copy(real_videos / "odd" / "truncated_60pct_yoga.mp4", directory)
    return VideoSet(directory, good, "truncated_60pct_yoga.mp4")


def write_json(path: Path, entries: list[Any]) -> Path:
    path.write_text(json.dumps(entries, indent=1))
    return path
