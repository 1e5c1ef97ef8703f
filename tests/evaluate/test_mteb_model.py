"""Merging models are scored by mteb itself, on made-up tasks of its own classes."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny_duals import write_clip
from support.tiny_files import write_videomae
from torch import Tensor
from torch.utils.data import DataLoader

from vidtldr.config import MergeConfig
from vidtldr.evaluate.mteb_model import MTEBModel, load_mteb_model, patch_mteb_model
from vidtldr.shapes.export import export_clips
from vidtldr.shapes.world import ShapesWorld
from vidtldr.tasks.embed import embed_videos, pretrained_embedder
from vidtldr.tasks.load import load_embedder, load_model, load_retrieval
from vidtldr.tasks.model_spec import ModelSpec
from vidtldr.tasks.text_features import encode_texts, prompt_tokens

mteb = pytest.importorskip("mteb", reason="pip install 'vidtldr[mteb]'")
datasets = pytest.importorskip("datasets")
models = pytest.importorskip("mteb.models")
tasks = pytest.importorskip("mteb.abstasks")
loaders = pytest.importorskip("mteb.abstasks.retrieval_dataset_loaders")
described = pytest.importorskip("mteb.abstasks.task_metadata")

#: Captions or labels, and the content of the files.
Clips = tuple[tuple[str, bytes], ...]
ABOUT: dict[str, Any] = {
    "description": "Coloured shapes that move.",
    "reference": "https://example.org",
    "dataset": {"path": "made/up", "revision": "1"},
    "eval_splits": ["test"],
    "eval_langs": ["eng-Latn"],
    "date": ("2026-01-01", "2026-01-02"),
    "domains": [],
    "task_subtypes": [],
    "license": "cc-by-4.0",
    "annotations_creators": "derived",
    "dialect": [],
    "sample_creation": "created",
    "bibtex_citation": "",
}


class ShapesByCaption(tasks.AbsTaskRetrieval):
    """Find the clip of a caption."""

    metadata = described.TaskMetadata(
        name="ShapesByCaption",
        type="Any2AnyRetrieval",
        category="t2v",
        modalities=["text", "video"],
        main_score="hit_rate_at_1",
        **ABOUT,
    )
    clips: Clips = ()

    def load_data(self, **_: Any) -> None:
        names = [str(number) for number in range(len(self.clips))]
        captions = [caption for caption, _ in self.clips]
        queries = {"id": names, "text": captions, "modality": ["text"] * len(names)}
        corpus = {"id": names, "video": [content for _, content in self.clips]}
        videos = datasets.Dataset.from_dict(corpus | {"modality": ["video"] * len(names)})
        split = loaders.RetrievalSplitData(
            queries=datasets.Dataset.from_dict(queries),
            corpus=videos.cast_column("video", datasets.Video()),
            relevant_docs={name: {name: 1} for name in names},
            top_ranked=None,
        )
        self.dataset = {"default": {"test": split}}
        self.data_loaded = True


class ShapesByLabel(tasks.AbsTaskClassification):
    """Name the shape of a clip."""

    metadata = described.TaskMetadata(
        name="ShapesByLabel",
        type="VideoClassification",
        category="v2c",
        modalities=["video"],
        main_score="accuracy",
        **ABOUT,
    )
    input_column_name = "video"
    samples_per_label = 4
    n_experiments = 2
    clips: Clips = ()

    def load_data(self, **_: Any) -> None:
        names = sorted({label for label, _ in self.clips})
        rows = {
            "video": [content for _, content in self.clips],
            "label": [names.index(label) for label, _ in self.clips],
        }
        split = datasets.Dataset.from_dict(rows).cast_column("video", datasets.Video())
        self.dataset = datasets.DatasetDict({"train": split, "test": split})
        self.data_loaded = True


class OwnModel:
    """A model as mteb's documentation lets users write it: with its module as `model`."""

    def __init__(self, spec: ModelSpec) -> None:
        pretrained, _ = load_model(spec)
        self.model = pretrained.model
        self._encoder = MTEBModel(pretrained_embedder(pretrained), models.ModelMeta.create_empty())
        about = {"name": "own/model", "revision": "1", "modalities": ["video"]}
        self.mteb_model_meta = models.ModelMeta.create_empty(about)
        self.encode = self._encoder.encode
        self.similarity = self._encoder.similarity
        self.similarity_pairwise = self._encoder.similarity_pairwise


def score(model: Any, kind: type[Any], clips: Clips, cache: Path) -> float:
    """The main score of a task."""
    task = kind()
    task.clips = clips
    results = mteb.evaluate(
        model,
        [task],
        cache=mteb.ResultCache(cache),
        encode_kwargs={"batch_size": 4},
        show_progress_bar=False,
    )
    return float(results.task_results[0].get_score())


def loader_of(columns: dict[str, list[Any]]) -> Any:
    """What mteb hands to a model."""
    dataset = datasets.Dataset.from_dict(columns)
    if "video" in columns:
        dataset = dataset.cast_column("video", datasets.Video())
    return DataLoader(dataset, batch_size=2, collate_fn=list)


def encoded(model: MTEBModel, columns: dict[str, list[Any]]) -> Tensor:
    return model.encode(
        loader_of(columns), task_metadata=ShapesByLabel.metadata, show_progress_bar=False
    )


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    """Twelve clips of the bundled model's world, with the captions that name them."""
    folder = tmp_path_factory.mktemp("shapes") / "clips"
    export_clips(folder, ShapesWorld(split="validation"), 12)
    rows = json.loads((folder / "retrieval.json").read_text())
    return tuple((row["caption"], (folder / row["video"]).read_bytes()) for row in rows)


