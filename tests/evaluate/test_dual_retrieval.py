"""Retrieval with small CLIP and SigLIP, against metrics computed from the host's own logits."""

from pathlib import Path
from typing import Any

import pytest
import torch
from support import tiny_duals
from support.umt_sets import VideoSet, write_json, written_set

from vidtldr import MergeConfig
from vidtldr.evaluate.dual_retrieval import evaluate_dual_retrieval
from vidtldr.evaluate.protocols import RETRIEVAL
from vidtldr.evaluate.settings import Settings
from vidtldr.tasks.load import load_model
from vidtldr.tasks.model_spec import ModelSpec
from vidtldr.video.decode import read_clip
from vidtldr.video.sampling import Sampling

TEXTS = ["a dog runs", "yoga", "a cat sleeps", "a book", "a red car " * 20]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> VideoSet:
    return written_set(tmp_path_factory.mktemp("films"))


@pytest.fixture(scope="module", params=["clip", "siglip"])
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    write = getattr(tiny_duals, f"write_{request.param}")
    return load_model(ModelSpec(str(write(tmp_path_factory.mktemp(request.param) / "model"))))


def annotated(films: VideoSet, path: Path, with_broken: bool = False) -> Path:
    names = [*films.good, *([films.broken] if with_broken else [])]
    texts = [*TEXTS, "nothing"]
    entries = [{"video": name, "caption": text} for name, text in zip(names, texts, strict=False)]
    return write_json(path, entries)


@torch.inference_mode()
def host_logits(loaded: Any, films: VideoSet, texts: list[str]) -> torch.Tensor:
    """V x T by the host: the mean of frames' vectors, one text at a time, long ones cut."""
    pretrained, dual = loaded
    host: Any = dual.encoder.model
    is_siglip = hasattr(host, "logit_bias")
    columns = []
    for text in texts:
        tokens = dual.tokenizer(
            [text], padding="max_length", truncation=True, max_length=dual.max_text_tokens,
            return_tensors="pt",
        )  # fmt: skip
        if is_siglip:
            tokens = {"input_ids": tokens["input_ids"]}
        columns.append(host.get_text_features(**tokens).pooler_output[0])
    rows = []
    for name in films.good:
        clip = read_clip(str(films.directory / name), Sampling(pretrained.num_frames))
        frames = pretrained.transform(clip.frames)
        rows.append(host.get_image_features(pixel_values=frames).pooler_output.mean(dim=0))
    videos, words = torch.stack(rows), torch.stack(columns)
    cosines = (videos / videos.norm(dim=1, keepdim=True)) @ (
        words / words.norm(dim=1, keepdim=True)
    ).T
    return cosines * host.logit_scale.exp() + (host.logit_bias if is_siglip else 0.0)


def recall_at_1(logits: torch.Tensor) -> float:
    right = logits.argmax(dim=1) == torch.arange(len(logits))
    return 100 * right.float().mean().item()


def test_metrics_are_those_of_the_hosts_logits(
    loaded: Any, films: VideoSet, tmp_path: Path
) -> None:
    annotations = annotated(films, tmp_path / "captions.json")
    found = evaluate_dual_retrieval(*loaded, annotations, films.directory, RETRIEVAL["msrvtt"])
    logits = host_logits(loaded, films, TEXTS)
    assert found.dual.video_to_text.r1 == pytest.approx(recall_at_1(logits))
    assert found.dual.text_to_video.r1 == pytest.approx(recall_at_1(logits.T))
    assert found.reranked is None
    assert (found.num_texts, found.run.num_videos, found.run.num_encoded) == (5, 5, 5)


def test_a_second_run_reads_the_cache_and_a_broken_video_is_a_miss(
    loaded: Any, films: VideoSet, tmp_path: Path
) -> None:
    annotations = annotated(films, tmp_path / "captions.json", with_broken=True)
    settings = Settings(cache_dir=tmp_path / "cache")
    runs = [
        evaluate_dual_retrieval(
            *loaded, annotations, films.directory, RETRIEVAL["msrvtt"], settings=settings
        )
        for _ in range(2)
    ]
    assert [each.run.num_encoded for each in runs] == [5, 0]
    assert runs[0].dual == runs[1].dual
    [failed] = runs[0].run.failed_videos
    assert failed.path.endswith(films.broken)


def test_merging_is_recorded_and_takes_less(loaded: Any, films: VideoSet, tmp_path: Path) -> None:
    annotations = annotated(films, tmp_path / "captions.json")
    plain, merged = (
        evaluate_dual_retrieval(
            *loaded, annotations, films.directory, RETRIEVAL["msrvtt"], merge=merge
        )
        for merge in (None, MergeConfig(flop_ratio=0.8))
    )
    assert merged.run.gflops_per_clip == pytest.approx(0.8 * plain.run.gflops_per_clip, rel=0.05)
    assert merged.run.r is not None
    assert plain.run.r is None
