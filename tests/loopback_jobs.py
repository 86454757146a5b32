"""The Jobs of a Hub on loopback: just what `python -m trainer job` asks for.

Source of paths and keys: huggingface_hub 2.4.0, `hf_api.py` and `_jobs_api.py`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "hf_0f3c9a51d7"
"""What tests give for a token: found at once wherever it should not be."""
_TIME = "2026-11-27T00:00:00.000Z"


class LoopbackJobs:
    """Jobs that were launched; each runs until its log was read.

    Attributes:
        launched: the body of every launch, in order.
        jobs: id -> what the Hub says of it.
        log: lines that every job writes.
        end: stage in which a job ends, and what the Hub says of it.
        faults: ``"whoami"``, ``"list"``, ``"launch"``, ``"log"`` or ``"inspect"`` -> a status, or 0 for a page of
            something else.
        asked: lines such as ``"POST /api/jobs/me"``, in order.
        tokens: what it was given for authorization.
    """

    def __init__(self) -> None:
        self.launched: list[dict[str, Any]] = []
        self.jobs: dict[str, dict[str, Any]] = {}
        self.log = ["one", "two"]
        self.end: tuple[str, str | None] = ("COMPLETED", None)
        self.faults: dict[str, int] = {}
        self.asked: list[str] = []
        self.tokens: set[str] = set()
        self.url = ""

    @contextmanager
    def running(self) -> Iterator[LoopbackJobs]:
        """Serves until the block ends."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def kind(self, method: str, path: str) -> str:
        """What is asked for: a name of `faults`, or nothing that is known."""
        parts = path.strip("/").split("/")
        if path == "/api/whoami-v2":
            return "whoami"
        if parts[:2] != ["api", "jobs"]:
            return ""
        known = {3: "launch" if method == "POST" else "list", 4: "inspect", 5: "log" if parts[-1] == "logs" else ""}
        return known.get(len(parts), "")

    def reply(self, kind: str, address: str, body: bytes) -> bytes:
        """The body of a reply that is good."""
        parts = urlsplit(address)
        names = parts.path.strip("/").split("/")[2:]
        if kind == "whoami":
            return json.dumps({"name": "me", "type": "user"}).encode()
        if kind == "launch":
            return json.dumps(self._launch(names[0], json.loads(body))).encode()
        if kind == "list":
            return json.dumps(self._listed(names[0], parse_qs(parts.query))).encode()
        job = self.jobs[names[1]]
        if kind == "log":
            job["status"] = {"stage": self.end[0], "message": self.end[1]}
            events = [json.dumps({"data": line, "timestamp": _TIME}) for line in ["===== Job started", *self.log]]
            return "".join(f"data: {event}\n\n" for event in events).encode()
        return json.dumps(job).encode()

    def _launch(self, payer: str, spec: dict[str, Any]) -> dict[str, Any]:
        self.launched.append(spec)
        job = {
            "id": f"job{len(self.launched)}",
            "createdAt": _TIME,
            "owner": {"id": "1", "name": payer, "type": "user"},
            "status": {"stage": "SCHEDULING", "message": None},
            "labels": spec["labels"],
        }
        self.jobs[job["id"]] = job
        return job

    def _listed(self, payer: str, wanted: dict[str, list[str]]) -> list[dict[str, Any]]:
        jobs = [job for job in self.jobs.values() if job["owner"]["name"] == payer]
        labels = [tuple(label.split("=", 1)) for label in wanted.get("label", [])]
        jobs = [job for job in jobs if all(job["labels"].get(name) == value for name, value in labels)]
        return [job for job in jobs if job["status"]["stage"] in wanted.get("stage", [job["status"]["stage"]])]


def _handler(hub: LoopbackJobs) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._send()

        def do_POST(self) -> None:
            self._send()

        def _send(self) -> None:
            token = self.headers.get("Authorization", "")
            hub.asked.append(f"{self.command} {self.path}")
            hub.tokens.add(token)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            kind = hub.kind(self.command, self.path.split("?")[0])
            status = hub.faults.get(kind, 200) if kind else 404
            # A Hub that tells what it was given, which no message of ours may repeat.
            told = json.dumps({"error": f"{token} is not allowed"}).encode()
            reply = told if status else b"<p>Welcome to our WLAN</p>"
            reply = hub.reply(kind, self.path, body) if status == 200 else reply
            self.send_response(status or 200)
            self.send_header("Content-Length", str(len(reply)))
            if status >= 400:
                self.send_header("X-Error-Message", f"{token} is not allowed")
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: `asked` has it."""

    return Handler
