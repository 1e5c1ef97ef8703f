"""From files on disk, one of them broken, to numbers and back to JSON."""

import json
from dataclasses import replace

import pytest
import torch
from support.umt_sets import CONFIG, write_json

import vidtldr
from vidtldr.config import MergeConfig
from vidtldr.evaluate.answering import evaluate_answering
from vidtldr.evaluate.comparison import evaluate_both
from vidtldr.evaluate.multiple_choice import evaluate_multiple_choice
from vidtldr.evaluate.protocols import ANSWERING, RETRIEVAL
from vidtldr.evaluate.retrieval import evaluate_retrieval
from vidtldr.evaluate.settings import Settings
from vidtldr.tasks.clip_reader import umt_reader
from vidtldr.tasks.fingerprint import file_sha256

MERGE = MergeConfig(r=[20, 8])
BY_MASS = MergeConfig(r=[20, 8], pooling="mass")
CAPTIONS = ["A dog runs.", "the red street", "a person, in red", "cat on the street", "dog", "on"]
ANSWERS = ["dog", "cat", "red", "the street", "1"]


@pytest.fixture
def retrieval_file(videos, tmp_path):
    entries = [
        {"video": name, "caption": [CAPTIONS[i], f"{CAPTIONS[i]} in"] if i % 2 else CAPTIONS[i]}
        for i, name in enumerate(videos.names)
    ]
    return write_json(tmp_path / "retrieval.json", entries)


def features_by_hand(model, videos, merge):
    """What the model says of each good video, None for the broken one, and of each caption."""
    reader = umt_reader(CONFIG)
    with torch.no_grad(), vidtldr.patched(model, merge or MergeConfig(r=[0])):
        return [
            None if name == videos.broken else model.encode_video(reader(path).values[None])
            for name, path in zip(videos.names, videos.paths, strict=True)
        ]


def scores_by_hand(model, videos, merge, captions, k):
    """Dual and re-ranked matrices (videos, texts) and (texts, videos), with plain loops."""
    found = features_by_hand(model, videos, merge)
    tokens = model.tokenizer(captions, 32)
    with torch.no_grad():
        text = model.encode_text(*tokens)
        dual = torch.stack(
            [
                torch.full((len(captions),), -torch.inf)
                if each is None
                else model.dual_scores(each, text)[0]
                for each in found
            ]
        )
        every = torch.stack(
            [
                torch.full((len(captions),), -torch.inf)
                if each is None
                else model.rerank_scores(each.tokens, text.tokens, tokens.attention_mask, each.mass)
                for each in found
            ]
        )

    def only_best(scores, fine):
        kept = torch.full_like(scores, -100)
        for i, row in enumerate(scores):
            best = row.topk(min(k, len(row))).indices
            kept[i, best] = fine[i, best]
        return kept

    return dual, dual.T, only_best(dual, every), only_best(dual.T, every.T)


def percent_first(scores, right, k=1):
    hits = 0
    for row, answers in zip(scores, right, strict=True):
        order = sorted(range(len(row)), key=lambda c: -row[c].item())[:k]
        hits += any(c in answers and row[c] > -torch.inf for c in order)
    return 100 * hits / len(right)


