"""A Hub on loopback that serves dataset repositories from memory: just what `download` asks for."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import unquote

COMMITS = {"Tuwhy/MIS_Train": "66e984f" + "1" * 33, "Tuwhy/MIS_Test": "c147ae2" + "2" * 33}


class Reply(NamedTuple):
    """What is sent; half of it only, where `end` says how the connection ends then."""

    status: int
    body: bytes
    headers: dict[str, str]
    end: str = ""


class LoopbackHub:
    """What it serves and what it was asked. Zips lie in LFS, all else in git.

    Attributes:
        files: repository -> path -> bytes.
        commits: repository -> its one commit.
        branches: names that every repository knows its commit by, beside the beginnings of the commit.
        faults: path -> what goes wrong with it: a status such as ``"503"``; ``"other bytes"`` of the same length;
            ``"no etag"``; ``"closed"`` or ``"reset"``, how the connection ends half way, once. For all paths ``""``
            stands: ``"no json"``, a page of something else.
        xet: whether zips are stored by Xet, as on the real Hub.
        asked: lines such as ``"GET /datasets/..."``, in order, with the range where one was asked for.
        tokens: what it was given for authorization.
    """

    def __init__(self, files: dict[str, dict[str, bytes]]) -> None:
        self.files = files
        self.commits = dict(COMMITS)
        self.branches: set[str] = set()
        self.faults: dict[str, str] = {}
        self.xet = False
        self.asked: list[str] = []
        self.tokens: set[str] = set()
        self.url = ""

    def fetched(self) -> list[str]:
        """Paths whose bytes were asked for, in order."""
        lines = [line.split() for line in self.asked]
        return [line[1].split("/", 6)[6] for line in lines if line[0] == "GET" and "/resolve/" in line[1]]

    @contextmanager
    def running(self) -> Iterator[LoopbackHub]:
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

    def reply(self, path: str, method: str, start: int) -> Reply:
        """What a path is, from a byte on."""
        if self.faults.get("") == "no json":
            return Reply(200, b"<p>Welcome to our WLAN</p>", {})
        for repository, held in self.files.items():
            commit = self.commits[repository]
            if path.startswith(f"/api/datasets/{repository}/revision/"):
                return self._revision(repository, path.rsplit("/", 1)[1])
            if path == f"/api/datasets/{repository}/tree/{commit}":
                return Reply(200, json.dumps([self._entry(name, held[name]) for name in held]).encode(), {})
            if path == f"/api/datasets/{repository}/xet-read-token/{commit}":
                end = str(int(time.time()) + 3600)
                words = {"X-Xet-Cas-Url": self.url, "X-Xet-Access-Token": "xet_secret", "X-Xet-Token-Expiration": end}
                return Reply(200, b"", words)
            for name in held if path.startswith(("/v1/reconstructions/", "/xorbs/")) else ():
                if path.endswith(_sha256(held[name])):
                    return self._xet(path, name, held[name])
            name = unquote(path.removeprefix(f"/datasets/{repository}/resolve/{commit}/"))
            if name in held:
                return self._file(name, held[name], commit, method, start)
            if path.startswith(f"/datasets/{repository}/resolve/"):
                return Reply(404, b"", {"X-Error-Code": "EntryNotFound"})
        return Reply(404, b"", {"X-Error-Code": "RepoNotFound"})

    def _revision(self, repository: str, revision: str) -> Reply:
        commit = self.commits[repository]
        if not commit.startswith(revision) and revision not in self.branches:
            return Reply(404, b"", {"X-Error-Code": "RevisionNotFound"})
        info = {"_id": "1", "id": repository, "sha": commit, "private": False, "siblings": [], "tags": []}
        return Reply(200, json.dumps(info).encode(), {})

    def _entry(self, name: str, held: bytes) -> dict[str, Any]:
        """One line of a tree. Source of the keys: huggingface_hub's `RepoFile`."""
        entry: dict[str, Any] = {"type": "file", "path": name, "size": len(held), "oid": _git_hash(held)}
        if name.endswith(".zip"):
            digest = _sha256(held)
            pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(held)}\n".encode()
            entry["oid"] = _git_hash(pointer)
            entry["lfs"] = {"oid": digest, "size": len(held), "pointerSize": len(pointer)}
            entry |= {"xetHash": digest} if self.xet else {}
        return entry

    def _file(self, name: str, held: bytes, commit: str, method: str, start: int) -> Reply:
        fault = self.faults.get(name, "")
        if fault.isdigit():
            return Reply(int(fault), b"", {})
        etag = _sha256(held) if name.endswith(".zip") else _git_hash(held)
        headers = {"X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        headers |= {"ETag": f'"{etag}"'} if fault != "no etag" else {}
        body = self._bytes(name, held)
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        end = self.faults.pop(name) if fault in ("closed", "reset") and method == "GET" else ""
        return Reply(206 if start else 200, body[start:], headers, end)

    def _xet(self, path: str, name: str, held: bytes) -> Reply:
        """How a file is put together, of one block, or that block: chunks with a header each.

        Source: https://huggingface.co/docs/xet, and what hf_xet 1.8 reads.
        """
        if self.faults.get(name, "").isdigit():
            return Reply(int(self.faults[name]), b"", {})
        body = self._bytes(name, held)
        parts = [body[start : start + 2**16] for start in range(0, len(body), 2**16)]
        block = b"".join(bytes([0, *(length := len(part).to_bytes(3, "little")), 0, *length]) + part for part in parts)
        if path.startswith("/xorbs/"):
            return Reply(206, block, {"Content-Range": f"bytes 0-{len(block) - 1}/{len(block)}"})
        digest, chunks = _sha256(held), {"start": 0, "end": len(parts)}
        place = {"range": chunks, "url": f"{self.url}/xorbs/{digest}", "url_range": {"start": 0, "end": len(block) - 1}}
        term = {"hash": digest, "unpacked_length": len(body), "range": chunks}
        whole = {"offset_into_first_range": 0, "terms": [term], "fetch_info": {digest: [place]}}
        return Reply(200, json.dumps(whole).encode(), {})

    def _bytes(self, name: str, held: bytes) -> bytes:
        return bytes(len(held)) if self.faults.get(name) == "other bytes" else held


def _sha256(held: bytes) -> str:
    return hashlib.sha256(held).hexdigest()


def _git_hash(held: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(held) + held).hexdigest()


def _handler(hub: LoopbackHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._send()

        def do_HEAD(self) -> None:
            self._send()

        def _send(self) -> None:
            wanted = self.headers.get("Range", "")
            token = self.headers.get("Authorization", "")
            hub.asked.append(f"{self.command} {self.path} {wanted}".strip())
            hub.tokens.add(token)
            start = int(wanted.removeprefix("bytes=").split("-")[0] or 0)
            reply = hub.reply(self.path.split("?")[0], self.command, start)
            self.send_response(reply.status)
            # A Hub that tells what it was given, which no message of ours may repeat.
            told = {"X-Error-Message": f"{token} is not allowed"} if reply.status >= 400 else {}
            for name, value in {"Content-Length": str(len(reply.body)), **reply.headers, **told}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(reply.body[: len(reply.body) // 2] if reply.end else reply.body)
            if reply.end:
                self._end(reply.end)

        def _end(self, how: str) -> None:
            self.close_connection = True
            if how == "reset":
                # Linger for no time: the kernel then sends a reset instead of an orderly end.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                os.close(self.connection.detach())

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: `asked` has it."""

    return Handler
