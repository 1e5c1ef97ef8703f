"""Index and search: put clips into a LanceDB index, with merging on, and find them by text.

    pip install '.[search]'
    python examples/04_index_and_search.py [FOLDER]

Writes FOLDER/index-clips and FOLDER/shapes.index. FOLDER is demo/ by default. A second run finds
the files unchanged and encodes nothing.
"""

import json
import sys
from pathlib import Path

from vidtldr.bundled import bundled_merge
from vidtldr.pipeline import discover, index_videos, request_for
from vidtldr.shapes.export import export_clips
from vidtldr.shapes.world import ShapesWorld
from vidtldr.store import VideoIndex
from vidtldr.tasks import ModelSpec, VideoEncoding, find_text, load_retrieval, umt_reader

NUM_CLIPS = 24
NUM_QUERIES = 3


def main(folder: Path) -> None:
    videos, index = folder / "index-clips", folder / "shapes.index"
    if not videos.exists():
        export_clips(videos, ShapesWorld(split="test"), NUM_CLIPS)

    # Worker processes decode and encode. Each encoder loads the model by itself.
    spec = ModelSpec()  # the bundled model; ModelSpec("umt:CHECKPOINT") for your own
    request = request_for(spec, bundled_merge(), time_limit_seconds=60)
    report = index_videos(index, discover([str(videos)]).files, request)
    print(f"{report.num_indexed} videos indexed, {report.num_unchanged} unchanged")

    model = load_retrieval(spec)
    encoding = VideoEncoding(model, umt_reader(model.config), bundled_merge())
    captions = json.loads((videos / "retrieval.json").read_text())
    for entry in captions[:NUM_QUERIES]:
        print(f"\nSearch: {entry['caption']} (the caption of {entry['video']})")
        for clip in find_text(VideoIndex(index), encoding, entry["caption"], top=3):
            print(f"  {clip.rank}. {Path(clip.path).name}, cosine {clip.score:.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "demo"))
