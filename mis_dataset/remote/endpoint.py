"""One try of one request: the only file that knows `openai`, the extra `remote`, and the HTTP client it brings."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import cycle
from math import ceil

import httpx2
import openai

from mis_dataset.errors import UsageError
from mis_dataset.remote.faults import Fault, status_fault
from mis_dataset.remote.messages import Reply
from mis_dataset.remote.replies import ReplyError, read_picture, read_reply
from mis_dataset.remote.settings import Key, Settings

MOST_REPLY_BYTES = 2**20
"""Of a reply, errors included: what is larger is not read further."""
MOST_PICTURE_BYTES = 64 * 2**20
"""The same of a reply with a picture, in base64."""
_TEXTS, _PICTURES = "/chat/completions", "/images/generations"
_JOINED_BYTES = 2**20
"""Up to here a body is one piece: a copy costs less than a second write."""
_PIECE_BYTES = 2**18
_A_POOL = 8
"""Connections that one pool keeps: for every call it looks at all that it has."""
_LEAST_KEY = 12
"""Letters of a key that is worth hiding: endpoints that want none are given any word, which texts may hold."""
_CONNECTION_ERRORS = (httpx2.TransportError, ssl.SSLError, OSError)


class TooLargeError(Exception):
    """A reply that is not read to its end."""


class EncodedError(Exception):
    """A reply that is compressed, though none was asked for: how large it would become is not known."""


class Endpoint:
    """An OpenAI-compatible endpoint. To be used within one event loop.

    The loggers of `openai` and its HTTP client are set to warnings: below that they tell of headers and addresses.

    Raises:
        UsageError: The environment names a proxy that is none.
    """

    def __init__(self, settings: Settings, key: Key) -> None:
        for name in ("openai", "httpx2", "httpcore2"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self._settings = settings
        certificates = httpx2.create_ssl_context()
        try:
            pools = [_pool(settings, certificates) for _ in range(ceil(settings.in_flight / _A_POOL))]
        except (ValueError, httpx2.InvalidURL):
            # Which may hold a password.
            raise UsageError("HTTP_PROXY, HTTPS_PROXY or ALL_PROXY holds no address of a proxy; correct it") from None
        client = openai.AsyncOpenAI(api_key=key.text, base_url=settings.base_url, http_client=pools[0])
        # Its headers, not its `post`, which takes longer than all else of a call. Tries are counted in one place, ours.
        told = {name: value for name, value in client.default_headers.items() if isinstance(value, str)}
        self._urls = {path: httpx2.URL(settings.base_url.rstrip("/") + path) for path in (_TEXTS, _PICTURES)}
        self._headers = httpx2.Headers(
            {
                **pools[0].headers,
                **told,
                "Authorization": f"Bearer {key.text}",
                "Content-Type": "application/json",
                # What a megabyte unpacks to has no bound.
                "Accept-Encoding": "identity",
                "Host": self._urls[_TEXTS].netloc.decode("ascii"),
            }
        ).raw
        self._pools, self._turns = pools, cycle(pools)
        self._key = key.text.encode()

    async def post(self, body: deque[bytes], drawn: bool = False) -> Reply | Fault:
        """Sends one request.

        Args:
            body: in pieces; empty afterwards, so that what was sent is not held while its reply is awaited.
            drawn: whether it asks for a picture.

        Returns:
            The reply, or what went wrong.

        Raises:
            RemoteError: Every further request would fail the same.
        """
        try:
            async with asyncio.timeout(self._settings.timeout):
                received = await self._send(body, _PICTURES if drawn else _TEXTS)
        except TimeoutError:
            return Fault(f"no reply within {self._settings.timeout:g} s", counted=True)
        except _CONNECTION_ERRORS as error:
            return self._connection_fault(error)
        except TooLargeError:
            most = MOST_PICTURE_BYTES if drawn else MOST_REPLY_BYTES
            return Fault(f"the reply has more than {most} bytes", again=False, counted=True)
        except EncodedError:
            return Fault("the reply is compressed, though none was asked for", again=False, counted=True)
        if received.status_code >= 300:
            return status_fault(received.status_code, dict(received.headers), received.content, self._settings)
        try:
            reply = (read_picture if drawn else read_reply)(self._without_key(received.content))
        except ReplyError as error:
            return Fault(str(error), counted=True)
        # Once more, as JSON can write any letter in other ways.
        text, model = (self._without_key(told.encode()).decode() for told in (reply.text, reply.model))
        return replace(reply, text=text, model=model)

    async def close(self) -> None:
        """Closes all connections."""
        for pool in self._pools:
            await pool.aclose()

    def _without_key(self, body: bytes) -> bytes:
        """A reply as it is kept and shown: an endpoint that repeats its key writes it into no file of ours."""
        return body if len(self._key) < _LEAST_KEY else body.replace(self._key, b"[key]")

    async def _send(self, body: deque[bytes], path: str) -> httpx2.Response:
        # Made once, not merged from parts for every call, which takes as long as all that follows.
        request = httpx2.Request(
            "POST",
            self._urls[path],
            headers=[*self._headers, (b"Content-Length", b"%d" % sum(map(len, body)))],
            stream=_Body(body),
        )
        return await next(self._turns).send(request)

    def _connection_fault(self, cause: Exception) -> Fault:
        if isinstance(cause, httpx2.TimeoutException):
            unreachable = isinstance(cause, httpx2.ConnectTimeout)
            reason = f"no reply within {self._settings.timeout:g} s"
            return Fault(reason, counted=not unreachable, unreachable=unreachable)
        if isinstance(cause, httpx2.ConnectError | httpx2.ProxyError):
            return Fault("no connection", unreachable=True)
        return Fault(f"the connection broke ({type(cause).__name__})", counted=True)


def _pool(settings: Settings, certificates: ssl.SSLContext) -> httpx2.AsyncClient:
    """Some of the connections. How many calls are under way is bounded by who makes them."""
    return openai.DefaultAsyncHttpxClient(
        verify=certificates,
        limits=httpx2.Limits(max_connections=settings.in_flight, max_keepalive_connections=_A_POOL),
        timeout=settings.timeout,
        # Neither pictures nor the key go where nobody told them to.
        follow_redirects=False,
        event_hooks={"response": [_bound]},
    )


class _Body(httpx2.AsyncByteStream):
    """A body that is sent once: in one piece, or where it is large bit by bit."""

    def __init__(self, pieces: deque[bytes]) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if sum(map(len, self._pieces)) <= _JOINED_BYTES:
            content = b"".join(self._pieces)
            self._pieces.clear()
            yield content
        while self._pieces:
            piece = memoryview(self._pieces.popleft())
            for start in range(0, len(piece), _PIECE_BYTES):
                yield bytes(piece[start : start + _PIECE_BYTES])


async def _bound(response: httpx2.Response) -> None:
    """Bounds what is read of a reply; called when its headers are there."""
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise EncodedError
    declared = response.headers.get("content-length", "")
    most = MOST_PICTURE_BYTES if response.request.url.path.endswith(_PICTURES) else MOST_REPLY_BYTES
    if declared.isdecimal() and int(declared) > most:
        raise TooLargeError
    assert isinstance(response.stream, httpx2.AsyncByteStream)
    response.stream = _Bounded(response.stream, most)


class _Bounded(httpx2.AsyncByteStream):
    """A stream that ends with an error where it would become too long."""

    def __init__(self, stream: httpx2.AsyncByteStream, most: int) -> None:
        self._stream = stream
        self._most = most

    async def __aiter__(self) -> AsyncIterator[bytes]:
        received = 0
        async for chunk in self._stream:
            received += len(chunk)
            if received > self._most:
                raise TooLargeError
            yield chunk

    async def aclose(self) -> None:
        """Closes the stream below."""
        await self._stream.aclose()
