from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.tune_films import pretrained_videomae, write_films
from support.umt_sets import CONFIG, retrieval_model, write_tokenizer
from torch.nn import functional as F

from vidtldr.config import MergeConfig
from vidtldr.patch.twin import merged_twin
from vidtldr.tune.clips import read_clips
from vidtldr.tune.subject import Subject, caption_subject, label_subject, umt_subject


def test_features_of_a_classifier_enter_its_last_layer(subject: Subject) -> None:
    x = torch.randn(2, 6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    features = subject.read(subject.model, x)
    with torch.no_grad():
        logits = subject.model(pixel_values=x).logits
        torch.testing.assert_close(subject.model.classifier(features), logits)
    found = subject.drift(features[0], features[1], "a.mp4")
    cosine = F.cosine_similarity(features[0], features[1], dim=0).item()
    assert found.amount == pytest.approx(1 - cosine, abs=1e-6)
    assert found.is_kept is None
    assert abs(subject.drift(features[0], features[0], "a.mp4").amount) < 1e-9


def test_labels_drift_by_the_probability_that_moves() -> None:
    subject = label_subject(pretrained_videomae(), 60.0)
    found = subject.drift(torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.2, 0.3, 0.5]), "a.mp4")
    assert found.amount == pytest.approx(0.3)
    assert found.is_kept is False
    x = torch.randn(1, 6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert subject.read(subject.model, x).sum().item() == pytest.approx(1)


def test_one_label_or_one_caption_says_nothing_and_is_refused(tmp_path: Path) -> None:
    pretrained = pretrained_videomae()
    with pytest.raises(ValueError, match="--drift-by labels must have two labels or more, got"):
        label_subject(replace(pretrained, labels=pretrained.labels[:1]), 60.0)
    model = retrieval_model(write_tokenizer(tmp_path))
    with pytest.raises(ValueError, match="--drift-by retrieval must have two captions or more"):
        caption_subject(model, {"a.mp4": ["a dog"], "b.mp4": ["a dog"]}, 60.0)


def test_umt_is_compared_by_embeddings_or_by_its_videos_captions(tmp_path) -> None:
    model = retrieval_model(write_tokenizer(tmp_path / "tokenizer")).eval()
    [path] = write_films(tmp_path, 1)
    captions = {path: ["a dog", "the red sign"], "other.mp4": ["cat", "a dog"]}
    by_caption, by_cosine = caption_subject(model, captions, 60.0), umt_subject(model, 60.0)
    [clip], _ = read_clips(by_cosine.reader, [path])
    x = by_cosine.reader.transform.normalised(clip.frames)[None]
    with torch.inference_mode():
        embedding = by_cosine.read(model, x)
        torch.testing.assert_close(embedding, model.embed_video(model.encode_video(x)))
        shares = by_caption.read(by_caption.model, x)
        merged = by_caption.read(merged_twin(by_caption.model, MergeConfig(r=[20, 9])), x)
    assert shares.shape == (1, 3)  # a caption that two videos share is one text
    assert CONFIG.embed_dim == embedding.shape[1]
    assert by_caption.drift(merged[0], shares[0], path).amount > 0
    own = by_caption.drift(torch.tensor([0.1, 0.8, 0.1]), shares[0], path)
    assert own.is_kept
    assert not by_caption.drift(torch.tensor([0.1, 0.8, 0.1]), shares[0], "other.mp4").is_kept
