"""A server on this machine that answers the few requests made of the hub as the hub does."""

import base64
import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Self

__all__ = ["COMMIT", "LocalHub", "ask", "in_reach"]

COMMIT = "0" * 40
REFUSALS = {
    "RepoNotFound": 401,
    "GatedRepo": 403,
    "EntryNotFound": 404,
    "RevisionNotFound": 404,
}


@dataclass(frozen=True)
class Request:
    """What was asked: method, path, and the body if it is JSON lines."""

    method: str
    path: str
    body: tuple[Any, ...] = ()


@dataclass
class LocalHub:
    """The hub.

    Attributes:
        files: Content of `OWNER/NAME/FILE`, or the hub's code for why it is refused.
        may_write: Whether the token of the tests may write.
        requests: What was asked.
        pushed: Content of what was committed.
    """

    files: dict[str, bytes | str] = field(default_factory=dict)
    may_write: bool = True
    requests: list[Request] = field(default_factory=list)
    pushed: dict[str, bytes] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))
        Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def endpoint(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def asked(self) -> list[str]:
        """Method and path of every request."""
        return [f"{each.method} {each.path}" for each in self.requests]


def _handler_of(hub: LocalHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._resolve(with_content=False)

        def do_GET(self) -> None:
            self._resolve(with_content=True)

        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers["Content-Length"])).decode()
            lines = tuple(map(json.loads, text.splitlines()))
            hub.requests.append(Request("POST", self.path, lines))
            if not hub.may_write:
                return self._answer(403, json.dumps({"error": "no write access"}).encode())
            return self._answer(200, json.dumps(self._written(lines)).encode())

        def _resolve(self, *, with_content: bool) -> None:
            hub.requests.append(Request(self.command, self.path))
            name = self.path.removeprefix("/").replace("/resolve/main/", "/")
            content = hub.files.get(name, "RepoNotFound")
            if isinstance(content, str):
                return self._answer(REFUSALS[content], b"", {"X-Error-Code": content})
            digest = hashlib.sha1(content).hexdigest()  # another content is another commit
            headers = {"X-Repo-Commit": digest, "ETag": f'"{digest}"'}
            return self._answer(200, content, headers, with_content=with_content)

        def _written(self, lines: tuple[Any, ...]) -> dict[str, Any]:
            path = self.path.partition("?")[0]
            if path.endswith("/repos/create"):
                name = f"{lines[0].get('organization') or 'me'}/{lines[0]['name']}"
                return {"url": f"{hub.endpoint}/{name}", "name": name}
            if path.endswith("/preupload/main"):
                kind = {"uploadMode": "regular", "shouldIgnore": False}
                return {"files": [{"path": each["path"], **kind} for each in lines[0]["files"]]}
            for line in lines:
                if line["key"] == "file":
                    content = base64.b64decode(line["value"]["content"])
                    hub.pushed[line["value"]["path"]] = content
            name = path.removeprefix("/api/models/").removesuffix("/commit/main")
            done = {"commitUrl": f"{hub.endpoint}/{name}/commit/{COMMIT}", "commitOid": COMMIT}
            if "create_pr=1" in self.path:
                done["pullRequestUrl"] = f"{hub.endpoint}/{name}/discussions/1"
            return done

        def _answer(
            self,
            status: int,
            content: bytes,
            headers: dict[str, str] | None = None,
            *,
            with_content: bool = True,
        ) -> None:
            self.send_response(status)
            for key, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
                self.send_header(key, value)
            self.end_headers()
            if with_content:
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Write nothing."""

    return Handler


def in_reach(endpoint: str, home: Path) -> dict[str, str]:
    """The environment of a process that takes `endpoint` for the hub, and caches in `home`."""
    reach = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_TOKEN": "hf_made_up"}
    return os.environ | reach | {"NO_PROXY": "*", "HF_HUB_DISABLE_TELEMETRY": "1"}


def ask(code: str, name: str, endpoint: str, home: Path) -> str:
    """What a program prints that gets a name and takes `endpoint` for the hub."""
    done = subprocess.run(
        [sys.executable, "-c", code, name],
        env=in_reach(endpoint, home),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # no addresses, no retries
    return done.stdout.strip()
