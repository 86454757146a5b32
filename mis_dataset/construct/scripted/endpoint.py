"""Serves the scripted models as OpenAI's API does, on 127.0.0.1 alone: chat completions and pictures.

    python -m mis_dataset.construct.scripted --port 8000 --misbehave 0.1

No key is looked at and nothing is written down. `counts` tells how often each thing happened.
"""

from __future__ import annotations

import base64
import json
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from mis_dataset.construct.scripted.misbehaviour import Misbehaviour
from mis_dataset.construct.scripted.player import Models
from mis_dataset.errors import UsageError

_PATHS = ("/v1/chat/completions", "/v1/images/generations")
_RETRY_AFTER = "0.1"
_MOST_BODY = 2**26
_PICTURE_TOKENS = 1000
"""Of a picture in a prompt; assumed, as it differs from model to model."""
_MALFORMED = ('{"rows": [{"category": "Cooking"', "I would rather talk about the weather.", "{" * 4000)


class Reply(NamedTuple):
    """What is sent.

    Attributes:
        status: of HTTP.
        body: JSON.
        retry_after: seconds, as a header.
        end: "cut" in the middle of the body; "hang": nothing is sent; empty: all is.
    """

    status: int
    body: bytes
    retry_after: str = ""
    end: str = ""


class ScriptedEndpoint:
    """The endpoint.

    Attributes:
        player: the models.
        misbehaviour: what goes wrong.
        latency: seconds before a reply.
        counts: calls by path, and replies that went wrong by kind.
        url: for `Settings.base_url`, once it runs.
    """

    def __init__(self, player: Models, misbehaviour: Misbehaviour | None = None, latency: float = 0.0) -> None:
        self.player = player
        self.misbehaviour = misbehaviour or Misbehaviour()
        self.latency = latency
        self.counts: Counter[str] = Counter()
        self.url = ""
        self._lock = threading.Lock()

    @contextmanager
    def running(self, port: int = 0) -> Iterator[ScriptedEndpoint]:
        """Serves until the block ends.

        Args:
            port: 0 for any that is free.

        Raises:
            UsageError: The port is taken.
        """
        try:
            server = _Server(("127.0.0.1", port), type("_Bound", (_Handler,), {"endpoint": self}))
        except OSError as error:
            raise UsageError(f"port {port} of 127.0.0.1 cannot be listened on: {error.strerror}") from error
        self.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def reply_to(self, path: str, body: bytes) -> Reply:
        """What becomes of a request; called by many threads."""
        if path not in _PATHS:
            return _error(404, "no_such_path", f"only {' and '.join(_PATHS)} are served")
        wrong = self.misbehaviour.of(body)
        with self._lock:
            self.counts.update([path.rsplit("/", 1)[1], *([wrong] if wrong else [])])
        if wrong == "busy":
            return _error(429, "rate_limit_exceeded", "by plan")._replace(retry_after=_RETRY_AFTER)
        if wrong == "error":
            return _error(500, "server_error", "by plan")
        try:
            asked = json.loads(body)
            model, said = self.player.told(asked)
        except (UsageError, ValueError, RecursionError):
            return _error(400, "not_played", "a scripted model plays MIS-mini's grammar alone, and this is none of it")
        reply = (
            _picture(model, said, wrong, asked) if isinstance(said, bytes) else _completion(model, said, wrong, asked)
        )
        return reply._replace(end=wrong if wrong in ("hang", "cut") else "")


def _completion(model: str, said: str, wrong: str, asked: Mapping[str, Any]) -> Reply:
    message: dict[str, Any] = {"role": "assistant", "content": said}
    if wrong == "malformed":
        message["content"] = _MALFORMED[len(str(asked)) % len(_MALFORMED)]
    if wrong == "refused":
        message |= {"content": None, "refusal": "I would rather not, says the plan."}
    usage = {"prompt_tokens": _tokens(asked), "completion_tokens": len(said) // 4}
    choices = [{"index": 0, "finish_reason": "stop", "message": message}]
    return _reply(
        200, {"id": "scripted", "object": "chat.completion", "model": model, "choices": choices, "usage": usage}
    )


def _tokens(asked: Mapping[str, Any]) -> int:
    """Of a prompt: one for four letters, and the same number for every picture."""
    contents = [turn["content"] for turn in asked["messages"]]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    texts = [str(content) for content in contents if isinstance(content, str)]
    texts += [str(part["text"]) for part in parts if part["type"] == "text"]
    pictures = len([part for part in parts if part["type"] == "image_url"])
    return len("".join(texts)) // 4 + _PICTURE_TOKENS * pictures


def _picture(model: str, drawn: bytes, wrong: str, asked: Mapping[str, Any]) -> Reply:
    if wrong == "refused":
        return _error(400, "content_filter", "by plan")
    encoded = base64.b64encode(drawn[:40] if wrong == "malformed" else drawn).decode()
    usage = {"input_tokens": len(asked["prompt"]) // 4, "output_tokens": 0}
    return _reply(200, {"created": 0, "model": model, "data": [{"b64_json": encoded}], "usage": usage})


def _error(status: int, code: str, text: str) -> Reply:
    return _reply(status, {"model": "scripted", "error": {"code": code, "type": code, "message": text}})


def _reply(status: int, content: dict[str, Any]) -> Reply:
    return Reply(status, json.dumps(content).encode())


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Tells of faults of ours alone: who asked may go at any time, also between two calls."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """One connection: one call after the other."""

    endpoint: ScriptedEndpoint
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_POST(self) -> None:
        """Answers one call."""
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > _MOST_BODY:
            self.send_error(413)
            self.close_connection = True
            return
        reply = self.endpoint.reply_to(self.path, self.rfile.read(int(length)))
        time.sleep(self.endpoint.latency)
        with suppress(ConnectionError):  # who asked may have gone
            self._send(reply)

    def log_message(self, format: str, *args: object) -> None:
        """Tells nothing: a request may hold what is harmful to read."""

    def _send(self, reply: Reply) -> None:
        if reply.end == "hang":
            self.connection.recv(1)  # until who asked has gone
            self.close_connection = True
            return
        self.send_response(reply.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(reply.body)))
        if reply.retry_after:
            self.send_header("Retry-After", reply.retry_after)
        self.end_headers()
        if reply.end == "cut":
            self.wfile.write(reply.body[: len(reply.body) // 2])
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        self.wfile.write(reply.body)