@pytest.mark.parametrize("merge", [None, MERGE, BY_MASS])
@pytest.mark.parametrize("k", [2, 128])
def test_retrieval(retrieval, videos, retrieval_file, tmp_path, merge, k):
    steps = []
    result = evaluate_retrieval(
        retrieval,
        retrieval_file,
        videos.directory,
        replace(RETRIEVAL["msrvtt"], k_test=k),
        merge=merge,
        settings=Settings(cache_dir=tmp_path / "cache", memory_bytes=7000),
        on_step=lambda *step: steps.append(step),
    )
    entries = json.loads(retrieval_file.read_text())
    captions, right_texts, right_videos = [], [], []
    for index, entry in enumerate(entries):
        own = [entry["caption"]] if isinstance(entry["caption"], str) else entry["caption"]
        right_texts.append(range(len(captions), len(captions) + len(own)))
        right_videos += [[index]] * len(own)
        captions += [text.lower().replace(".", "").replace(",", "") for text in own]
    v2t, t2v, v2t_fine, t2v_fine = scores_by_hand(retrieval, videos, merge, captions, k)
    for found, by_video, by_text in (
        (result.dual, v2t, t2v),
        (result.reranked, v2t_fine, t2v_fine),
    ):
        assert found.video_to_text.r1 == percent_first(by_video, right_texts)
        assert found.text_to_video.r1 == percent_first(by_text, right_videos)
        assert found.mean_r1 == (found.video_to_text.r1 + found.text_to_video.r1) / 2
        assert found.video_to_text.num_queries == len(videos.names)
        assert found.text_to_video.num_queries == result.num_texts == len(captions)
        assert found.video_to_text.num_lost == 1
    num_videos = len(videos.names)
    assert ("videos", num_videos, num_videos) in steps
    assert ("texts", len(captions), len(captions)) in steps
    assert ("re-ranking", num_videos - 1, num_videos - 1) in steps
    assert_run(result.run, videos, merge)
    assert json.loads(json.dumps(result.to_dict()))["dual"]["mean_r1"] == result.dual.mean_r1


def assert_run(run, videos, merge):
    [failed] = run.failed_videos
    assert failed.path == str(videos.directory / videos.broken)
    assert "cannot" in failed.text or "can be read" in failed.text
    assert run.num_videos == len(videos.names)
    assert run.num_encoded == len(videos.good)
    assert run.num_from_cache == 0
    assert run.clips_per_second > 0
    assert run.schedule == (None if merge is None else {**run.schedule, "r": merge.r})
    assert run.r == (None if merge is None else merge.r)
    assert run.flops_rule == "vision encoder, 1 MAC = 2 FLOPs"
    assert run.versions["torch"] == torch.__version__
    assert run.versions["vidtldr"] == vidtldr.__version__
    assert set(run.versions) == {"vidtldr", "torch", "python", "platform"}
    assert run.dtype == "float32"
    assert all(len(file.sha256) == 64 for file in run.files.values())


def test_without_reranking_only_the_fast_scores_are_there(retrieval, videos, retrieval_file):
    result = evaluate_retrieval(
        retrieval, retrieval_file, videos.directory, RETRIEVAL["msrvtt"], with_rerank=False
    )
    assert result.reranked is None
    assert result.dual.text_to_video.num_queries == result.num_texts


@pytest.mark.parametrize("options", [{"batch_size": 3}, {"pair_batch_size": 1}, {"num_readers": 4}])
def test_how_it_runs_changes_no_rank(retrieval, videos, retrieval_file, options):
    args = (retrieval, retrieval_file, videos.directory, RETRIEVAL["msvd"])
    plain = evaluate_retrieval(*args, merge=MERGE)
    other = evaluate_retrieval(*args, merge=MERGE, settings=Settings(**options))
    assert (plain.dual, plain.reranked) == (other.dual, other.reranked)


def test_a_result_names_its_files_and_schedule(retrieval, videos, retrieval_file, tmp_path):
    weights = tmp_path / "weights.pth"
    weights.write_bytes(b"weights")
    settings = Settings(weights_file=weights, schedule_name="mine", autocast=torch.bfloat16)
    result = evaluate_retrieval(
        retrieval,
        retrieval_file,
        videos.directory,
        RETRIEVAL["msrvtt"],
        merge=MERGE,
        settings=settings,
    )
    run = result.run
    assert run.files["weights"].sha256 == file_sha256(weights)
    assert run.files["annotations"].sha256 == file_sha256(retrieval_file)
    assert run.files["annotations"].path == str(retrieval_file)
    assert run.schedule_name == "mine"
    assert run.autocast == "bfloat16"
    assert run.protocol["name"] == "msrvtt"
    assert run.model == CONFIG.to_dict()


def test_many_videos_of_one_caption_and_names_without_extension(retrieval, videos, tmp_path):
    names = [name.rsplit(".", 1)[0] for name in videos.names]
    entries = [
        {"caption": "a dog", "video": names[:3]},
        {"caption": "the street", "video": names[3:]},
    ]
    path = write_json(tmp_path / "a.json", entries)
    result = evaluate_retrieval(retrieval, path, videos.directory, RETRIEVAL["ssv2-label"])
    assert result.num_texts == 2
    assert result.run.num_encoded == len(videos.good)
    assert result.dual.text_to_video.num_lost == 0
    assert result.dual.video_to_text.num_lost == 1


