import pytest
import torch

from vidtldr.tasks.classify import classify_pixels, top_labels
from vidtldr.tasks.zero_shot import text_classifier

LABELS = ["Dog", "cat runs", "the street"]


def test_probabilities_are_the_softmax_of_cosines_over_the_learnt_temperature(
    retrieval, films, encoding_of
):
    encoding = encoding_of(retrieval)
    classifier = text_classifier(retrieval, LABELS)
    assert classifier.labels == tuple(LABELS)
    with torch.no_grad():
        text = retrieval.encode_text(*retrieval.tokenizer(["dog", "cat runs", "the street"], 8))
    for path in films.paths:
        features = encoding.encode(path)
        if features.error is not None:
            continue
        pixels = encoding.reader(path).values[None]
        found = classify_pixels(classifier.model, pixels)[0]
        with torch.no_grad():
            projected = retrieval.vision_proj(features.pooled)
            embedding = torch.nn.functional.normalize(projected, dim=-1)
            expected = (retrieval.embed_text(text) @ embedding / retrieval.temp).softmax(0)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        assert top_labels(found, LABELS, 2)[0].label == LABELS[expected.argmax()]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["dog"], "labels must be two or more, as a single one always has 100 %, got .'dog'."),
        (["dog", " "], "labels must have a word in it, got ' '"),
        (["dog", "cat", "Dog!"], "got 'dog' and 'Dog!', which it reads alike"),
    ],
)
def test_labels_that_cannot_be_told_apart_are_refused(retrieval, labels, message):
    with pytest.raises(ValueError, match=message):
        text_classifier(retrieval, labels)
