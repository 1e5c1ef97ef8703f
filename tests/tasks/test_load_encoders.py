"""Models of transformers by their directories, against the host's own calls on the same pixels."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from support import tiny_duals
from support.tiny_files import write_video
from torch.nn import functional as F

from vidtldr import MergeConfig
from vidtldr.tasks.classify import classify_pixels, to_pixels
from vidtldr.tasks.embed import embed_videos
from vidtldr.tasks.load import load_classifier, load_embedder
from vidtldr.tasks.model_spec import ModelSpec
from vidtldr.video.decode import read_clip
from vidtldr.video.sampling import Sampling

LABELS = ("yoga", "a dog", "reading book")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_video(tmp_path_factory.mktemp("video") / "square.mp4"))


@pytest.fixture(scope="module", params=["clip", "siglip"])
def dual(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    write = getattr(tiny_duals, f"write_{request.param}")
    written: Path = write(tmp_path_factory.mktemp(request.param) / "model")
    return written


def host_of(directory: Path) -> Any:
    import transformers

    name = "SiglipModel" if "siglip" in str(directory) else "CLIPModel"
    return getattr(transformers, name).from_pretrained(directory).eval()


def pixels_of(directory: Path, video: str, num_frames: int) -> Any:
    from vidtldr.video.transform import VideoTransform

    clip = read_clip(video, Sampling(num_frames))
    return VideoTransform.from_pretrained(directory)(clip.frames)


@torch.inference_mode()
def host_logits(directory: Path, frames: Any, prompts: list[str]) -> Any:
    """Scaled cosines of the mean of the frames' vectors and of the texts', by the host."""
    from transformers import AutoTokenizer

    host, tokenizer = host_of(directory), AutoTokenizer.from_pretrained(directory)
    is_siglip = hasattr(host, "logit_bias")
    how: Any = {"padding": "max_length", "max_length": 32} if is_siglip else {"padding": True}
    tokens = tokenizer(prompts, return_tensors="pt", **how)
    names = ["input_ids"] if is_siglip else ["input_ids", "attention_mask"]
    texts = host.get_text_features(**{name: tokens[name] for name in names}).pooler_output
    images = host.get_image_features(pixel_values=frames).pooler_output.mean(dim=0, keepdim=True)
    cosines = F.normalize(images, dim=-1) @ F.normalize(texts, dim=-1).T
    return cosines * host.logit_scale.exp() + (host.logit_bias if is_siglip else 0.0)


def test_zero_shot_logits_are_the_hosts(dual: Path, video: str) -> None:
    found = load_classifier(ModelSpec(str(dual), frames=3), LABELS, "a clip of {}.")
    assert (found.labels, found.num_frames, found.sees_frames) == (LABELS, 3, True)
    clip = read_clip(video, Sampling(3))
    probabilities = classify_pixels(found.model, to_pixels(clip, found.transform, found.model))[0]
    prompts = [f"a clip of {label}." for label in LABELS]
    logits = host_logits(dual, pixels_of(dual, video, 3), prompts)[0]
    is_siglip = "siglip" in str(dual)
    expected = logits.sigmoid() if is_siglip else logits.softmax(dim=-1)
    torch.testing.assert_close(probabilities, expected, rtol=1e-4, atol=1e-5)
    assert (probabilities.sum() - 1).abs() < 1e-5 or is_siglip
    assert probabilities.std() > 0.05 * probabilities.mean()  # the test can tell labels apart


def test_a_template_changes_answers_and_must_have_a_place(dual: Path, video: str) -> None:
    spec = ModelSpec(str(dual))
    clip = pixels_of(dual, video, 8)[None]
    answers = [
        classify_pixels(load_classifier(spec, LABELS, template).model, clip)
        for template in (None, "a video of {}", "{}")
    ]
    assert torch.equal(answers[0], answers[1])
    assert not torch.allclose(answers[1], answers[2], atol=1e-3)
    for template in ("a video", "{} and {}"):
        with pytest.raises(ValueError, match=r"`template` must have one \{\}"):
            load_classifier(spec, LABELS, template)


def test_vectors_of_a_dual_encoder_share_a_space(dual: Path, video: str) -> None:
    embedder = load_embedder(ModelSpec(str(dual)))
    [row] = embed_videos(embedder, [video])
    assert row.vector is not None
    assert row.vector.shape == (embedder.num_channels,)
    assert embedder.encode_texts is not None
    texts = embedder.encode_texts(["a dog", "yoga"], "text")
    host = host_of(dual)
    logits = host_logits(dual, pixels_of(dual, video, 8), ["a dog", "yoga"])[0]
    bias = host.logit_bias.detach() if hasattr(host, "logit_bias") else 0.0
    expected = (logits - bias) / host.logit_scale.detach().exp()
    torch.testing.assert_close(texts @ row.vector, expected, rtol=1e-4, atol=1e-5)


def test_merging_changes_vectors_a_little_and_is_part_of_the_identity(
    dual: Path, video: str
) -> None:
    plain, merged = (
        load_embedder(ModelSpec(str(dual)), merge) for merge in (None, MergeConfig(flop_ratio=0.6))
    )
    vectors = []
    for embedder in (plain, merged):
        [row] = embed_videos(embedder, [video])
        assert row.vector is not None
        vectors.append(row.vector)
    assert 0.3 < float(vectors[0] @ vectors[1]) < 1 - 1e-6
    assert plain.identity() != merged.identity()
    assert merged.r is not None
    assert sum(merged.r) > 0


@pytest.mark.parametrize("text", ["", "  ", "word " * 60])
def test_texts_that_are_empty_or_too_long_are_refused(dual: Path, text: str) -> None:
    embedder = load_embedder(ModelSpec(str(dual)))
    assert embedder.encode_texts is not None
    with pytest.raises(ValueError, match=r"text must have (a word|at most (40|32) tokens)"):
        embedder.encode_texts([text], "text")


def test_labels_that_the_model_reads_alike_are_refused(dual: Path) -> None:
    with pytest.raises(ValueError, match="labels must differ for the model"):
        load_classifier(ModelSpec(str(dual)), ("yoga", " yoga"), "{}")


def test_a_dual_encoder_needs_labels(dual: Path) -> None:
    with pytest.raises(ValueError, match="`labels` must be given with"):
        load_classifier(ModelSpec(str(dual)))


def test_logits_of_the_frames_are_averaged(tmp_path: Path, video: str) -> None:
    from transformers import ViTForImageClassification

    directory = tiny_duals.write_vit(tmp_path / "vit")
    found = load_classifier(ModelSpec(str(directory), frames=4))
    assert found.labels == tuple(f"thing {i}" for i in range(5))
    frames = pixels_of(directory, video, 4)
    host = ViTForImageClassification.from_pretrained(directory).eval()
    with torch.inference_mode():
        expected = host(pixel_values=frames).logits.mean(dim=0).softmax(dim=-1)
    found_probabilities = classify_pixels(found.model, frames[None])[0]
    torch.testing.assert_close(found_probabilities, expected, rtol=1e-4, atol=1e-6)


def test_features_of_a_classifier_are_the_mean_of_its_frames(tmp_path: Path, video: str) -> None:
    from transformers import ViTForImageClassification

    directory = tiny_duals.write_vit(tmp_path / "vit")
    embedder = load_embedder(ModelSpec(str(directory)))
    frames = pixels_of(directory, video, 8)
    host: Any = ViTForImageClassification.from_pretrained(directory).eval()
    with torch.inference_mode():
        expected = host.vit(pixel_values=frames).last_hidden_state[:, 0].mean(dim=0)
    two = torch.stack([frames, frames.flip(0)])
    found = embedder.encode(two)
    torch.testing.assert_close(found, torch.stack([expected] * 2), rtol=1e-4, atol=1e-5)


def test_a_model_of_clips_has_its_own_number_of_frames(tmp_path: Path, video: str) -> None:
    directory = tiny_duals.write_vjepa2(tmp_path / "vjepa2")
    found = load_classifier(ModelSpec(str(directory)))
    assert (found.num_frames, found.sees_frames) == (6, False)
    frames = pixels_of(directory, video, 6)
    from transformers import VJEPA2ForVideoClassification

    host: Any = VJEPA2ForVideoClassification.from_pretrained(directory).eval()
    with torch.inference_mode():
        expected = host(pixel_values_videos=frames[None]).logits.softmax(dim=-1)
    probabilities = classify_pixels(found.model, frames[None])
    torch.testing.assert_close(probabilities, expected, rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="`frames` must be left out for a video model, got 4"):
        load_classifier(ModelSpec(str(directory), frames=4))


def test_an_encoder_without_texts_embeds_and_does_not_classify(tmp_path: Path, video: str) -> None:
    from transformers import Dinov2Model

    directory = tiny_duals.write_dinov2(tmp_path / "dinov2")
    embedder = load_embedder(ModelSpec(str(directory), frames=2))
    [row] = embed_videos(embedder, [video])
    frames = pixels_of(directory, video, 2)
    host = Dinov2Model.from_pretrained(directory).eval()
    with torch.inference_mode():
        expected = host(pixel_values=frames).pooler_output.mean(dim=0)
    assert row.vector is not None
    torch.testing.assert_close(row.vector, expected, rtol=1e-4, atol=1e-5)
    assert embedder.encode_texts is None
    with pytest.raises(ValueError, match="an encoder that does neither"):
        load_classifier(ModelSpec(str(directory)), LABELS)


def test_a_missing_tokenizer_matters_only_for_texts(tmp_path: Path, video: str) -> None:
    directory = tiny_duals.write_clip(tmp_path / "clip")
    for file in directory.glob("*token*"):
        file.unlink()
    for file in ("vocab.json", "merges.txt"):
        (directory / file).unlink(missing_ok=True)
    embedder = load_embedder(ModelSpec(str(directory)))
    [row] = embed_videos(embedder, [video])
    assert row.vector is not None
    assert embedder.encode_texts is not None
    with pytest.raises(FileNotFoundError, match="must have a tokenizer to read texts, got none of"):
        embedder.encode_texts(["a dog"], "text")


@pytest.mark.parametrize("name", ["clip", "vit", "vjepa2"])
def test_frames_of_another_size_are_refused_before_a_video_is_read(
    tmp_path: Path, name: str
) -> None:
    directory = getattr(tiny_duals, f"write_{name}")(tmp_path / name)
    for file in directory.glob("*preprocessor_config.json"):
        config = json.loads(file.read_text()) | {"size": {"height": 48, "width": 48}}
        file.write_text(json.dumps(config | {"crop_size": 48}))
    with pytest.raises(ValueError, match=r"preprocessor config for frames of \((40|24), (40|24)\)"):
        load_embedder(ModelSpec(str(directory)))


def test_dinov2_takes_frames_of_any_size(tmp_path: Path, video: str) -> None:
    directory = tiny_duals.write_dinov2(tmp_path / "dinov2")
    file = directory / "preprocessor_config.json"
    config = json.loads(file.read_text()) | {"size": {"height": 48, "width": 48}}
    file.write_text(json.dumps(config))
    [row] = embed_videos(load_embedder(ModelSpec(str(directory))), [video])
    assert row.vector is not None


def test_xclip_reads_labels_together_with_the_clip(tmp_path: Path, video: str) -> None:
    from transformers import AutoTokenizer, XCLIPModel

    directory = tiny_duals.write_xclip(tmp_path / "xclip")
    found = load_classifier(ModelSpec(str(directory)), LABELS, "{}")
    assert (found.num_frames, found.sees_frames) == (4, False)
    frames = pixels_of(directory, video, 4)
    host = XCLIPModel.from_pretrained(directory).eval()
    tokens = AutoTokenizer.from_pretrained(directory)(
        list(LABELS), padding=True, return_tensors="pt"
    )
    with torch.inference_mode():
        expected = host(
            input_ids=tokens["input_ids"],
            attention_mask=tokens["attention_mask"],
            pixel_values=frames[None],
        ).logits_per_video.softmax(dim=-1)
    probabilities = classify_pixels(found.model, frames[None])
    torch.testing.assert_close(probabilities, expected, rtol=1e-4, atol=1e-5)

    embedder = load_embedder(ModelSpec(str(directory)), MergeConfig(flop_ratio=0.85))
    [row] = embed_videos(embedder, [video])
    assert row.vector is not None
    assert embedder.encode_texts is not None
    assert embedder.encode_texts(["yoga"], "text").shape == (1, len(row.vector))
