"""The model that comes with the package, and the merge that was chosen for it. No torch here."""

import json
from importlib.resources import files
from pathlib import Path

from vidtldr.hosts.config import MergeConfig

__all__ = ["BUNDLED", "BUNDLED_PRESET", "bundled_merge"]

#: What `load_umt` reads for either task: weights, sizes and vocabulary. `merge.json` lies beside.
BUNDLED = Path(str(files("vidtldr") / "shapes" / "bundled"))
BUNDLED_PRESET = "shapes"


def bundled_merge() -> MergeConfig:
    """The merge of the bundled model, chosen on validation clips (preset `"shapes"`)."""
    return MergeConfig.from_dict(json.loads((BUNDLED / "merge.json").read_text(encoding="utf-8")))
