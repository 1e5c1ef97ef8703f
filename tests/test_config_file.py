"""Schedules as files: what they record, where they are refused, and what is no such file."""

import copy
import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support import tiny_qwen
from support.local_hub import COMMIT, LocalHub, ask
from support.tiny_models import clips, videomae, vivit

import vidtldr
from vidtldr.budget.counts import resolve_budget
from vidtldr.config import MergeConfig
from vidtldr.config_file import CONFIG_FILE
from vidtldr.hosts.registry import find_host
from vidtldr.model_kind import ModelKind

KIND = ModelKind("VideoMAE (transformers)", 4, 48)
MEASURED = {"speedup": {"median": 1.9}, "drift": 0.02, "clips": ["a"], "timed_on": "2026-01-01"}
CONFIGS = [
    MergeConfig(r=[6, 2]),
    MergeConfig(ratio=[0.25], score=None, impl="reference"),
    MergeConfig(flop_ratio=0.6, layers=[0, 2], score="flatness", metric="keys", weighting="mask"),
    MergeConfig(num_tokens=30, output="grid"),
    MergeConfig(speedup=1.2),
]


@pytest.mark.parametrize("config", CONFIGS, ids=repr)
def test_a_saved_config_comes_back_with_what_it_was_made_for_and_what_was_measured(
    config: MergeConfig, tmp_path: Path
) -> None:
    folder = tmp_path / "new" / "folder"
    file = replace(config, measured=MEASURED).save_pretrained(folder, videomae())
    assert file == folder / "merge_config.json"
    assert [path.name for path in folder.iterdir()] == [file.name]
    for source in (folder, str(folder), file):
        found = MergeConfig.from_pretrained(source)
        assert found == config
        assert found.made_for == KIND
        assert found.measured == MEASURED


def test_without_a_model_nothing_is_recorded_and_any_model_takes_it(tmp_path: Path) -> None:
    MergeConfig(r=[6, 2]).save_pretrained(tmp_path)
    values = json.loads((tmp_path / CONFIG_FILE).read_text())
    assert values == MergeConfig(r=[6, 2]).to_dict() | {"r": [6, 2]}
    for model in (videomae(), vivit()):
        assert vidtldr.describe(vidtldr.apply_patch(model, tmp_path)).r == (6, 2)


def test_a_saved_config_merges_as_the_config_itself(tmp_path: Path) -> None:
    config = MergeConfig(flop_ratio=0.7, metric="keys")
    config.save_pretrained(tmp_path, videomae())
    outputs = []
    with torch.no_grad():
        for each in (config, tmp_path, str(tmp_path / CONFIG_FILE)):
            model = vidtldr.apply_patch(videomae(), each)
            outputs.append(model(pixel_values=clips()).logits)
        with vidtldr.patched(model := videomae(), config=str(tmp_path)):
            outputs.append(model(pixel_values=clips()).logits)
        plain = videomae()(pixel_values=clips()).logits
    assert all(torch.equal(outputs[0], other) for other in outputs[1:])
    assert not torch.equal(outputs[0], plain)


@pytest.mark.parametrize(
    ("model", "differs"),
    [
        (vivit, "another family, another number of tokens"),
        (lambda: videomae(num_hidden_layers=5), "another depth"),
        (lambda: videomae(image_size=64), "another number of tokens"),
    ],
)
@pytest.mark.parametrize("config", [CONFIGS[0], CONFIGS[2]], ids=["counts", "budget"])
def test_another_model_is_refused_with_the_reason(
    config: MergeConfig, model: Any, differs: str, tmp_path: Path
) -> None:
    config.save_pretrained(tmp_path, videomae())
    other = model()
    with pytest.raises(ValueError, match="made_for must match the model, ") as caught:
        vidtldr.apply_patch(other, tmp_path)
    assert str(caught.value).split(": ", 1)[1].startswith(f"{differs}. Choose a schedule for this")
    assert f", {find_host(other).kind}, got VideoMAE (transformers) with 4" in str(caught.value)
    assert vidtldr.describe(other).config is None  # nothing was changed
    found = MergeConfig.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match=differs):
        found.save_pretrained(tmp_path, other)
    with pytest.raises(ValueError, match=differs):
        resolve_budget(found, find_host(other))
    vidtldr.apply_patch(other, replace(found, made_for=None))


