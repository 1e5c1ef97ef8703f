import json
import shutil
from dataclasses import replace

import pytest
import torch
from support import tiny_duals
from support.film import write_film
from support.tiny_files import VIDEOMAE_PROCESSOR, write_model, write_vivit
from support.tiny_models import videomae
from support.umt_sets import CONFIG

import vidtldr
from vidtldr.config import MergeConfig
from vidtldr.evaluate.classification import (
    agreement,
    average_views,
    evaluate_classification,
    label_rank,
    views_of,
)
from vidtldr.evaluate.comparison import evaluate_both
from vidtldr.evaluate.protocols import (
    CLASSIFICATION,
    ClassificationProtocol,
    classification_protocol,
)
from vidtldr.evaluate.settings import Settings
from vidtldr.evaluate.view_classifier import ViewClassifier
from vidtldr.measure.flops import count_flops
from vidtldr.tasks.load import load_classifier
from vidtldr.tasks.model_spec import ModelSpec
from vidtldr.tasks.zero_shot import text_classifier
from vidtldr.video.decode import read_clip
from vidtldr.video.sampling import Sampling

MERGE = MergeConfig(r=[9, 5])
NAMES = [f"label {number}" for number in range(7)]
KINETICS, SSV2, SINGLE = (CLASSIFICATION[name] for name in ("kinetics", "ssv2", "single"))
BROKEN = "broken.mp4"


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return write_model(
        tmp_path_factory.mktemp("model") / "videomae",
        videomae(id2label=dict(enumerate(NAMES)), label2id={n: i for i, n in enumerate(NAMES)}),
        VIDEOMAE_PROCESSOR,
    )


