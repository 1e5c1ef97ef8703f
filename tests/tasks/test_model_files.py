"""A model that is not here is said at once, with the true reason. A local server plays the hub."""

import json
from pathlib import Path

import pytest
from support.local_hub import LocalHub, ask

from vidtldr.tasks.model_files import model_source, validate_model_name

CODE = """
import sys
from vidtldr.tasks.model_files import model_source
try:
    print(model_source(sys.argv[1]))
except FileNotFoundError as error:
    print(error)
assert "torch" not in sys.modules
"""


@pytest.mark.parametrize(
    ("found", "answer"),
    [
        (
            "RepoNotFound",
            "is neither a directory here nor a public model on the hub. Check the name",
        ),
        ("GatedRepo", "is restricted by its owner. Ask for access"),
        ("EntryNotFound", "on the hub has no config.json, so transformers cannot load it"),
        (b"{}", "owner/name"),
    ],
)
def test_the_hub_is_asked_once_and_its_answer_told(
    tmp_path: Path, found: bytes | str, answer: str
) -> None:
    with LocalHub({"owner/name/config.json": found}) as hub:
        assert answer in ask(CODE, "owner/name", hub.endpoint, tmp_path)
    assert hub.asked == ["HEAD /owner/name/resolve/main/config.json"]


def test_a_hub_out_of_reach_is_not_a_hub_without_the_model(tmp_path: Path) -> None:
    message = ask(CODE, "owner/name", "http://127.0.0.1:9", tmp_path)
    assert "and the hub cannot be reached (" in message
    assert message.endswith("Run `hf download owner/name` with a network.")
    assert "not found" not in message


def test_a_complete_copy_in_the_cache_needs_no_network(tmp_path: Path) -> None:
    folder = tmp_path / "hub" / "models--owner--name"
    snapshot = folder / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("a" * 40)
    for file in ("config.json", "model.safetensors"):
        (snapshot / file).write_text("{}")
    assert "nor complete in the hub's cache" in ask(
        CODE, "owner/name", "http://127.0.0.1:9", tmp_path
    )
    (snapshot / "preprocessor_config.json").write_text("{}")
    assert ask(CODE, "owner/name", "http://127.0.0.1:9", tmp_path) == str(snapshot)


@pytest.mark.parametrize("name", ["", "./tny", "tny", "a/b/c", "a--b/c", "no\\where", "~/model"])
def test_what_cannot_be_a_hub_id_is_refused_without_asking(name: str) -> None:
    with pytest.raises(FileNotFoundError, match="existing directory, or OWNER/NAME on the hub"):
        validate_model_name(name)


@pytest.mark.parametrize(
    "name", ["timm/vit_base_patch16_224.augreg", "vit_small_patch14_dinov2.lvd142m", "hf-hub:a/b"]
)
def test_a_model_of_timm_is_named_as_such(name: str) -> None:
    with pytest.raises(ValueError, match=r"of timm\. Use it in Python: timm\.create_model"):
        validate_model_name(name)


def test_a_file_of_weights_leads_to_its_directory(tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    weights.touch()
    with pytest.raises(ValueError, match=f"For weights of UMT write `model=umt:{weights}`"):
        validate_model_name(str(weights))
    (tmp_path / "config.json").write_text(json.dumps({}))
    with pytest.raises(ValueError, match=f"Write `model={tmp_path}`"):
        validate_model_name(str(weights))
    assert model_source(str(tmp_path)) == str(tmp_path)