def test_a_model_whose_input_decides_the_tokens_is_a_kind_too(tmp_path: Path) -> None:
    config = MergeConfig(flop_ratio=0.8)
    config.save_pretrained(tmp_path, tiny_qwen.tower("Qwen3VL"))
    record = json.loads((tmp_path / CONFIG_FILE).read_text())["made_for"]
    assert record == {"family": "Qwen3-VL (transformers)", "num_layers": 4, "num_tokens": None}
    vidtldr.apply_patch(tiny_qwen.tower("Qwen3VL"), tmp_path)
    with pytest.raises(ValueError, match="another family"):
        vidtldr.apply_patch(tiny_qwen.tower("Qwen2VL"), tmp_path)
    with pytest.raises(ValueError, match=r"48 tokens, got Qwen3-VL .* and any number of tokens:"):
        vidtldr.apply_patch(videomae(), tmp_path)


def test_a_preset_stays_one(tmp_path: Path) -> None:
    config = MergeConfig(preset="umt-b16/msrvtt-retrieval")
    config.save_pretrained(tmp_path)
    found = MergeConfig.from_pretrained(tmp_path)
    assert (found, found.preset) == (config, config.preset)
    with pytest.raises(ValueError, match="preset 'umt-b16/msrvtt-retrieval' must be used on 12"):
        vidtldr.apply_patch(videomae(), tmp_path)


def test_what_does_not_fit_the_model_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`r\[0\]` must be in \[0, 24\]"):
        MergeConfig(r=[25]).save_pretrained(tmp_path, videomae())
    with pytest.raises(ValueError, match="flop_ratio"):
        MergeConfig(flop_ratio=0.01).save_pretrained(tmp_path, videomae())
    with pytest.raises(ValueError, match="model must be of a known family"):
        MergeConfig(r=[2]).save_pretrained(tmp_path, torch.nn.Linear(2, 2))
    assert not list(tmp_path.iterdir())


