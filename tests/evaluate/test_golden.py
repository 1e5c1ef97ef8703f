"""Our evaluation on the authors' weights and inputs gives the authors' results."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.testing import assert_close

from vidtldr.config import MergeConfig
from vidtldr.evaluate.annotations import Question, RetrievalSet
from vidtldr.evaluate.answering import predict_answers
from vidtldr.evaluate.protocols import ANSWERING
from vidtldr.evaluate.ranking import dual_scores, measure, rerank
from vidtldr.evaluate.settings import Settings
from vidtldr.models.umt import UMTConfig, load_umt
from vidtldr.tasks.ask import answer_tokens
from vidtldr.tasks.text_cleaning import clean_text
from vidtldr.tasks.text_features import encode_texts
from vidtldr.tasks.video_features import embed_pooled

TOLERANCE = {"rtol": 0, "atol": 2e-4}


class Golden(NamedTuple):
    directory: Path
    meta: dict[str, Any]
    expected: dict[str, Tensor]
    config: UMTConfig


def read_golden(directory: Path) -> Golden:
    meta = json.loads((directory / "meta.json").read_text())
    vision = meta["config"]["vision"]
    config = UMTConfig(
        vision["img_size"],
        vision["patch_size"],
        vision["num_frames"],
        vision["encoder_embed_dim"],
        vision["encoder_depth"],
        vision["encoder_num_heads"],
        meta["config"]["embed_dim"],
        meta["config"]["text"],
    )
    return Golden(directory, meta, load_file(directory / "expected.safetensors"), config)


def merge_of(r: list[float]) -> MergeConfig:
    """A recorded schedule; entries below 1 are shares in the authors' program."""
    if any(0 < entry < 1 for entry in r):
        return MergeConfig(ratio=r, score="sharpness")
    return MergeConfig(r=[int(entry) for entry in r], score="sharpness")


@pytest.fixture(scope="module")
def umt(golden):
    return read_golden(golden / "umt")


@pytest.fixture(scope="module")
def retrieval_model(umt):
    file = umt.directory / "umt_retrieval.safetensors"
    return load_umt(file, config=umt.config, tokenizer=umt.directory / "text")


@pytest.fixture(scope="module")
def answering_model(umt):
    file = umt.directory / "umt_qa.safetensors"
    tokenizer = umt.directory / "text"
    return load_umt(file, task="answering", config=umt.config, tokenizer=tokenizer)


@pytest.fixture(scope="module")
def retrieval_set(umt):
    meta = umt.meta
    return RetrievalSet(
        videos=tuple(meta["img2txt"]),
        texts=tuple(meta["captions"]),
        videos_of_text=tuple((meta["txt2img"][str(i)],) for i in range(len(meta["captions"]))),
        texts_of_video=tuple(tuple(texts) for texts in meta["img2txt"].values()),
    )


def encode(encoding, clips, batch_size):
    """Tokens and pooled vectors of clips, encoded in batches."""
    parts = [encoding.encode_pixels(part) for part in clips.split(batch_size)]
    tokens = [clip for part in parts for clip in part.by_clip()]
    return tokens, torch.cat([part.pooled for part in parts])


def assert_metrics(metrics, expected):
    # R@10 of the recorded re-ranking depends on ties at -100
    for k in (1, 5):
        assert round(getattr(metrics.video_to_text, f"r{k}"), 2) == expected[f"txt_r{k}"]
        assert round(getattr(metrics.text_to_video, f"r{k}"), 2) == expected[f"img_r{k}"]


@pytest.mark.parametrize(
    ("run", "batch_size"), [*((r, b) for r in range(4) for b in (16, 5)), (2, 1)]
)
def test_retrieval_gives_the_authors_scores_and_recall(
    umt, retrieval_model, retrieval_set, run, batch_size
):
    recorded = umt.meta["runs"][run]
    encoding = Settings().encoding(retrieval_model, merge_of(recorded["r"]))
    tokens, pooled = encode(encoding, umt.expected["videos"], batch_size)
    captions = [clean_text(text) for text in retrieval_set.texts]
    texts = encode_texts(
        retrieval_model, retrieval_model.tokenizer(captions, 32), batch_size=batch_size
    )
    dual = dual_scores(list(embed_pooled(encoding, pooled)), texts)
    reranked = rerank(
        retrieval_model,
        tokens.__getitem__,
        texts,
        dual,
        recorded["k_test"],
        batch_size=batch_size,
    )
    assert_close(dual.video_to_text, umt.expected[f"run{run}.i2t"], **TOLERANCE)
    assert_close(dual.text_to_video, umt.expected[f"run{run}.t2i"], **TOLERANCE)
    assert_close(reranked.video_to_text, umt.expected[f"run{run}.i2t_rerank"], **TOLERANCE)
    assert_close(reranked.text_to_video, umt.expected[f"run{run}.t2i_rerank"], **TOLERANCE)
    assert_metrics(measure(dual, retrieval_set), recorded["metrics_dual"])
    assert_metrics(measure(reranked, retrieval_set), recorded["metrics_rerank"])


@pytest.mark.parametrize("run", range(2))
@pytest.mark.parametrize("batch_size", [12, 5])
def test_answering_gives_the_authors_predictions(umt, answering_model, run, batch_size):
    recorded = umt.meta["qa_runs"][run]
    assert (recorded["max_q_len"], recorded["max_a_len"]) == (
        ANSWERING.max_question_tokens,
        ANSWERING.max_answer_tokens,
    )
    encoding = Settings().encoding(answering_model, merge_of(recorded["r"]))
    tokens, _ = encode(encoding, umt.expected["videos"], batch_size)
    candidates = answer_tokens(answering_model, umt.meta["answers"], ANSWERING.max_answer_tokens)
    protocol = type(ANSWERING)(k_test=recorded["k_test"])
    found = []
    for video, text in zip(tokens, umt.meta["questions"], strict=True):
        question = Question(0, "a.mp4", text, "")
        [best] = predict_answers(encoding, video, [question], candidates, protocol)
        found.append(best)
    assert [umt.meta["answers"][index] for index, _ in found] == recorded["pred"]
    probabilities = torch.tensor([probability for _, probability in found])
    assert_close(probabilities, umt.expected[f"qa.run{run}.topk_probs"][:, 0], **TOLERANCE)
