"""A Hub on loopback that serves dataset repositories from memory: just what `snapshot_download` asks for."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

COMMITS = {"Tuwhy/MIS_Train": "66e984f" + "1" * 33, "Tuwhy/MIS_Test": "c147ae2" + "2" * 33}


class LoopbackHub:
    """What it serves and what it was asked.

    Attributes:
        files: repository -> path -> bytes.
        asked: lines such as ``"GET /datasets/..."``, in order.
        broken: paths for which it answers 400.
    """

    def __init__(self, files: dict[str, dict[str, bytes]]) -> None:
        self.files = files
        self.asked: list[str] = []
        self.broken: set[str] = set()
        self.url = ""

    @contextmanager
    def running(self) -> Iterator[LoopbackHub]:
        """Serves until the block ends."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def answer(self, path: str) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers for a path."""
        for repository, held in self.files.items():
            commit = COMMITS[repository]
            if path.startswith(f"/api/datasets/{repository}/revision/"):
                if not commit.startswith(path.rsplit("/", 1)[1]):
                    return 404, b"", {"X-Error-Code": "RevisionNotFound"}
                siblings = [{"rfilename": name} for name in held]
                info = {"_id": "1", "id": repository, "sha": commit, "private": False, "siblings": siblings, "tags": []}
                return 200, json.dumps(info).encode(), {}
            if path.startswith(f"/api/datasets/{repository}/tree/"):
                tree = [
                    {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                    for name, data in held.items()
                ]
                return 200, json.dumps(tree).encode(), {}
            prefix = f"/datasets/{repository}/resolve/{commit}/"
            if path.startswith(prefix) and unquote(path.removeprefix(prefix)) in held:
                name = unquote(path.removeprefix(prefix))
                if name in self.broken:
                    return 400, b"", {}
                data = held[name]
                etag = hashlib.sha1(data).hexdigest()
                return 200, data, {"ETag": f'"{etag}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        return 404, b"", {"X-Error-Code": "RepoNotFound"}


def _handler(hub: LoopbackHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def _answer(self, with_body: bool) -> None:
            hub.asked.append(f"{self.command} {self.path}")
            status, body, headers = hub.answer(self.path.split("?")[0])
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if with_body:
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: `asked` has it."""

    return Handler
