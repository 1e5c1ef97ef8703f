"""The authors' program and ours on the same weights; shared/golden/README.md says what is what."""

import pytest
import torch
from torch.testing import assert_close

import vidtldr
from vidtldr.models.umt import TextFeatures, VideoFeatures, load_umt

# r per layer of the recorded runs; the test below pins them to meta.json
RETRIEVAL_RUNS = [(40, 20, 0, 0), (0, 0, 0, 0), (0.25, 0.2, 0.1, 0), (30, 0, 30, 10)]
ANSWERING_RUNS = [(40, 20, 0, 0), (0, 0, 0, 0)]
TOLERANCE = {"rtol": 0, "atol": 2e-4}


@pytest.fixture
def merge():
    """Returns `merge(model, r)`, a context in which the model merges `r` tokens per layer."""

    def apply(model, r):
        # Entries below 1 are shares in the authors' program.
        name = "ratio" if any(0 < entry < 1 for entry in r) else "r"
        return vidtldr.patched(model, **{name: r}, score="sharpness")

    return apply


@pytest.fixture(scope="module")
def retrieval_model(umt_golden):
    directory, _, _, config = umt_golden
    file = directory / "umt_retrieval.safetensors"
    return load_umt(file, config=config, tokenizer=directory / "text")


@pytest.fixture(scope="module")
def answering_model(umt_golden):
    directory, _, _, config = umt_golden
    file = directory / "umt_qa.safetensors"
    return load_umt(file, task="answering", config=config, tokenizer=directory / "text")


def features(model, expected, batch_size):
    """Encode all videos and texts in batches."""
    videos = [model.encode_video(clips) for clips in expected["videos"].split(batch_size)]
    ids, mask = expected["input_ids"], expected["attention_mask"]
    texts = [
        model.encode_text(*part)
        for part in zip(ids.split(batch_size), mask.split(batch_size), strict=True)
    ]
    return (
        VideoFeatures(*(torch.cat([video[i] for video in videos]) for i in range(2))),
        TextFeatures(*(torch.cat(part) for part in zip(*texts, strict=True))),
    )


def rerank(model, video, text, scores, k):
    """Re-score the best k texts of each video, the rest is -100: (videos, texts)."""
    result = torch.full_like(scores, -100)
    for i, row in enumerate(scores):
        best = row.topk(k).indices
        result[i, best] = model.rerank_scores(
            video.tokens[i : i + 1], text.tokens[best], text.attention_mask[best]
        )
    return result


def rerank_by_text(model, video, text, scores, k):
    """Re-score the best k videos of each text, the rest is -100: (texts, videos)."""
    result = torch.full_like(scores, -100)
    for i, row in enumerate(scores):
        best = row.topk(k).indices
        result[i, best] = model.rerank_scores(
            video.tokens[best], text.tokens[i : i + 1], text.attention_mask[i : i + 1]
        )
    return result


def recall(scores, right, k):
    """Percent of queries with one of their `right` answers among the first k."""
    hits = [bool(set(row.topk(k).indices.tolist()) & set(right[i])) for i, row in enumerate(scores)]
    return 100 * sum(hits) / len(hits)


def test_the_runs_are_the_recorded_ones(umt_golden):
    _, meta, _, _ = umt_golden
    assert [tuple(run["r"]) for run in meta["runs"]] == RETRIEVAL_RUNS
    assert [tuple(run["r"]) for run in meta["qa_runs"]] == ANSWERING_RUNS


def test_captions_questions_and_answers_are_tokenized_alike(umt_golden, answering_model):
    _, meta, expected, _ = umt_golden
    run = meta["qa_runs"][0]
    answers = [f"{answer} {run['eos']}" for answer in meta["answers"]]
    for texts, max_tokens, ids, mask in (
        (meta["captions"], 32, "input_ids", "attention_mask"),
        (meta["questions"], run["max_q_len"], "qa.question_ids", "qa.question_mask"),
        (answers, run["max_a_len"], "qa.answer_ids", "qa.answer_mask"),
    ):
        tokens = answering_model.tokenizer(texts, max_tokens)
        assert torch.equal(tokens.input_ids, expected[ids])
        assert torch.equal(tokens.attention_mask, expected[mask])