@pytest.fixture(scope="module")
def videomae(tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    return ModelSpec(str(write_videomae(tmp_path_factory.mktemp("model") / "tiny")))


def expected_score(merge: MergeConfig | None, clips: Clips, folder: Path) -> float:
    """The share of captions whose own clip is nearest, without mteb."""
    files = [folder / f"{number}.mp4" for number in range(len(clips))]
    for file, (_, content) in zip(files, clips, strict=True):
        file.write_bytes(content)
    rows = embed_videos(load_embedder(ModelSpec(), merge), [str(file) for file in files])
    videos = torch.stack([row.vector for row in rows if row.vector is not None])
    model = load_retrieval(ModelSpec())
    texts = encode_texts(model, prompt_tokens(model.tokenizer, [text for text, _ in clips], "text"))
    nearest = (texts.row_embeddings[texts.rows] @ videos.T).argmax(dim=1)
    return (nearest == torch.arange(len(clips))).double().mean().item()


@pytest.mark.slow
def test_a_trained_model_gets_the_score_that_its_vectors_deserve_however_it_merges(
    clips: Clips, tmp_path: Path
) -> None:
    found = {}
    for merge in (None, MergeConfig(flop_ratio=0.7), MergeConfig(ratio=[0.5] * 6, score=None)):
        model = load_mteb_model(ModelSpec(), merge)
        found[merge] = score(model, ShapesByCaption, clips, tmp_path / "results")
        expected = expected_score(merge, clips, tmp_path)
        assert found[merge] == pytest.approx(expected, abs=1e-5)  # mteb rounds
    unmerged, merged, ruined = found.values()
    assert unmerged == merged == 1.0
    assert ruined < 1.0
    kept = {path.parent.name for path in tmp_path.rglob("ShapesByCaption.json")}
    assert len(kept) == 3  # none is taken for another
    assert "dtype_float32__frames_8__merge_r=58,51,46,40,36 linkage=ward__reader_vidtldr" in kept


def test_labels_are_predicted_from_the_vectors_of_a_merging_model(
    clips: Clips, tmp_path: Path
) -> None:
    labelled = tuple((caption.split()[1], content) for caption, content in clips)
    merging = load_mteb_model(ModelSpec(), MergeConfig(flop_ratio=0.7))
    assert score(merging, ShapesByLabel, labelled, tmp_path) > 0.5


def test_a_model_of_mteb_is_patched_and_its_results_are_not_the_unmerged_ones(
    videomae: ModelSpec, clips: Clips, tmp_path: Path
) -> None:
    columns = {"video": [content for _, content in clips[:3]]}
    unmerged = OwnModel(videomae)
    merged = patch_mteb_model(OwnModel(videomae), r=[9, 5], score="received")
    direct = load_mteb_model(videomae, MergeConfig(r=[9, 5], score="received"))
    assert torch.equal(encoded(merged, columns), encoded(direct, columns))
    assert not torch.equal(encoded(merged, columns), encoded(unmerged, columns))
    assert merged.mteb_model_meta.experiment_kwargs == {"merge": "r=9,5 score=received"}
    assert unmerged.mteb_model_meta.experiment_kwargs is None
    again = patch_mteb_model(merged, flop_ratio=0.9)
    assert again.mteb_model_meta.experiment_kwargs["merge"].startswith("r=")
    labelled = tuple((str(number % 2), content) for number, (_, content) in enumerate(clips[:8]))
    for model in (unmerged, again):
        score(model, ShapesByLabel, labelled, tmp_path)
    assert len(list(tmp_path.rglob("ShapesByLabel.json"))) == 2
    with pytest.raises(TypeError, match="model must be one of mteb that holds a torch module as"):
        patch_mteb_model(direct, r=[9, 5])


def test_a_dual_encoder_reads_texts_cut_at_its_longest_and_sums_what_has_both(
    clips: Clips, tmp_path: Path
) -> None:
    spec = ModelSpec(str(write_clip(tmp_path / "clip")), frames=2)
    merge = MergeConfig(r=[5])
    model, embedder = load_mteb_model(spec, merge), load_embedder(spec, merge)
    assert model.mteb_model_meta.modalities == ["video", "text"]
    assert model.mteb_model_meta.name == "local/clip"
    file = tmp_path / "clip.mp4"
    file.write_bytes(clips[0][1])
    [row] = embed_videos(embedder, [str(file)])
    assert row.vector is not None
    video = encoded(model, {"video": [str(file)]})  # a path, not content
    assert torch.equal(video, row.vector[None])
    assert embedder.encode_texts is not None
    text = encoded(model, {"text": ["a dog", "a " * 99]})
    typed = embedder.encode_texts(["a dog", "a " * 38], "text")
    assert torch.equal(text, typed)
    both = encoded(model, {"text": ["a dog"] * 2, "video": [str(file)] * 2})
    assert torch.allclose(both, (video + text[:1]).expand(2, -1), atol=1e-6)


def test_what_cannot_be_scored_ends_the_task(
    videomae: ModelSpec, clips: Clips, tmp_path: Path
) -> None:
    model = load_mteb_model(videomae)
    assert model.mteb_model_meta.modalities == ["video"]
    with pytest.raises(ValueError, match=r"got row 1 that cannot: "):
        encoded(model, {"video": [clips[0][1], b"no video"]})
    with pytest.raises(ValueError, match="local/tiny, which reads no texts, got ShapesByLabel"):
        encoded(model, {"text": ["a dog"]})
    with pytest.raises(ValueError, match="task must have videos or texts, got ShapesByLabel with "):
        encoded(model, {"audio": ["a"]})
    with pytest.raises(ValueError, match="but none overlap with task ShapesByCaption"):
        score(model, ShapesByCaption, clips, tmp_path)  # mteb's own check of modalities
