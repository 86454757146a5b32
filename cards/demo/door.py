"""What may be sent to the page: what the page itself sends, no more of it than needed, and so often an address.

Gradio alone takes bodies of any length, files without number, and calls of the page's own events past its queue; what
does not fit them it writes, with what was sent, into the log.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any, NamedTuple

from settings import DemoError
from visitors import RateLimit, address_of

JOIN, UPLOAD, OTHERS = "/gradio_api/queue/join", "/gradio_api/upload", ("/gradio_api/cancel", "/gradio_api/reset")
_READING = ("GET", "HEAD", "OPTIONS")
_MOST_BYTES = 2**17
"""Of what is no upload: a question of the most letters that may be typed, whatever they are, and little else."""
_FRAME = 2**12
"""Bytes around a file that is uploaded."""
_LONGEST_NAME = 64
"""Letters of a session's name, which whoever asks chooses."""
CALLS, UPLOADS, ALL_UPLOADS = 600, 20, 60
"""In a minute: calls and uploads of one address, and uploads of all, whose files lie here for some minutes."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


class Event(NamedTuple):
    """What an event of the page is sent.

    Attributes:
        fits: for each of its values, whether one could be.
        told: it is also told what happened, as which picture was clicked.
    """

    fits: Sequence[Callable[[object], bool]]
    told: bool


class Page(NamedTuple):
    """What a page sends.

    Attributes:
        events: by their numbers.
        parts: numbers of the parts of the page, which begin events.
    """

    events: Mapping[int, Event]
    parts: frozenset[int]


def page_of(blocks: Any) -> Page:
    """What Gradio's page of these blocks sends."""
    events = {
        number: Event([_fits(part) for part in event.inputs], bool(event.collects_event_data))
        for number, event in blocks.fns.items()
    }
    targets = {part for event in blocks.fns.values() for part, _ in event.targets if part is not None}
    return Page(events, frozenset(targets))


def _fits(part: Any) -> Callable[[object], bool]:
    """Whether a browser could send a value of a part: what Gradio refuses itself, it writes into the log."""
    kind = part.get_block_name()
    if kind == "state":
        return lambda _: True  # what is sent for it is not looked at
    if kind == "uploadbutton":
        return lambda sent: sent is None or (isinstance(sent, dict) and isinstance(sent.get("path"), str))
    if kind in ("dropdown", "radio"):
        values = [value for _, value in part.choices]
        return lambda sent: sent is None or sent in values
    return lambda sent: sent is None or isinstance(sent, str)


class _RefusedError(Exception):
    """What is sent goes no further: a status, and why."""


class Door:
    """An ASGI application before another: what is no visitor's ends here, as an error of the client."""

    def __init__(self, app: Application, page: Page, megabytes: int, behind: bool) -> None:
        """Stands before `app`.

        Args:
            app: what is behind it.
            page: what may be sent to its queue.
            megabytes: the most of one upload.
            behind: a proxy stands before, as on the Hub, and says whose request it is.
        """
        self._app, self._page, self._behind = app, page, behind
        self._most = {JOIN: _MOST_BYTES, UPLOAD: megabytes * 2**20 + _FRAME, **dict.fromkeys(OTHERS, _MOST_BYTES)}
        self._calls = RateLimit(CALLS, "{most} clicks came from your address within a minute. Go on in {wait} s.")
        self._uploads = RateLimit(UPLOADS, "{most} files came from your address within a minute. Go on in {wait} s.")
        self._all = RateLimit(ALL_UPLOADS, "{most} files came from all visitors within a minute. Go on in {wait} s.")

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answers a request, or hands it on with the address of who asks in place of the proxy's."""
        if scope["type"] != "http" or scope["method"] in _READING:
            await self._app(scope, receive, send)
            return
        told = [text.decode("latin-1") for name, text in scope["headers"] if name == b"x-forwarded-for"]
        address = address_of((scope.get("client") or ("",))[0], ",".join(told), self._behind)
        path = scope["path"].rstrip("/")
        try:
            body = await self._body(path, receive, address)
        except _RefusedError as error:
            status, why = error.args
            # So the page shows both: of an upload it takes the whole text, of a call what stands under this key.
            await _refuse(send, status, why if path == UPLOAD else json.dumps({"detail": why}))
            return
        await self._app({**scope, "client": (address, 0)}, _again(body, receive), send)

    async def _body(self, path: str, receive: Receive, address: str) -> bytes:
        """All that was sent, where it may be."""
        if path not in self._most:
            raise _RefusedError(404, "The page sends nothing there.")
        self._count(path, address)
        body = await _read(receive, self._most[path])
        if path == JOIN and (problem := _problem(body, self._page)):
            raise _RefusedError(422, f"The page sends no such thing: {problem}. Load it anew.")
        return body

    def _count(self, path: str, address: str) -> None:
        now = time.monotonic()
        try:
            if path != UPLOAD:
                self._calls.ask(address, now)
                return
            self._uploads.ask(address, now)
            self._all.ask("all", now)
        except DemoError as error:
            raise _RefusedError(429, str(error)) from error


async def _read(receive: Receive, most: int) -> bytes:
    """The whole body before anything of it goes on: a file that breaks off would lie here for good."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise _RefusedError(400, "It broke off.")
        body += message.get("body", b"")
        if len(body) > most:
            raise _RefusedError(413, f"This exceeds the maximum allowed size of {most} bytes.")
        if not message.get("more_body"):
            return bytes(body)


def _problem(body: bytes, page: Page) -> str:
    """What in a call of an event is none of the page's; empty where it is one."""
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        return "it is no JSON"
    if not isinstance(told, dict):
        return "it is no object"
    number, sent, session = told.get("fn_index"), told.get("data"), told.get("session_hash")
    if type(number) is not int or number not in page.events:
        return "fn_index is no event"
    if not isinstance(session, str) or not 0 < len(session) <= _LONGEST_NAME:
        return f"session_hash is no text of 1 to {_LONGEST_NAME} letters"
    event, part = page.events[number], told.get("trigger_id")
    if (part is not None and (type(part) is not int or part not in page.parts)) or told.get("batched"):
        return "trigger_id begins no event, or batched is set"
    if event.told and not _plain(told.get("event_data")):
        return "event_data is no object of plain values"
    if not isinstance(sent, list) or len(sent) != len(event.fits):
        return f"data is no list of {len(event.fits)}"
    wrong = [str(place) for place, (one, fits) in enumerate(zip(sent, event.fits, strict=True)) if not fits(one)]
    return f"data[{wrong[0]}] does not fit" if wrong else ""


def _plain(told: object) -> bool:
    """Whether it is an object of words and numbers: in what is deeper, Gradio looks for files."""
    return isinstance(told, dict) and all(one is None or isinstance(one, str | int | float) for one in told.values())


def _again(body: bytes, receive: Receive) -> Receive:
    """Gives a body that was read, then what comes after it."""
    left = [body]

    async def give() -> Message:
        if left:
            return {"type": "http.request", "body": left.pop(), "more_body": False}
        return await receive()

    return give


async def _refuse(send: Send, status: int, told: str) -> None:
    body = told.encode()
    kind = b"application/json" if told.startswith("{") else b"text/plain; charset=utf-8"
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
