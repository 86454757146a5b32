"""An OpenAI-compatible endpoint on loopback that does as it is told, request by request, and notes what it was asked.

    python -m tests.loopback_api --latency 0.2

serves from a process of its own until its stdin ends: prints its port first and how it was called last. It then reads
no body, so that it costs as little as possible.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, NamedTuple

_TAIL = 1024
KEY = "key-0f3c9a51d7"
"""What tests give for a key: found at once wherever it should not be."""


class Step(NamedTuple):
    """What becomes of one call.

    Attributes:
        status: of HTTP.
        body: None for a completion that says "about " and the last text of the request.
        headers: beside those that every reply has.
        wait: seconds before anything is sent; None for the latency of the endpoint.
        end: "" for a whole reply; "reset" before its first byte; "closed" or "broken", by an orderly end or a reset, in
            the middle of its body; "hang", nothing ever; "drip", a byte every 50 ms; "endless", chunks that never end.
    """

    status: int = 200
    body: bytes | None = None
    headers: Mapping[str, str] = MappingProxyType({})
    wait: float | None = None
    end: str = ""


class Call(NamedTuple):
    """One call that came in.

    Attributes:
        text: the last text of the request, or what is to be drawn.
        path: of its address.
        headers: by lower-case names.
        body: as it was sent.
        at: seconds of the monotonic clock.
    """

    text: str
    path: str
    headers: dict[str, str]
    body: bytes
    at: float


def completion(text: str | None, finish: object = "stop", usage: object = (10, 5), **message: Any) -> bytes:
    """The body of a chat completion."""
    counts = (
        dict(zip(("prompt_tokens", "completion_tokens"), usage, strict=True)) if isinstance(usage, tuple) else usage
    )
    said = {"role": "assistant", "content": text, **message}
    choices = [{"index": 0, "finish_reason": finish, "message": said}]
    return json.dumps({"id": "1", "model": "loopback-1", "choices": choices, "usage": counts}).encode()


def drawn(picture: bytes, **told: Any) -> bytes:
    """The body of a reply with a picture."""
    return json.dumps({"created": 1, "data": [{"b64_json": base64.b64encode(picture).decode()}], **told}).encode()


def error(code: str, text: str = "no") -> bytes:
    """The body of an error."""
    return json.dumps({"error": {"code": code, "message": text, "type": code}}).encode()


class LoopbackApi:
    """The endpoint.

    Attributes:
        plan: last text of a request -> what becomes of its calls, in order; once that is used up, `every`.
        every: what becomes of all other calls.
        decide: body of a request -> what becomes of it, in place of `plan` and `every`; an endpoint that keeps no notes
            gives it the last bytes alone, unless it was made to read `whole` bodies.
        latency: seconds before a reply.
        calls: all that came in.
        count: how many.
        most_in_flight: of them at once.
        sent: bytes of endless replies.
        url: for `Settings.base_url`.
    """

    def __init__(
        self,
        plan: Mapping[str, list[Step]] | None = None,
        latency: float = 0.0,
        notes: bool = True,
        whole: bool = False,
    ) -> None:
        self.plan = {text: list(steps) for text, steps in (plan or {}).items()}
        self.every = Step()
        self.decide: Callable[[bytes], Step] | None = None
        self.latency = latency
        self.calls: list[Call] = []
        self.count = self.most_in_flight = self.in_flight = self.sent = 0
        self.url = ""
        self._notes = notes
        self.reads_all = notes or whole

    @contextmanager
    def running(self) -> Iterator[LoopbackApi]:
        """Serves until the block ends."""
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        server = asyncio.run_coroutine_threadsafe(self.serve(), loop).result()
        try:
            yield self
        finally:
            asyncio.run_coroutine_threadsafe(_close(server), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    async def serve(self) -> asyncio.Server:
        """Begins to serve in the running loop."""
        server = await asyncio.get_running_loop().create_server(lambda: _Connection(self), "127.0.0.1", 0, backlog=1024)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        return server

    def texts(self) -> list[str]:
        """The last text of each call, in order."""
        return [call.text for call in self.calls]

    def begin(self, head: bytes, body: bytes) -> tuple[Step, str]:
        """Notes a call; returns what becomes of it, and its last text."""
        self.count += 1
        if not self._notes:
            return self.decide(body) if self.decide else self.every, ""
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        text = _last_text(json.loads(body))
        self.calls.append(Call(text, first.split(" ")[1], headers, body, time.monotonic()))
        if self.decide:
            return self.decide(body), text
        steps = self.plan.get(text)
        return (steps.pop(0) if steps else self.every), text


def _last_text(body: dict[str, Any]) -> str:
    if "messages" not in body:
        return str(body["prompt"])
    content = body["messages"][-1]["content"]
    texts = [content] if isinstance(content, str) else [part["text"] for part in content if part["type"] == "text"]
    return texts[-1] if texts else ""


async def _close(server: asyncio.Server) -> None:
    server.close()
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for connection in list(_Connection.opened):
        connection.abort()
    await asyncio.sleep(0)


class _Connection(asyncio.Protocol):
    """One connection: HTTP/1.1, one call after the other."""

    opened: set[_Connection] = set()  # noqa: RUF012 -- of all servers of this process

    def __init__(self, api: LoopbackApi) -> None:
        self._api = api
        self._received: list[bytes] = []
        self._head = b""
        self._missing = -1
        self._busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.opened.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.opened.discard(self)
        self._end()

    def abort(self) -> None:
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._missing < 0:
            self._head, found, rest = (self._head + data).partition(b"\r\n\r\n")
            if not found:
                return
            self._missing = int(self._head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            self._busy = True
            self._api.in_flight += 1
            self._api.most_in_flight = max(self._api.most_in_flight, self._api.in_flight)
            data = rest
        self._received.append(data if self._api.reads_all else data[-_TAIL:])
        self._missing -= len(data)
        if not self._missing:
            step, text = self._api.begin(self._head, b"".join(self._received))
            self._received, self._head, self._missing = [], b"", -1
            wait = self._api.latency if step.wait is None else step.wait
            asyncio.get_running_loop().call_later(wait, self._reply, step, text)

    def _reply(self, step: Step, text: str) -> None:
        if self._transport.is_closing() or step.end == "hang":
            return
        if step.end == "reset":
            return self._reset()
        body = completion(f"about {text}") if step.body is None else step.body
        if step.end == "endless":
            self._transport.write(_head(step, None))
            return self._write_on()
        self._transport.write(_head(step, len(body)))
        if step.end == "drip":
            return self._drip(body)
        if step.end in ("closed", "broken"):
            self._transport.write(body[: len(body) // 2])
            # The half is to arrive before the reset, which would else overtake it.
            asyncio.get_running_loop().call_later(0.05, self._reset if step.end == "broken" else self._transport.close)
            return None
        self._end()
        self._transport.write(body)
        return None

    def _end(self) -> None:
        self._api.in_flight -= self._busy
        self._busy = False

    def _reset(self) -> None:
        # Linger for no time: the kernel then sends a reset instead of an orderly end.
        self._transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        self._transport.abort()

    def _drip(self, body: bytes) -> None:
        if body and not self._transport.is_closing():
            self._transport.write(body[:1])
            asyncio.get_running_loop().call_later(0.05, self._drip, body[1:])

    def _write_on(self) -> None:
        if not self._transport.is_closing():
            if self._transport.get_write_buffer_size() < 2**16:
                self._transport.write(b"%x\r\n%s\r\n" % (2**16, b" " * 2**16))
                self._api.sent += 2**16
            asyncio.get_running_loop().call_later(0.001, self._write_on)


def _head(step: Step, length: int | None) -> bytes:
    size = {"Transfer-Encoding": "chunked"} if length is None else {"Content-Length": str(length)}
    headers = {"Content-Type": "application/json", **size, **step.headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {step.status} .\r\n{lines}\r\n".encode()


async def serve_alone(api: LoopbackApi) -> None:
    """Serves until stdin ends: prints the address, then how it was called."""
    server = await api.serve()
    print(api.url, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()
    print(json.dumps({"calls": api.count, "most_in_flight": api.most_in_flight}), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.loopback_api")
    parser.add_argument("--latency", type=float, default=0.0)
    asyncio.run(serve_alone(LoopbackApi(latency=parser.parse_args().latency, notes=False)))
