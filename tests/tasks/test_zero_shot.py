import pytest
import torch

from vidtldr.tasks.classify import top_labels
from vidtldr.tasks.zero_shot import classify_by_text

LABELS = ["Dog", "cat runs", "the street"]


def test_probabilities_are_the_softmax_of_cosines_over_the_learnt_temperature(
    retrieval, videos, encoding_of
):
    encoding = encoding_of(retrieval)
    rows = list(classify_by_text(encoding, videos.paths, LABELS))
    assert [row.path for row in rows] == videos.paths
    with torch.no_grad():
        text = retrieval.encode_text(*retrieval.tokenizer(["dog", "cat runs", "the street"], 8))
        for row in rows:
            features = encoding.encode(row.path)
            if features.error is not None:
                assert row.probabilities is None
                assert row.error == features.error
                continue
            embedding = torch.nn.functional.normalize(
                retrieval.vision_proj(features.pooled), dim=-1
            )
            cosines = retrieval.embed_text(text) @ embedding
            expected = (cosines / retrieval.temp).softmax(0)
            torch.testing.assert_close(row.probabilities, expected, rtol=1e-4, atol=1e-5)
            assert top_labels(row.probabilities, LABELS, 2)[0].label == LABELS[expected.argmax()]


def test_a_lower_temperature_is_surer(retrieval, films, encoding_of):
    path = films.paths[:1]
    [soft] = classify_by_text(encoding_of(retrieval), path, LABELS, temperature=1.0)
    [hard] = classify_by_text(encoding_of(retrieval), path, LABELS, temperature=0.01)
    assert hard.probabilities.max() > soft.probabilities.max()
    assert soft.probabilities.sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("labels", "temperature", "message"),
    [
        ([], None, "labels must hold at least one name, got none"),
        (["dog", " "], None, "labels must have a word in it, got ' '"),
        (["dog", "cat", "Dog!"], None, "got 'dog' and 'Dog!', which it reads alike"),
        (["dog"], 0.0, "temperature must be above 0, got 0.0"),
    ],
)
def test_what_cannot_be_classified_is_refused(
    retrieval, films, encoding_of, labels, temperature, message
):
    with pytest.raises(ValueError, match=message):
        list(classify_by_text(encoding_of(retrieval), films.paths, labels, temperature=temperature))
