"""A model that is not here is said at once, with the true reason. A local server plays the hub."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from vidtldr.tasks.model_files import model_source, validate_model_name

ANSWERS = {
    "/owner/unknown": (401, {"X-Error-Code": "RepoNotFound"}),
    "/owner/gated": (403, {"X-Error-Code": "GatedRepo"}),
    "/owner/odd": (404, {"X-Error-Code": "EntryNotFound"}),
    "/owner/there": (200, {"X-Repo-Commit": "0" * 40, "ETag": '"1"', "Content-Length": "2"}),
}
CODE = """
import sys
from vidtldr.tasks.model_files import model_source
try:
    print(model_source(sys.argv[1]))
except FileNotFoundError as error:
    print(error)
assert "torch" not in sys.modules
"""


class Hub(ThreadingHTTPServer):
    """Answers as the hub does for a few names, and remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        assert isinstance(self.server, Hub)
        self.server.asked.append(self.path)
        status, headers = ANSWERS[self.path.removesuffix("/resolve/main/config.json")]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Write nothing."""


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    server = Hub()
    Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def asked(name: str, endpoint: str, home: Path) -> str:
    environment = os.environ | {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "NO_PROXY": "*"}
    done = subprocess.run(
        [sys.executable, "-c", CODE, name], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # no addresses, no retries
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("unknown", "is neither a directory here nor a public model on the hub. Check the name"),
        ("gated", "is restricted by its owner. Ask for access"),
        ("odd", "on the hub has no config.json"),
        ("there", "owner/there"),
    ],
)
def test_the_hub_is_asked_once_and_its_answer_told(
    hub: Hub, tmp_path: Path, name: str, answer: str
) -> None:
    hub.asked.clear()
    assert answer in asked(f"owner/{name}", f"http://127.0.0.1:{hub.server_port}", tmp_path)
    assert hub.asked == [f"/owner/{name}/resolve/main/config.json"]


def test_a_hub_out_of_reach_is_not_a_hub_without_the_model(tmp_path: Path) -> None:
    message = asked("owner/name", "http://127.0.0.1:9", tmp_path)
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
    assert "nor complete in the hub's cache" in asked("owner/name", "http://127.0.0.1:9", tmp_path)
    (snapshot / "preprocessor_config.json").write_text("{}")
    assert asked("owner/name", "http://127.0.0.1:9", tmp_path) == str(snapshot)


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