def test_didemo_uses_the_first_30_seconds_only(retrieval, videos, tmp_path, monkeypatch):
    from vidtldr.tasks import clip_reader

    seen = []
    read = clip_reader.read_clip

    def watching(path, sampling, *, max_seconds, **options):
        seen.append(max_seconds)
        return read(path, sampling, max_seconds=max_seconds, **options)

    monkeypatch.setattr(clip_reader, "read_clip", watching)
    entries = [{"video": videos.good[0], "caption": ["A dog.", "It runs."]}]
    path = write_json(tmp_path / "a.json", entries)
    evaluate_retrieval(retrieval, path, videos.directory, RETRIEVAL["didemo"])
    assert seen == [30.0]


def test_merging_costs_less_and_both_sides_are_kept_apart(
    retrieval, videos, retrieval_file, tmp_path
):
    settings = Settings(cache_dir=tmp_path / "cache")

    def evaluate(merge):
        return evaluate_retrieval(
            retrieval,
            retrieval_file,
            videos.directory,
            RETRIEVAL["msrvtt"],
            merge=merge,
            settings=settings,
        )

    first = evaluate_both(evaluate, MERGE)
    assert first.unmerged.run.schedule is None
    assert first.merged.run.schedule["r"] == (20, 8)
    assert first.flop_reduction > 1.1
    assert first.speedup > 0
    assert len(list((tmp_path / "cache").iterdir())) == 2
    again = evaluate_both(evaluate, MERGE)
    assert again.speedup is None
    assert again.merged.run.num_encoded == 0
    assert again.merged.run.num_from_cache == len(videos.good)
    for one, other in ((first.unmerged, again.unmerged), (first.merged, again.merged)):
        assert (one.dual, one.reranked) == (other.dual, other.reranked)
    assert json.loads(json.dumps(again.to_dict()))["speedup"] is None


def test_the_gflops_are_counted(retrieval, videos, retrieval_file):
    result = evaluate_retrieval(retrieval, retrieval_file, videos.directory, RETRIEVAL["msrvtt"])
    num_tokens, channels = 64, 24
    patches = num_tokens * 3 * 8 * 8 * channels
    block = num_tokens * 12 * channels**2 + 2 * num_tokens**2 * channels
    assert result.run.gflops_per_clip == pytest.approx(2 * (patches + 3 * block) / 1e9)


@pytest.fixture
def question_file(videos, tmp_path):
    asked = ["What is on the street?", "Who runs?", "What color is it?"]
    entries = [
        {"video": name, "question": text, "answer": ANSWERS[(i + j) % 4], "question_id": 10 * i + j}
        for j, text in enumerate(asked)
        for i, name in enumerate(videos.names)
    ]
    entries[0]["answer"] = "an elephant"
    return write_json(tmp_path / "questions.json", entries)


@pytest.mark.parametrize("merge", [None, MERGE, BY_MASS])
@pytest.mark.parametrize("k", [3, pytest.param(128, marks=pytest.mark.slow)])
def test_answering(answering, videos, question_file, tmp_path, merge, k):
    answers = write_json(tmp_path / "answers.json", ANSWERS)
    steps = []
    result = evaluate_answering(
        answering,
        question_file,
        answers,
        videos.directory,
        protocol=replace(ANSWERING, k_test=k),
        merge=merge,
        on_step=lambda *step: steps.append(step),
    )
    entries = json.loads(question_file.read_text())
    candidates = answering.tokenizer([f"{answer} [SEP]" for answer in ANSWERS], 5)
    num_right = 0
    for entry, prediction in zip(entries, result.predictions, strict=True):
        assert prediction.question_id == entry["question_id"]
        if entry["video"] == videos.broken:
            assert prediction.prediction is None
            assert not prediction.is_right
            continue
        pixels = umt_reader(CONFIG)(str(videos.directory / entry["video"])).values[None]
        text = entry["question"].lower().replace("?", "")
        with vidtldr.patched(answering, merge or MergeConfig(r=[0])):
            ranked = answering.rank_answers(
                pixels, *answering.tokenizer([text], 25), *candidates, min(k, len(ANSWERS))
            )
        assert prediction.prediction == ANSWERS[ranked.ids[0, 0]]
        assert prediction.probability == pytest.approx(ranked.probabilities[0, 0].item(), abs=1e-4)
        num_right += prediction.prediction == entry["answer"]
    assert result.accuracy == 100 * num_right / len(entries)
    assert result.num_questions == len(entries)
    assert result.num_unanswerable == 1
    assert result.num_answers == len(ANSWERS)
    assert ("questions", len(entries), len(entries)) in steps
    assert_run(result.run, videos, merge)
    assert set(result.run.files) == {"annotations", "answers"}
    assert json.loads(json.dumps(result.to_dict()))["accuracy"] == result.accuracy