@pytest.fixture
def classifier(directory):
    return load_classifier(ModelSpec(str(directory)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Wide, upright, square and very short films, and a broken one."""
    folder = tmp_path_factory.mktemp("films")
    sizes = [(146, 38), (50, 66), (48, 48), (146, 38)]
    for number, (size, length) in enumerate(zip(sizes, (50, 33, 30, 5), strict=True)):
        path = folder / f"film {number}.mp4"
        write_film(path, length, size=size, first_number=37 * number + 5)
    (folder / BROKEN).write_text("This is no video.\n")
    return folder


@pytest.fixture
def annotations(folder, tmp_path):
    """The broken one stands in the middle."""
    labels = {"film 0.mp4": 3, "film 1.mp4": 0, BROKEN: 2, "film 2.mp4": 6, "film 3.mp4": 2}
    path = tmp_path / "list.txt"
    path.write_text("".join(f"{name} {label}\n" for name, label in labels.items()))
    return path


def logits_slowly(model, transform, path, protocol, num_frames=6):
    """Decode all frames; resize, cut out and classify every view by itself."""
    if protocol is SINGLE:
        clip = transform(read_clip(path, Sampling(num_frames)).frames)
        with torch.no_grad():
            return model(pixel_values=clip[None]).logits
    count = read_clip(path, Sampling(1)).num_frames_in_file
    frames = read_clip(path, Sampling(count)).frames
    if protocol.policy == "dense":
        frames = frames[:: protocol.stride]
        frames = torch.cat([frames, *[frames[-1:]] * (num_frames - len(frames))])
        step = (len(frames) - num_frames) / (protocol.num_segments - 1)
        starts = [int(k * step) for k in range(protocol.num_segments)]
        segments = [frames[start : start + num_frames] for start in starts]
    else:
        part = count / num_frames
        segments = [
            frames[[int(part * k / 2 + part * i) for i in range(num_frames)]] for k in (0, 1)
        ]
    whole = replace(transform, crop=None)
    side, found = transform.crop[0], []
    for segment in segments:
        x = whole(segment)
        is_upright = x.shape[2] >= x.shape[3]
        for crop in range(protocol.num_crops):
            spare = max(x.shape[2:]) - side
            start = int(crop * spare / (protocol.num_crops - 1))
            part = slice(start, start + side)
            view = x[:, :, part] if is_upright else x[:, :, :, part]
            with torch.no_grad():
                found.append(model(pixel_values=view[None]).logits[0])
    return torch.stack(found)


@pytest.mark.parametrize(
    ("protocol", "average", "merge"),
    [
        (SINGLE, "probabilities", None),
        (SINGLE, "logits", MERGE),
        (KINETICS, "probabilities", None),
        (KINETICS, "probabilities", MERGE),
        (SSV2, "probabilities", MERGE),
        (SSV2, "logits", None),
    ],
)
def test_every_view_counts_alike(classifier, folder, annotations, protocol, average, merge):
    steps = []
    result = evaluate_classification(
        classifier,
        annotations,
        folder,
        protocol=replace(protocol, average=average),
        merge=merge,
        on_step=lambda *step: steps.append(step),
    )
    model = classifier.model
    with vidtldr.patched(model, merge or MergeConfig(r=[0])):
        ranks = []
        for prediction, line in zip(
            result.predictions, annotations.read_text().splitlines(), strict=True
        ):
            name, label = line.rsplit(" ", 1)
            assert (prediction.video, prediction.label) == (name, NAMES[int(label)])
            if name == BROKEN:
                assert (prediction.likeliest, prediction.rank) == ((), None)
                continue
            logits = logits_slowly(model, classifier.transform, folder / name, protocol)
            if average == "logits":
                expected = logits.mean(0).softmax(0)
            else:
                expected = sum(view.softmax(0) for view in logits) / len(logits)
            order = sorted(range(7), key=lambda k: -expected[k].item())
            assert [each.label for each in prediction.likeliest] == [NAMES[k] for k in order[:5]]
            found = torch.tensor([each.probability for each in prediction.likeliest])
            assert torch.allclose(found, expected[order[:5]], atol=1e-5)
            assert prediction.rank == order.index(int(label)) + 1
            ranks.append(prediction.rank)
    assert result.top1 == 100 * sum(rank == 1 for rank in ranks) / 4
    assert result.top5 == 100 * sum(rank <= 5 for rank in ranks) / 4
    assert (result.num_classified, result.num_failed, result.num_labels) == (4, 1, 7)
    assert result.num_views == protocol.num_segments * protocol.num_crops
    assert steps == [("videos", done, 5) for done in range(1, 6)]
    run = result.run
    assert run.protocol["name"] == protocol.name
    assert [each.path for each in run.failed_videos] == [str(folder / BROKEN)]
    assert (run.num_videos, run.num_from_cache) == (5, 0)
    assert run.r == (None if merge is None else (9, 5))
    assert run.model["hidden_size"] == 48
    assert "id2label" not in run.model
    assert json.loads(json.dumps(result.to_dict()))["top5"] == result.top5


def test_equal_views_run_once(classifier, folder, annotations):
    result = evaluate_classification(classifier, annotations, folder, protocol=KINETICS)
    # Of 13, 9, 8 and 2 frames, 7, 3, 2 and 0 are left over, so 5, 4, 3 and 1 segments differ;
    # crops of the square do not.
    assert result.run.num_encoded == 5 * 3 + 4 * 3 + 3 * 1 + 1 * 3
    [note] = result.run.video_notes
    assert note.path.endswith("film 3.mp4")
    assert "last frame repeated 4 times" in note.text


def test_a_film_is_decoded_once_for_all_views(classifier, folder, annotations, monkeypatch):
    from vidtldr.evaluate import view_classifier

    seen, read = [], view_classifier.read_clip

    def watching(path, *args, **options):
        seen.append(path)
        return read(path, *args, **options)

    monkeypatch.setattr(view_classifier, "read_clip", watching)
    evaluate_classification(classifier, annotations, folder, protocol=KINETICS)
    assert len(seen) == len(set(seen)) == 5


@pytest.mark.parametrize("protocol", [SINGLE, KINETICS], ids=lambda each: each.name)
@pytest.mark.parametrize("options", [{"batch_size": 2}, {"batch_size": 64}, {"num_readers": 4}])
def test_how_it_runs_changes_nothing_but_rounding(
    classifier, folder, annotations, protocol, options
):
    args = (classifier, annotations, folder)
    plain = evaluate_classification(*args, protocol=protocol, merge=MERGE)
    other = evaluate_classification(
        *args, protocol=protocol, merge=MERGE, settings=Settings(**options)
    )
    assert other.run.num_encoded == plain.run.num_encoded
    for one, another in zip(plain.predictions, other.predictions, strict=True):
        assert (one.rank, one.video) == (another.rank, another.video)
        for a, b in zip(one.likeliest, another.likeliest, strict=True):
            assert a.label == b.label
            assert a.probability == pytest.approx(b.probability, abs=1e-5)


def test_the_cache_gives_the_same_to_the_bit(classifier, folder, annotations, tmp_path):
    settings = Settings(cache_dir=tmp_path / "cache")

    def evaluate(merge, protocol=KINETICS, again=classifier):
        return evaluate_classification(
            again, annotations, folder, protocol=protocol, merge=merge, settings=settings
        )

    first = evaluate_both(evaluate, MERGE)
    assert len(list((tmp_path / "cache").iterdir())) == 2
    assert first.speedup > 0
    cached = evaluate_both(evaluate, MERGE)
    assert cached.speedup is None
    for one, other in ((first.unmerged, cached.unmerged), (first.merged, cached.merged)):
        assert one.predictions == other.predictions
        assert (other.run.num_encoded, other.run.num_from_cache) == (0, 4)
        assert other.run.video_notes == one.run.video_notes
    by_logits = evaluate(None, replace(KINETICS, average="logits"))
    assert by_logits.run.num_from_cache == 4
    assert by_logits.predictions != first.unmerged.predictions
    for protocol in (SSV2, replace(KINETICS, num_crops=1), replace(KINETICS, stride=2)):
        assert evaluate(None, protocol).run.num_from_cache == 0
    with torch.no_grad():
        classifier.model.classifier.bias[0] += 1
    assert evaluate(None).run.num_from_cache == 0


def test_what_is_damaged_or_changed_is_computed_again(classifier, folder, annotations, tmp_path):
    copy, settings = tmp_path / "copy", Settings(cache_dir=tmp_path / "cache")
    shutil.copytree(folder, copy)

    def evaluate():
        return evaluate_classification(classifier, annotations, copy, settings=settings)

    first = evaluate()
    [entry, *_] = (tmp_path / "cache").glob("*/*/*.safetensors")
    content = entry.read_bytes()
    entry.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    again = evaluate()
    assert again.predictions == first.predictions
    assert (again.run.num_from_cache, again.run.num_encoded) == (3, 1)
    assert any("is damaged" in note.text for note in again.run.video_notes)
    shutil.copy(copy / "film 0.mp4", copy / "film 1.mp4")
    assert evaluate().run.num_from_cache == 4
    assert evaluate().predictions[1].likeliest == first.predictions[0].likeliest


def test_both_sides_beside_each_other(classifier, folder, annotations):
    def evaluate(merge):
        return evaluate_classification(classifier, annotations, folder, protocol=SSV2, merge=merge)

    both = evaluate_both(evaluate, MergeConfig(r=[24, 12, 6]))
    pairs = zip(both.unmerged.predictions, both.merged.predictions, strict=True)
    same = [a.likeliest[0].label == b.likeliest[0].label for a, b in pairs if a.likeliest]
    assert both.agreement == 100 * sum(same) / 4
    assert both.flop_reduction > 1.5
    assert both.to_dict()["agreement"] == both.agreement
    assert agreement(both.merged, both.merged) == 100
    assert vidtldr.patch.patching.current_config(classifier.model) is None


def test_a_patched_model_is_evaluated_unmerged_and_stays_patched(classifier, folder, annotations):
    plain = evaluate_classification(classifier, annotations, folder)
    merged = evaluate_classification(classifier, annotations, folder, merge=MERGE)
    vidtldr.apply_patch(classifier.model, MERGE)
    assert evaluate_classification(classifier, annotations, folder).predictions == plain.predictions
    again = evaluate_classification(classifier, annotations, folder, merge=MERGE)
    assert again.predictions == merged.predictions != plain.predictions
    assert vidtldr.patch.patching.current_config(classifier.model) == MERGE


def test_the_flops_are_those_of_the_whole_model(classifier, folder, annotations):
    clip = torch.zeros(1, 6, 3, 32, 32)
    for merge in (None, MERGE):
        result = evaluate_classification(
            classifier, annotations, folder, protocol=KINETICS, merge=merge
        )
        with (
            vidtldr.patched(classifier.model, merge or MergeConfig(r=[0])),
            torch.inference_mode(),
        ):
            flops = count_flops(lambda: classifier.model(pixel_values=clip))
        assert result.run.gflops_per_clip == flops / 1e9
        assert result.run.flops_rule == "whole model, 1 MAC = 2 FLOPs"


def test_logits_that_are_not_finite_are_a_failed_video(classifier, folder, annotations):
    with torch.no_grad():
        classifier.model.classifier.bias[0] = torch.nan
    result = evaluate_classification(classifier, annotations, folder)
    assert (result.top1, result.top5, result.num_classified, result.num_failed) == (
        None,
        None,
        0,
        5,
    )
    assert "the model's logits must be finite" in result.run.failed_videos[0].text
    assert json.loads(json.dumps(result.to_dict()))["top1"] is None
    assert agreement(result, result) is None


def test_a_lack_of_memory_fails_its_videos_alone(classifier, folder, annotations, monkeypatch):
    run = ViewClassifier.logits
    calls = []

    def scarce(self, pixel_values):
        calls.append(len(pixel_values))
        if len(calls) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return run(self, pixel_values)

    monkeypatch.setattr(ViewClassifier, "logits", scarce)
    result = evaluate_classification(classifier, annotations, folder)
    assert [note.path for note in result.run.failed_videos] == [
        str(folder / "film 1.mp4"),
        str(folder / BROKEN),
    ]
    assert "takes more memory than there is" in result.run.failed_videos[0].text
    assert result.num_classified == 3


@pytest.mark.parametrize("protocol", [SINGLE, KINETICS, SSV2], ids=lambda each: each.name)
def test_vivit_crops_a_frame_that_is_larger_than_the_crop(folder, annotations, tmp_path, protocol):
    classifier = load_classifier(ModelSpec(str(write_vivit(tmp_path / "vivit"))))
    views = views_of(protocol, classifier)
    assert views.size == (32, 32)
    result = evaluate_classification(
        classifier, annotations, folder, protocol=protocol, merge=MERGE
    )
    assert result.num_classified == 4
    assert result.run.model["model_type"] == "vivit"


@pytest.mark.parametrize("protocol", [SINGLE, SSV2], ids=lambda each: each.name)
def test_umt_with_labels(retrieval, folder, tmp_path, protocol):
    classifier = text_classifier(retrieval, ("dog", "red street", "cat", "person"))
    path = tmp_path / "list.csv"
    path.write_text("video,label\nfilm 0,red street\nfilm 1,dog\n")
    result = evaluate_classification(
        classifier, path, folder, protocol=protocol, merge=MergeConfig(r=[20, 8])
    )
    assert result.num_classified == 2
    assert result.run.model == json.loads(json.dumps(CONFIG.to_dict()))
    with vidtldr.patched(classifier.model, MergeConfig(r=[20, 8])), torch.no_grad():
        clip = classifier.transform(read_clip(folder / "film 0.mp4", Sampling(4)).frames)
        expected = classifier.model(pixel_values=clip[None]).logits[0].softmax(0)
    if protocol is SINGLE:
        best = result.predictions[0].likeliest[0]
        assert best.label == classifier.labels[int(expected.argmax())]
        assert best.probability == pytest.approx(expected.max().item(), abs=1e-5)


@pytest.mark.parametrize("protocol", [SINGLE, SSV2], ids=lambda each: each.name)
@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_a_dual_encoder_with_labels(folder, annotations, tmp_path, kind, protocol):
    directory = getattr(tiny_duals, f"write_{kind}")(tmp_path / kind)
    labels = ("yoga", "a dog", "reading book", "golf", "chess", "boxing", "diving")
    classifier = load_classifier(ModelSpec(str(directory), frames=3), labels)
    result = evaluate_classification(
        classifier, annotations, folder, protocol=protocol, merge=MergeConfig(r=[4, 2])
    )
    assert (result.num_classified, result.num_labels) == (4, 7)
    transform = classifier.transform
    if protocol is SSV2:
        transform = replace(transform, resize=transform.resize[0], crop=transform.resize)
    with vidtldr.patched(classifier.model, MergeConfig(r=[4, 2])):
        path = folder / "film 1.mp4"
        logits = logits_slowly(classifier.model, transform, path, protocol, num_frames=3)
    shares = logits.sigmoid() if kind == "siglip" else logits.softmax(1)
    expected = shares.mean(0).topk(5)
    found = result.predictions[1].likeliest
    assert [each.label for each in found] == [labels[index] for index in expected.indices]
    probabilities = torch.tensor([each.probability for each in found])
    assert torch.allclose(probabilities, expected.values, atol=1e-5)


def test_a_classifier_of_images(folder, annotations, tmp_path):
    classifier = load_classifier(ModelSpec(str(tiny_duals.write_vit(tmp_path / "vit"))))
    path = tmp_path / "list.txt"
    path.write_text("film 0.mp4 0\nfilm 1.mp4 1\n")
    result = evaluate_classification(classifier, path, folder, protocol=KINETICS, merge=None)
    assert result.num_classified == 2
    assert result.run.model["model_type"] == "vit"


def test_averages_by_hand():
    logits = torch.tensor([[0.0, 4.0, 0.0], [3.0, 0.0, 2.9]])
    exact = logits.double()
    by_probabilities = average_views(logits, KINETICS)
    assert torch.allclose(by_probabilities, (exact[0].softmax(0) + exact[1].softmax(0)) / 2)
    by_logits = average_views(logits, replace(KINETICS, average="logits"))
    assert torch.allclose(by_logits, torch.tensor([1.5, 2.0, 1.45]).double().softmax(0))
    assert by_probabilities.sum().item() == pytest.approx(1)
    own = average_views(logits, KINETICS, is_sigmoid=True)
    assert torch.allclose(own, (exact[0].sigmoid() + exact[1].sigmoid()) / 2)
    own = average_views(logits, replace(KINETICS, average="logits"), is_sigmoid=True)
    assert torch.allclose(own, torch.tensor([1.5, 2.0, 1.45]).double().sigmoid())


def test_ranks_by_hand():
    scores = torch.tensor([0.2, 0.4, 0.2, 0.1, 0.1])
    assert [label_rank(scores, label) for label in range(5)] == [2, 1, 3, 4, 5]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("film 0.mp4 3\nfilm 1.mp4 7\n", "line 2: label must be an index in [0, 7)"),
        ("film 0.mp4 label 3\nfilm 1.mp4 label 8\n", "line 2: label must be one of the model's 7"),
        ("film 0.mp4 3\nfilm 0 3\n", "list.txt, line 2: a video must come once (line 1 names the"),
        ("film 0.mp4 3\nfilm 0.mp4 3\n", "line 2: a video must come once (first on line 1)"),
    ],
)
def test_wrong_annotations_are_refused_before_any_video(
    classifier, folder, tmp_path, content, message
):
    path = tmp_path / "list.txt"
    path.write_text(content)
    with pytest.raises(ValueError, match="line 2") as caught:
        evaluate_classification(classifier, path, folder)
    assert message in str(caught.value)


def test_a_folder_without_the_videos_is_refused(classifier, annotations, tmp_path):
    with pytest.raises(FileNotFoundError, match="videos must hold the videos"):
        evaluate_classification(classifier, annotations, tmp_path)


def test_a_video_that_is_not_there_is_left_out(classifier, folder, tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("film 0.mp4 3\ngone.mp4 1\n")
    result = evaluate_classification(classifier, path, folder)
    assert (result.num_classified, result.num_failed) == (1, 1)
    assert "there is no such file" in result.run.failed_videos[0].text


def test_a_schedule_that_does_not_fit_is_refused(classifier, folder, annotations):
    with pytest.raises(ValueError, match=r"`r\[0\]` must be in \[0, 24\]"):
        evaluate_classification(classifier, annotations, folder, merge=MergeConfig(r=[25]))


def test_views_without_a_size_are_refused(classifier, folder, annotations):
    transform = replace(classifier.transform, crop=None)
    with pytest.raises(ValueError, match="without crop_size"):
        evaluate_classification(replace(classifier, transform=transform), annotations, folder)


def test_the_protocols_are_those_of_videomae():
    assert ClassificationProtocol("kinetics", 5, 3, "dense", 4, "probabilities") == KINETICS
    assert ClassificationProtocol("ssv2", 2, 3, "uniform", None, "probabilities") == SSV2
    assert ClassificationProtocol("single") == SINGLE
    changed = classification_protocol("kinetics", segments=10, crops=1, stride=2, average="logits")
    assert changed == ClassificationProtocol("kinetics", 10, 1, "dense", 2, "logits")


@pytest.mark.parametrize(
    ("name", "numbers", "message"),
    [
        ("k400", {}, "`protocol` must be one of single, kinetics, ssv2, got 'k400'"),
        ("single", {"segments": 2}, "`segments` must come with `protocol=kinetics` or"),
        ("single", {"crops": 3}, "`crops` must come with `protocol=kinetics` or"),
        ("ssv2", {"stride": 3}, "`stride` must come with `protocol=kinetics`, got"),
        ("kinetics", {"segments": 0}, "`segments` must be at least 1, got 0"),
    ],
)
def test_numbers_that_a_protocol_lacks_are_refused(name, numbers, message):
    with pytest.raises(ValueError, match="must") as caught:
        classification_protocol(name, **numbers)
    assert message in str(caught.value)
