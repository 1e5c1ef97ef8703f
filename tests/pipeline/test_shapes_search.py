"""Generated clips in an index: a search by the true caption finds what the model itself finds."""

import json
import os

import pytest
import torch

from vidtldr.bundled import BUNDLED, bundled_merge
from vidtldr.models.umt import load_umt
from vidtldr.pipeline.discovery import discover
from vidtldr.pipeline.local import index_videos
from vidtldr.pipeline.request import request_for
from vidtldr.shapes.export import export_clips
from vidtldr.shapes.world import ShapesWorld
from vidtldr.store.exact_search import ExactSearch
from vidtldr.store.rows import clip_id
from vidtldr.store.video_index import VideoIndex
from vidtldr.tasks.clip_reader import umt_reader
from vidtldr.tasks.embed import umt_embedder
from vidtldr.tasks.model_spec import ModelSpec
from vidtldr.tasks.text_features import encode_texts, prompt_tokens
from vidtldr.tasks.video_features import VideoEncoding

# A thousand take minutes on two cores.
NUM_CLIPS = int(os.environ.get("VIDTLDR_NUM_CLIPS", "200"))


@pytest.mark.slow
def test_a_caption_finds_its_clip_as_often_as_in_memory(tmp_path):
    world = ShapesWorld(3, "test")
    indices = export_clips(tmp_path / "clips", world, NUM_CLIPS)
    merge = bundled_merge()
    request = request_for(ModelSpec(device="cpu"), merge, num_workers=2)
    files = discover([str(tmp_path / "clips")]).files
    report = index_videos(tmp_path / "my.index", files, request, gpus=[None])
    assert (report.num_indexed, report.num_failed) == (NUM_CLIPS, 0)

    umt = load_umt(BUNDLED)
    entries = json.loads((tmp_path / "clips" / "retrieval.json").read_text())
    captions = [entry["caption"] for entry in entries]
    paths = [str(tmp_path / "clips" / entry["video"]) for entry in entries]
    texts = encode_texts(umt, prompt_tokens(umt.tokenizer, captions, "text"))
    queries = texts.row_embeddings[texts.rows]

    search = ExactSearch(VideoIndex(tmp_path / "my.index"))
    found = [search.search(query.numpy(), 1)[0].id for query in queries]
    in_index = sum(key == clip_id(path, 0.0) for key, path in zip(found, paths, strict=True))

    embedder = umt_embedder(VideoEncoding(umt, umt_reader(umt.config), merge))
    vectors = []
    for start in range(0, NUM_CLIPS, 32):
        frames = world.clips(indices[start : start + 32]).frames
        clips = [
            embedder.reader.transform(clip.permute(0, 2, 3, 1).contiguous()) for clip in frames
        ]
        vectors.append(embedder.encode(torch.stack(clips)))
    best = (queries @ torch.cat(vectors).T).argmax(dim=1)
    in_memory = int((best == torch.arange(NUM_CLIPS)).sum())
    assert abs(in_index - in_memory) <= 0.02 * NUM_CLIPS, (in_index, in_memory)
    print(f"{in_index} of {NUM_CLIPS} by the index, {in_memory} without files and index")