def test_where_a_config_comes_from_does_not_change_what_it_is() -> None:
    plain = MergeConfig(r=[6, 2])
    config = replace(plain, made_for=KIND, measured=MEASURED)
    assert config == plain
    assert hash(config) == hash(plain)
    assert config.to_dict() == plain.to_dict()
    assert "measured" not in repr(config)
    for other in (pickle.loads(pickle.dumps(config)), copy.deepcopy(config), replace(config)):
        assert (other.made_for, other.measured) == (KIND, MEASURED)
    with pytest.raises(TypeError, match=r"keywords must be fields .* preset\), got \['made_for'\]"):
        vidtldr.apply_patch(videomae(), r=[2], made_for=KIND)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"made_for": "VideoMAE"}, TypeError, "`made_for` must have family, num_layers, num_tok"),
        (
            {"made_for": {"family": "VideoMAE"}},
            ValueError,
            r"`made_for` must have the keys family, num_layers, num_tokens and no others, got \['f",
        ),
        (
            {"made_for": {"family": 3, "num_layers": 4, "num_tokens": 4}},
            TypeError,
            "`family` must be a name, got 3",
        ),
        (
            {"made_for": {"family": "", "num_layers": 4, "num_tokens": 4}},
            ValueError,
            "`family` must be a name, got ''",
        ),
        (
            {"made_for": {"family": "a", "num_layers": True, "num_tokens": 4}},
            TypeError,
            "`num_layers` must be an int, got True",
        ),
        (
            {"made_for": {"family": "a", "num_layers": 4, "num_tokens": 0}},
            ValueError,
            "`num_tokens` must be at least 1, got 0",
        ),
        ({"measured": [1.9]}, TypeError, r"`measured` must map names to figures, got \[1.9\]"),
        ({"measured": {"drift": float("nan")}}, ValueError, "`measured` must hold what JSON can"),
        ({"measured": {"drift": {1, 2}}}, ValueError, "`measured` must hold what JSON can say"),
        ({"preset": []}, TypeError, r"preset must be a name, got \[\]"),
    ],
)
def test_records_that_cannot_be_are_refused(
    fields: dict[str, Any], error: type[Exception], message: str
) -> None:
    amount = {} if "preset" in fields else {"r": [2]}
    with pytest.raises(error, match=message):
        MergeConfig(**amount, **fields)


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ("", "it is no JSON in line 1, column 1"),
        ("[600]", r"values must map fields of MergeConfig to values, got \[600\]"),
        ('{"r": [1], "__class__": "os"}', r"keys must be fields .* got \['__class__'\]"),
        ('{"r": [1], "r": [2]}', "key 'r' twice"),
        ('{"r": [1], "made_for": 3}', "made_for must have family, num_layers, num_tokens, got 3"),
        ('{"r": [1], "measured": {"drift": NaN}}', "measured must hold what JSON can say"),
        ('{"r": [1e400]}', r"r\[0\] must be an int, got inf"),
        ('{"preset": {}}', "preset must be a name, got {}"),
        ('{"flop_ratio": NaN}', r"flop_ratio must be in \(0, 1\]"),
        ('{"r": "' + "9" * 2**20 + '"}', "must have at most 1,048,576 bytes, got 1,048,585"),
    ],
)
def test_files_that_hold_no_config_are_refused(content: str, rule: str, tmp_path: Path) -> None:
    file = tmp_path / CONFIG_FILE
    file.write_text(content)
    with pytest.raises(ValueError, match=rule) as caught:
        vidtldr.apply_patch(videomae(), str(tmp_path))
    assert str(caught.value).startswith(f"config must have a schedule in {str(file)!r}: ")
    assert len(str(caught.value)) < 1500


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("", FileNotFoundError, "config must be a JSON file, a directory with a merge_config.json"),
        ("nowhere", FileNotFoundError, "config must be a JSON file, a directory .* got 'nowhere'"),
        ("a/nowhere.json", FileNotFoundError, "got 'a/nowhere.json'. Check the name"),
        ("../a", FileNotFoundError, "or OWNER/NAME on the hub, got '../a'"),
        (".", FileNotFoundError, "config must be a directory with a merge_config.json, got '.'"),
        ("umt-b16/msvd-qa", ValueError, "got the preset .* Write `preset=umt-b16/msvd-qa`"),
    ],
)
def test_names_that_lead_nowhere_are_refused_without_asking_the_hub(
    source: str,
    error: type[Exception],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        vidtldr.apply_patch(videomae(), source)


READ = """
import sys
from vidtldr.config import MergeConfig
try:
    found = MergeConfig.from_pretrained(sys.argv[1])
    print(found, found.measured)
except (FileNotFoundError, ValueError) as error:
    print(error)
assert not {"torch", "numpy"} & set(sys.modules)
"""
FILE = "owner/name/merge_config.json"
HEAD, GET = (f"{method} /owner/name/resolve/main/merge_config.json" for method in ("HEAD", "GET"))
CONTENT = json.dumps({"r": [6, 2], "measured": {"drift": 0.02}}).encode()


def test_a_config_comes_from_the_hub_and_without_it_from_the_cache(tmp_path: Path) -> None:
    with LocalHub({FILE: CONTENT}) as hub:
        first = ask(READ, "owner/name", hub.endpoint, tmp_path)
        assert first == "MergeConfig(r=(6, 2)) {'drift': 0.02}"
        assert set(hub.asked) == {HEAD, GET}
        hub.files[FILE] = b'{"r": [8]}'  # its owner changed it
        changed = ask(READ, "owner/name", hub.endpoint, tmp_path)
        assert changed == "MergeConfig(r=(8,)) None"
    assert ask(READ, "owner/name", "http://127.0.0.1:9", tmp_path) == changed


@pytest.mark.parametrize(
    ("found", "answer"),
    [
        ("RepoNotFound", "source 'owner/name' is neither a directory here nor a public model"),
        ("GatedRepo", "source 'owner/name' is restricted by its owner. Ask for access"),
        ("EntryNotFound", "source 'owner/name' on the hub has no merge_config.json. Name a model"),
        ("RevisionNotFound", "source 'owner/name' on the hub has no revision None"),
        (b"9" * (2**20 + 1), "must have at most 1,048,576 bytes, got 1,048,577. It is no file of"),
        (b"{", "source must have a schedule in"),
    ],
)
def test_what_the_hub_says_is_told_and_nothing_large_is_fetched(
    found: bytes | str, answer: str, tmp_path: Path
) -> None:
    with LocalHub({FILE: found}) as hub:
        assert answer in ask(READ, "owner/name", hub.endpoint, tmp_path)
    assert (GET in hub.asked) == (found == b"{")


def test_a_missing_login_is_said(tmp_path: Path) -> None:
    code = READ.replace("from_pretrained(sys.argv[1]", "from_pretrained(sys.argv[1], token=True")
    assert code != READ
    code = "import os; del os.environ['HF_TOKEN']\n" + code
    assert "Run `hf auth login`" in ask(code, "owner/name", "http://127.0.0.1:9", tmp_path)


def test_a_hub_out_of_reach_is_said(tmp_path: Path) -> None:
    message = ask(READ, "owner/name", "http://127.0.0.1:9", tmp_path)
    assert (
        "neither a directory here nor in the hub's cache, and the hub cannot be reached" in message
    )
    assert message.endswith("run `hf download owner/name merge_config.json` with a network.")


PUSH = """
import sys
from vidtldr.config import MergeConfig
config = MergeConfig(r=[6, 2], measured={"drift": 0.02})
try:
    print(config.push_to_hub(sys.argv[1], private=True, create_pr=sys.argv[1].startswith("other/")))
except OSError as error:
    print(type(error).__name__, error)
assert not {"torch", "numpy"} & set(sys.modules)
"""


def test_one_file_is_pushed_to_a_repository_that_is_made_if_need_be(tmp_path: Path) -> None:
    with LocalHub() as hub:
        address = ask(PUSH, "owner/name", hub.endpoint, tmp_path)
        assert address == f"{hub.endpoint}/owner/name/commit/{COMMIT}"
    assert list(hub.pushed) == [CONFIG_FILE]
    assert json.loads(hub.pushed[CONFIG_FILE]) == {
        **MergeConfig(r=[6, 2]).to_dict(),
        "r": [6, 2],
        "measured": {"drift": 0.02},
    }
    made = next(each for each in hub.requests if each.path == "/api/repos/create").body[0]
    assert (made["name"], made["organization"]) == ("name", "owner")
    assert made.get("private", made.get("visibility")) in (True, "private")
    model = "/api/models/owner/name"
    assert [each.partition("?")[0] for each in hub.asked] == [
        "POST /api/repos/create",
        f"POST {model}/preupload/main",
        f"POST {model}/commit/main",
    ]


def test_a_push_can_be_a_proposal_and_a_token_that_may_not_write_is_told(tmp_path: Path) -> None:
    with LocalHub() as hub:
        address = ask(PUSH, "other/model", hub.endpoint, tmp_path)
        assert address == f"{hub.endpoint}/other/model/discussions/1"
    with LocalHub(may_write=False) as hub:
        message = ask(PUSH, "owner/name", hub.endpoint, tmp_path)
    assert message.startswith(
        "PermissionError repo_id must be a model that you may write, got 'own"
    )
    assert "create_pr=True" in message
    assert not hub.pushed
    message = ask(PUSH, "owner/name", "http://127.0.0.1:9", tmp_path)
    assert message.startswith(
        "ConnectionError merge_config.json must reach the hub: the hub cannot"
    )


def test_a_pushed_config_records_its_model_and_another_is_not_pushed() -> None:
    config = MergeConfig(r=[6, 2], made_for=replace(KIND, num_layers=12))
    with pytest.raises(ValueError, match="another depth"):
        config.push_to_hub("owner/name", videomae())  # before anything is asked