@pytest.mark.parametrize("run", range(len(RETRIEVAL_RUNS)))
@pytest.mark.parametrize("batch_size", [1, 3])
def test_vision_tokens_and_pooled_vectors(umt_golden, retrieval_model, merge, run, batch_size):
    _, _, expected, _ = umt_golden
    with merge(retrieval_model, RETRIEVAL_RUNS[run]) as model:
        video = model.encode_video(expected["videos"][:batch_size])
    assert_close(video.tokens, expected[f"run{run}.vision_b{batch_size}"], **TOLERANCE)
    assert_close(video.pooled, expected[f"run{run}.pooled_b{batch_size}"][:, 0], **TOLERANCE)


@pytest.mark.parametrize("impl", ["reference", "blocked"])
@pytest.mark.parametrize("run", range(len(RETRIEVAL_RUNS)))
def test_masses(umt_golden, retrieval_model, run, impl):
    _, _, expected, _ = umt_golden
    r = RETRIEVAL_RUNS[run]
    schedule = {"ratio" if any(0 < entry < 1 for entry in r) else "r": r, "impl": impl}
    schedule["score"] = "sharpness"
    with vidtldr.patched(retrieval_model, **schedule), vidtldr.trace(retrieval_model) as trace:
        retrieval_model.encode_video(expected["videos"][:1])
    if any(r):
        mass = expected[f"run{run}.size_b1"].reshape(trace.mass.shape)
    else:  # nothing merged, nothing recorded
        mass = torch.ones_like(trace.mass)
    assert_close(trace.mass, mass, rtol=0, atol=1e-4)


@pytest.mark.parametrize("run", range(len(RETRIEVAL_RUNS)))
@pytest.mark.parametrize("batch_size", [16, 5])
def test_dual_and_reranked_scores_and_recall(umt_golden, retrieval_model, merge, run, batch_size):
    _, meta, expected, _ = umt_golden
    k = meta["runs"][run]["k_test"]
    with merge(retrieval_model, RETRIEVAL_RUNS[run]) as model:
        video, text = features(model, expected, batch_size)
    scores = retrieval_model.dual_scores(video, text)
    by_video = rerank(retrieval_model, video, text, scores, k)
    by_text = rerank_by_text(retrieval_model, video, text, scores.T, k)

    assert_close(scores, expected[f"run{run}.i2t"], **TOLERANCE)
    assert_close(scores.T, expected[f"run{run}.t2i"], **TOLERANCE)
    assert_close(by_video, expected[f"run{run}.i2t_rerank"], **TOLERANCE)
    assert_close(by_text, expected[f"run{run}.t2i_rerank"], **TOLERANCE)
    texts_of = [meta["img2txt"][str(i)] for i in range(len(scores))]
    video_of = [[meta["txt2img"][str(i)]] for i in range(len(scores.T))]
    metrics = meta["runs"][run]
    for k in (1, 5):
        for kind, of_video, of_text in (
            ("metrics_dual", scores, scores.T),
            ("metrics_rerank", by_video, by_text),
        ):
            assert round(recall(of_video, texts_of, k), 2) == metrics[kind][f"txt_r{k}"]
            assert round(recall(of_text, video_of, k), 2) == metrics[kind][f"img_r{k}"]


@pytest.mark.parametrize("run", range(len(ANSWERING_RUNS)))
@pytest.mark.parametrize("batch_size", [12, 5])
def test_answers_and_their_probabilities(umt_golden, answering_model, merge, run, batch_size):
    _, meta, expected, _ = umt_golden
    answers = expected["qa.answer_ids"], expected["qa.answer_mask"]
    batches = zip(
        expected["videos"].split(batch_size),
        expected["qa.question_ids"].split(batch_size),
        expected["qa.question_mask"].split(batch_size),
        strict=True,
    )
    k = meta["qa_runs"][run]["k_test"]
    with merge(answering_model, ANSWERING_RUNS[run]) as model:
        ranked = [model.rank_answers(*batch, *answers, k) for batch in batches]
    ids = torch.cat([part.ids for part in ranked])
    assert torch.equal(ids, expected[f"qa.run{run}.topk_ids"])
    assert [meta["answers"][i] for i in ids[:, 0]] == meta["qa_runs"][run]["pred"]
    probabilities = torch.cat([part.probabilities for part in ranked])
    assert_close(probabilities, expected[f"qa.run{run}.topk_probs"], **TOLERANCE)
