"""A Hub on loopback that can be written to, and fails as planned."""

from __future__ import annotations

import os
import re
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

from tests.loopback_repos import Repo
from tests.loopback_routes import ROUTES, USERS, Call, Fault, Held, Reply


@dataclass
class WritableHub(Held):
    """What it holds, what it was asked, and what is going to go wrong.

    Attributes:
        faults: what goes wrong, the first that fits.
        asked: lines such as ``"PUT /lfs/..."``, in order.
        held: set while a request waits.
        go: set it, and the request goes on.
    """

    faults: list[Fault] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    held: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[WritableHub]:
        """Serves until the block ends."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        server.daemon_threads = True
        self.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.go.set()
            server.shutdown()
            server.server_close()
            thread.join()

    def dataset(self, repo: str) -> Repo:
        """A dataset of that name."""
        return self.repos["datasets", repo]

    def space(self, repo: str) -> Repo:
        """A Space of that name."""
        return self.repos["spaces", repo]

    def writes(self) -> list[str]:
        """What was asked for that changes something, without checks of what is there."""
        quiet = re.compile(r"GET|HEAD|POST .*(/preupload/|/validate-yaml|/paths-info/|/objects/batch)")
        return [line for line in self.asked if not quiet.match(line)]

    def fault(self, method: str, path: str) -> Fault | None:
        """The fault of a request, which is then spent."""
        for fault in self.faults:
            if fault.times and fault.method == method and re.search(fault.path, path):
                fault.times -= 1
                return fault
        return None

    def reply(self, method: str, address: str, body: bytes, token: str, fault: Fault | None) -> Reply:
        """What a request comes to."""
        parts = urlsplit(address)
        if token and token not in USERS:
            words = "Invalid credentials in Authorization header"
            return Reply(401, b"{}", {"X-Error-Message": words})
        if fault and fault.how.isdigit():
            return Reply(int(fault.how), b"{}", {"X-Error-Message": f"{token} is not allowed", **fault.headers})
        for wanted, pattern, serve in ROUTES:
            found = re.fullmatch(pattern, unquote(parts.path)) if method in wanted.split() else None
            if found:
                call = Call(found.groupdict(), parse_qs(parts.query), body, token, method, fault)
                return serve(self, call)
        return Reply(404, b"{}")


def _handler(hub: WritableHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # One packet an answer: else each waits for the receipt of its headers.
        wbufsize = 2**16
        disable_nagle_algorithm = True

        def _serve(self) -> None:
            hub.asked.append(f"{self.command} {self.path}")
            fault = hub.fault(self.command, self.path)
            how = fault.how if fault else ""
            length = int(self.headers.get("Content-Length") or 0)
            if how == "drop":
                self.rfile.read(length // 2)
                return self._end()
            body = self._chunks() if "chunked" in self.headers.get("Transfer-Encoding", "") else self.rfile.read(length)
            if how == "hold":
                hub.held.set()
                hub.go.wait(60)
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            reply = hub.reply(self.command, self.path, body, token, fault)
            return self._end() if how == "lost" else self._answer(reply)

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = _serve  # noqa: N815 - the names that http.server calls

        def _answer(self, reply: Reply) -> None:
            start, end = self._range(len(reply.body)) if reply.status == 200 else (0, len(reply.body))
            part = reply.body[start:end]
            headers = {"Content-Length": str(len(part)), "Accept-Ranges": "bytes", **reply.headers}
            if len(part) != len(reply.body):
                headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(reply.body)}"
            self.send_response(206 if "Content-Range" in headers else reply.status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(part)

        def _range(self, size: int) -> tuple[int, int]:
            found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            return (int(found[1]), min(size, int(found[2] or size - 1) + 1)) if found else (0, size)

        def _chunks(self) -> bytes:
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def _end(self) -> None:
            """Ends the connection with a reset instead of an orderly end."""
            self.close_connection = True
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.connection.detach())

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: `asked` has it."""

    return Handler