@pytest.mark.parametrize("merge", [None, MERGE, BY_MASS])
def test_multiple_choice(retrieval, videos, tmp_path, merge):
    entries = [
        {"video": name, "caption": CAPTIONS[i % 2 : i % 2 + 5], "answer": (i + j) % 5}
        for j in range(2)
        for i, name in enumerate(videos.names)
    ]
    path = write_json(tmp_path / "choices.json", entries)
    result = evaluate_multiple_choice(retrieval, path, videos.directory, merge=merge)
    found = features_by_hand(retrieval, videos, merge)
    num_right = 0
    for entry, pick in zip(entries, result.picks, strict=True):
        features = found[videos.names.index(entry["video"])]
        if features is None:
            assert pick.pick is None
            assert not pick.is_right
            continue
        captions = [text.lower().replace(".", "").replace(",", "") for text in entry["caption"]]
        tokens = retrieval.tokenizer(captions, 32)
        with torch.no_grad():
            text = retrieval.encode_text(*tokens)
            fast = (retrieval.dual_scores(features, text)[0] / retrieval.temp).softmax(0)
            fused = retrieval.text_encoder.fuse(
                text.tokens, text.attention_mask, features.tokens, features.mass
            )
            match = retrieval.itm_head(fused[:, 0]).softmax(1)[:, 1]
        expected = 0.7 * match + 0.3 * fast
        torch.testing.assert_close(torch.tensor(pick.scores), expected, rtol=1e-4, atol=1e-5)
        num_right += pick.pick == entry["answer"] == int(expected.argmax())
    assert result.accuracy == 100 * num_right / len(entries)
    assert_run(result.run, videos, merge)
    assert json.loads(json.dumps(result.to_dict()))["accuracy"] == result.accuracy


def test_a_directory_without_the_videos_is_refused(retrieval, retrieval_file, tmp_path):
    with pytest.raises(FileNotFoundError, match="videos must hold the videos of the annotations"):
        evaluate_retrieval(retrieval, retrieval_file, tmp_path, RETRIEVAL["msrvtt"])


def test_a_schedule_that_does_not_fit_is_refused(retrieval, videos, retrieval_file):
    with pytest.raises(ValueError, match=r"`r\[0\]` must be in \[0, 32\]"):
        evaluate_retrieval(
            retrieval,
            retrieval_file,
            videos.directory,
            RETRIEVAL["msrvtt"],
            merge=MergeConfig(r=[33]),
        )


def test_a_video_that_is_missing_is_a_miss_too(retrieval, films, tmp_path):
    entries = [{"video": name, "caption": "dog"} for name in (films.good[0], "gone.mp4")]
    path = write_json(tmp_path / "a.json", entries)
    result = evaluate_retrieval(retrieval, path, films.directory, RETRIEVAL["msrvtt"])
    [failed] = result.run.failed_videos
    assert "there is no such file" in failed.text
    assert result.dual.text_to_video.num_lost == 1


def test_what_is_unusual_about_a_video_is_listed(retrieval, films, real_videos, tmp_path):
    entries = [{"video": "three_frames.mp4", "caption": "dog"}]
    path = write_json(tmp_path / "a.json", entries)
    result = evaluate_retrieval(retrieval, path, real_videos / "odd", RETRIEVAL["msrvtt"])
    [note] = result.run.video_notes
    assert "last frame repeated" in note.text
