import importlib
import inspect
import subprocess
import sys
import typing
from types import ModuleType

import pytest

import vidtldr
import vidtldr.video
from vidtldr.config import PROVENANCE
from vidtldr.patch import patching


def run_python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout


def test_the_root_exports_these_names_and_no_others() -> None:
    assert sorted(vidtldr.__all__) == [
        "MergeConfig",
        "__version__",
        "apply_patch",
        "describe",
        "patched",
        "remove_patch",
        "trace",
        "unmerge_tokens",
    ]
    assert all(hasattr(vidtldr, name) for name in vidtldr.__all__)
    assert dir(vidtldr) == sorted(vidtldr.__all__)


def test_importing_the_root_loads_nothing_heavy() -> None:
    heavy = ["torch", "transformers", "triton", "av", "PIL", "matplotlib", "numpy", "typer", "rich"]
    code = f"import sys, vidtldr; print([m for m in {heavy} if m in sys.modules])"
    assert run_python(code).strip() == "[]"


def test_patching_loads_neither_video_nor_transformers_nor_triton() -> None:
    heavy = ["transformers", "av", "PIL", "matplotlib", "timm", "torchvision", "triton"]
    code = (
        f"import sys, vidtldr; vidtldr.apply_patch; print([m for m in {heavy} if m in sys.modules])"
    )
    assert run_python(code).strip() == "[]"


def test_importing_changes_no_global_switch() -> None:
    code = (
        "import torch; state = lambda: (torch.get_default_dtype(), torch.is_grad_enabled(), "
        "torch.get_num_threads(), torch.backends.cuda.flash_sdp_enabled(), torch.initial_seed()); "
        "before = state(); "
        "import vidtldr; vidtldr.apply_patch; print(before == state(), torch.cuda.is_initialized())"
    )
    assert run_python(code).strip() == "True False"


ROOMS = {
    "hosts": [
        "Attend",
        "Attended",
        "AttentionFlops",
        "BlockSizes",
        "Host",
        "PoolingStep",
        "is_a",
        "join_heads",
        "register",
        "split_heads",
    ],
    "measure": [
        "Gain",
        "Timing",
        "count_flops",
        "gain_of",
        "paired_ratios",
        "peak_tensor_bytes",
        "time_in_turn",
    ],
    "pipeline": [
        "IndexRequest",
        "RunReport",
        "discover",
        "index_videos",
        "index_videos_with_ray",
        "request_for",
    ],
    "store": ["IndexSettings", "IndexWriter", "VideoIndex", "export_parquet", "verify_index"],
    "tasks": [
        "AnsweredVideo",
        "ClipReader",
        "Comparison",
        "EmbeddedVideo",
        "Embedder",
        "FoundClip",
        "ModelSpec",
        "Pretrained",
        "SearchResult",
        "VideoEncoding",
        "ask_video",
        "classify_pixels",
        "compare_on_clip",
        "embed_videos",
        "find_like",
        "find_text",
        "load_answering",
        "load_classifier",
        "load_embedder",
        "load_retrieval",
        "search_videos",
        "to_pixels",
        "top_labels",
        "umt_reader",
        "write_parquet",
    ],
    "video": ["Clip", "Sampling", "VideoError", "VideoTransform", "read_clip"],
}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_exports_these_names_and_no_others(room: str) -> None:
    package = importlib.import_module(f"vidtldr.{room}")
    assert sorted(package.__all__) == ROOMS[room] == dir(package)
    for name in package.__all__:
        assert not isinstance(getattr(package, name), ModuleType)  # no file of the same name


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"'vidtldr\.video' has no attribute 'nothing'"):
        vidtldr.video.nothing  # noqa: B018


def test_rooms_load_nothing_heavy_before_a_name_is_used() -> None:
    code = f"import sys; {'; '.join(f'import vidtldr.{room}' for room in ROOMS)}"
    heavy = ["torch", "numpy", "av", "lancedb"]
    assert run_python(f"{code}; print([m for m in {heavy} if m in sys.modules])").strip() == "[]"


FOLLOW = ("score", "linkage", "weighting")  # from the other fields, unless given


def keywords_of_a_config() -> dict[str, inspect.Parameter]:
    """The fields that say what merges."""
    parameters = inspect.signature(vidtldr.MergeConfig).parameters
    return {name: parameters[name] for name in parameters if name not in PROVENANCE}


@pytest.mark.parametrize("function", ["apply_patch", "patched"])
def test_help_shows_the_fields_of_a_config_with_their_defaults(function: str) -> None:
    shown = inspect.signature(getattr(vidtldr, function)).parameters
    fields = keywords_of_a_config()
    assert list(shown) == ["model", "config", *fields]
    assert all(shown[name].default == field.default for name, field in fields.items())
    assert {shown[name].default for name in FOLLOW} == {"auto"}
    assert shown["metric"].default == "x"


@pytest.mark.parametrize("function", ["apply_patch", "patched"])
def test_editors_see_the_same_fields(function: str) -> None:
    """The overloads are typed by hand: they must follow the config."""
    _, keywords = typing.get_overloads(getattr(patching, function))
    seen = inspect.signature(keywords).parameters
    fields = keywords_of_a_config()
    assert list(seen) == ["model", "config", *fields]
    for name, field in fields.items():
        default = ... if name in FOLLOW else field.default
        assert (seen[name].default, seen[name].annotation) == (default, field.annotation)
