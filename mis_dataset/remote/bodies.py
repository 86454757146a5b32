"""Request -> the body that is sent, and the key by which its reply is kept.

Each picture is encoded once, whichever and however many requests show it, and bodies are put together from encoded
parts: writing JSON around pictures again and again is what else keeps a core busy.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import threading
from collections import OrderedDict, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple
from urllib.parse import urlsplit

from mis_dataset.decoding import UNREADABLE, open_picture, shrink
from mis_dataset.errors import PictureError
from mis_dataset.remote.messages import Request
from mis_dataset.remote.settings import Settings

_TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "MPO": "image/jpeg", "WEBP": "image/webp", "GIF": "image/gif"}
"""By what Pillow calls a format. Source: what OpenAI's guide to vision says it takes; an MPO is a JPEG."""
_KEPT_BYTES = 128 * 2**20


class Asked(NamedTuple):
    """A request with what is known of it before it is sent.

    Attributes:
        request: itself.
        hashes: sha256 of its pictures, in order.
        key: by which its reply is kept.
    """

    request: Request
    hashes: tuple[str, ...]
    key: str


def prepare(request: Request, settings: Settings) -> Asked:
    """Hashes a request.

    Args:
        request: what is asked.
        settings: how.

    Returns:
        It, with a key that is the sha256 of all that the reply hangs on: address, model, texts, pictures, their largest
        side, sampling and version, or the size of a picture. Neither texts nor pictures can be had back from it.
    """
    parts = [
        {"text": part} if isinstance(part, str) else {"sha256": hashlib.sha256(part).hexdigest()}
        for part in request.parts
    ]
    hashes = tuple(part["sha256"] for part in parts if "sha256" in part)
    about = {
        "host": urlsplit(settings.base_url).netloc.lower(),
        "path": urlsplit(settings.base_url).path.rstrip("/"),
        "model": settings.model,
        "version": settings.version,
        "sampling": _drawn(request, settings) if request.size else settings.sampling(),
        "image_max_side": settings.image_max_side if hashes else None,
        "system": request.system,
        "parts": parts,
    }
    canonical = json.dumps(about, sort_keys=True, separators=(",", ":"))
    return Asked(request, hashes, hashlib.sha256(canonical.encode()).hexdigest())


def _drawn(request: Request, settings: Settings) -> dict[str, object]:
    """What a picture hangs on beside its text; the seed too where it is not sent."""
    return {**settings.drawing(request.seed), "size": request.size, "wanted": request.seed}


class DataUrls:
    """Data URLs of pictures, each made once, in threads; the ones used last are kept.

    Attributes:
        made: how many were made.
    """

    def __init__(self, side: int | None, most: int = _KEPT_BYTES) -> None:
        self.made = 0
        self._side = side
        self._most = most
        self._held: OrderedDict[str, Future[bytes]] = OrderedDict()
        self._bytes = 0
        # One that a callback may enter again: what is done at once calls back at once.
        self._lock = threading.RLock()
        self._threads = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="pictures")

    def get(self, sha256: str, picture: bytes) -> Future[bytes]:
        """The data URL of a picture, in ASCII.

        Args:
            sha256: of the picture.
            picture: its bytes.

        Returns:
            The URL to come; `PictureError` where it is no picture that can be sent.
        """
        with self._lock:
            if sha256 in self._held:
                self._held.move_to_end(sha256)
                return self._held[sha256]
            self.made += 1
            url = self._held[sha256] = self._make(picture)
            url.add_done_callback(lambda made: self._weigh(sha256, made))
            return url

    def _make(self, picture: bytes) -> Future[bytes]:
        # Making it smaller leaves the interpreter to others and is slow; encoding does not, and a thread that does
        # nothing else would only get in the way.
        if self._side:
            return self._threads.submit(data_url, picture, self._side)
        made: Future[bytes] = Future()
        try:
            made.set_result(data_url(picture, None))
        except PictureError as error:
            made.set_exception(error)
        return made

    def close(self) -> None:
        """Ends the threads; nothing can be made afterwards."""
        self._threads.shutdown(cancel_futures=True)

    def _weigh(self, sha256: str, made: Future[bytes]) -> None:
        """Counts the bytes of a new one, and drops those used longest ago where they are too many."""
        with self._lock:
            if made.cancelled() or made.exception():
                del self._held[sha256]
                return
            self._bytes += len(made.result())
            while self._bytes > self._most:
                # The new one is done, so there is one; and the one used longest ago nearly always is.
                oldest = next(name for name, url in self._held.items() if url.done())
                self._bytes -= len(self._held.pop(oldest).result())


def data_url(picture: bytes, side: int | None = None) -> bytes:
    """Encodes one picture, its bytes as they are where `side` is None.

    Args:
        picture: bytes of an intact PNG, JPEG, WEBP or GIF.
        side: pixels; a larger picture is made smaller.

    Returns:
        ``data:image/png;base64,...`` in ASCII.

    Raises:
        PictureError: It is none, or in a format that endpoints do not take.
    """
    # Sent once and stored nowhere: compressing well would take most of the time.
    smaller = shrink(picture, side, quick=True) if side else picture
    try:
        with open_picture(smaller) as opened:
            kind = opened.format or ""
    except UNREADABLE as error:
        raise PictureError("is not an intact picture") from error
    if kind not in _TYPES:
        raise PictureError(f"is a {kind}; endpoints take PNG, JPEG, WEBP and GIF")
    return f"data:{_TYPES[kind]};base64,".encode() + base64.b64encode(smaller)


def pieces(asked: Asked, settings: Settings, urls: Iterator[bytes]) -> deque[bytes]:
    """The body of a request, in pieces.

    Args:
        asked: the request.
        settings: how it is asked.
        urls: the data URLs of its pictures, in order.

    Returns:
        UTF-8 of a JSON object as OpenAI's API takes it for chat completions, or for pictures, cut anywhere.
    """
    request = asked.request
    if request.size:
        drawn: dict[str, object] = {"model": settings.model, "prompt": request.parts[0], "size": request.size}
        drawn |= settings.drawing(request.seed)
        return deque([json.dumps(drawn, separators=(",", ":")).encode()])
    head = json.dumps({"model": settings.model, **settings.sampling()}, separators=(",", ":"))[:-1] + ',"messages":['
    if request.system:
        head += json.dumps({"role": "system", "content": request.system}) + ","
    body = deque([head.encode()])
    if len(request.parts) == 1 and isinstance(request.parts[0], str):
        # Endpoints without pictures often take no list.
        body.append(json.dumps({"role": "user", "content": request.parts[0]}).encode())
    else:
        body.append(b'{"role":"user","content":[')
        for place, part in enumerate(request.parts):
            body.append(b"," if place else b"")
            body.extend(_part(part, urls))
        body.append(b"]}")
    body.append(b"]}")
    return body


def _part(part: str | bytes, urls: Iterator[bytes]) -> tuple[bytes, ...]:
    if isinstance(part, str):
        return (json.dumps({"type": "text", "text": part}).encode(),)
    # Base64 holds nothing that JSON escapes.
    return b'{"type":"image_url","image_url":{"url":"', next(urls), b'"}}'
