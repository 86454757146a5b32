"""The one client for remote models, behind any OpenAI-compatible endpoint: judges, responses, construction.

    settings = Settings("some-model", version=JUDGE_VERSION, in_flight=64, budget=Budget(calls=3000))
    for id, reply in ask(requests, settings, Path("runs/replies.sqlite")):
        ...

    with Client(settings, Path("runs/replies.sqlite")) as client:  # where one reply decides what is asked next
        reply = client.ask(request)

Never more requests are under way than asked for, only what can pass is tried again, and every reply is on the disk
before it is handed over: a second run of the same requests makes no call.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import AbstractAsyncContextManager, ExitStack, nullcontext
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from mis_dataset.errors import BudgetError, MISError, RemoteError, UsageError
from mis_dataset.remote.bodies import Asked, prepare
from mis_dataset.remote.budget import Meter
from mis_dataset.remote.cache import Cache
from mis_dataset.remote.messages import Failure, Reply, Request, priced
from mis_dataset.remote.settings import Key, Settings

if TYPE_CHECKING:
    from mis_dataset.remote.calls import Calls

Made = TypeVar("Made")
_AHEAD = 8
"""Requests that are made ready while those before them are under way."""


def ask(
    requests: Iterable[Request],
    settings: Settings,
    cache: Path,
    meter: Meter | None = None,
) -> Iterator[tuple[str, Reply | Failure]]:
    """Asks a remote model.

    Args:
        requests: what to ask; drawn one by one, as there is room for them. No id twice.
        settings: how to ask.
        cache: file of the replies so far; made where it is missing.
        meter: told what the calls use, those of tries that failed too; the budget is that of all runs that share one.

    Returns:
        (id, what came of it) of every request, as they end. A failure is among them; a request that failed is asked
        again by the next run. Whoever stops drawing gives up the requests that are under way.

    Raises:
        UsageError: The key is missing, or the extra that this needs; before anything is asked.
        CacheError: The cache cannot be used; at the first draw, or when a reply cannot be kept.
        RemoteError: Every further request would fail the same. Replies that were under way are handed over first.
        BudgetError: The budget is used up. What was paid for, and what the cache has, is handed over first.
        ValueError: An id comes twice.
    """
    return _told(requests, settings, _ready(settings), cache, meter or Meter())


class Client:
    """One remote model that is asked one request after the other, by as many threads as like; a context manager.

    Args:
        settings: how to ask.
        cache: file of the replies so far; made where it is missing.
        meter: as `ask` takes it.
        loop: that its calls run in, of clients that are used at once; one of its own where it is None.
        replay: whether nothing is asked, and what failed fails for the reason of its last try.

    Raises:
        UsageError: The key is missing, or the extra that this needs; a replay needs neither.
        CacheError: The cache cannot be used; when the block begins.
    """

    def __init__(
        self,
        settings: Settings,
        cache: Path,
        meter: Meter | None = None,
        loop: Loop | None = None,
        replay: bool = False,
    ) -> None:
        self.settings = settings
        self._about = (None if replay else _ready(settings), cache, meter or Meter())
        self._loop = loop
        self._opened = ExitStack()
        self._under_way: _UnderWay | None = None

    def __enter__(self) -> Client:
        key, path, meter = self._about
        with ExitStack() as opened:
            self._cache = opened.enter_context(Cache(path))
            if key is not None:
                loop = self._loop or opened.enter_context(Loop())
                self._under_way = opened.enter_context(_UnderWay(self.settings, key, self._cache, meter, loop))
            self._opened = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def ask(self, request: Request) -> Reply | Failure:
        """Waits for what comes of a request: from the cache where it is there.

        Args:
            request: what to ask; its id is told in errors alone, and may come again.

        Raises:
            RemoteError: Every further request would fail the same; of a replay, this was never asked.
            BudgetError: The budget is used up.
            CacheError: The reply cannot be read or kept, also where the block had ended before.
            CancelledError: The block ended meanwhile.
        """
        asked = prepare(request, self.settings)
        told = self._cache.get(asked.key) or self._reply_to(asked)
        return told if isinstance(told, Failure) else priced(told, self.settings.prices)

    def _reply_to(self, asked: Asked) -> Reply | Failure:
        """What comes of a request whose reply is not there."""
        if self._under_way is not None:
            told = self._under_way.reply_to(asked)
            if isinstance(told, Failure):
                self._cache.put_failure(asked.key, told)
            return told
        failure = self._cache.failure(asked.key)
        if failure is None:
            text = f"{self.settings.model} was never asked this about {asked.request.id}, or with other settings"
            raise RemoteError(f"{self._cache.path}: {text}; run it without a replay")
        return failure


def _ready(settings: Settings) -> Key:
    """The key of an endpoint, once all is there that asking needs."""
    key = settings.key()
    for name in ("openai", "httpx2"):  # not imported before something is asked: it takes a second
        if find_spec(name) is None:
            raise UsageError(f"remote models need {name}; pip install 'mis-dataset[remote]'")
    return key


def _told(
    requests: Iterable[Request], settings: Settings, key: Key, cache: Path, meter: Meter
) -> Iterator[tuple[str, Reply | Failure]]:
    """Opens all that a run needs."""
    with Cache(cache) as kept, Loop() as loop, _UnderWay(settings, key, kept, meter, loop) as under_way:
        yield from _Run(settings, kept, under_way).through(requests)


class _Run:
    """What one run is waiting for."""

    def __init__(self, settings: Settings, cache: Cache, under_way: _UnderWay) -> None:
        self._settings = settings
        self._cache = cache
        self._under_way = under_way
        self._waiting: dict[str, list[str]] = {}  # key of what is asked -> ids that want the reply
        self._left = 0
        self._stop: MISError | None = None

    def through(self, requests: Iterable[Request]) -> Iterator[tuple[str, Reply | Failure]]:
        seen: set[str] = set()
        for request in requests:
            if request.id in seen:
                raise ValueError(f"{request.id}: comes twice in one run")
            seen.add(request.id)
            yield from self._begin(request)
            while len(self._waiting) >= self._settings.in_flight + _AHEAD or self._under_way.has_ended():
                yield from self._end()
            if isinstance(self._stop, RemoteError):
                break
        while self._waiting:
            yield from self._end()
        if isinstance(self._stop, BudgetError):
            raise BudgetError(f"the budget is used up: {self._stop}; {self._left} requests were not asked", self._left)
        if self._stop:
            raise self._stop

    def _begin(self, request: Request) -> Iterator[tuple[str, Reply | Failure]]:
        """Hands over what the cache has; asks for what it has not."""
        asked = prepare(request, self._settings)
        reply = self._cache.get(asked.key)
        if reply is not None:
            yield request.id, priced(reply, self._settings.prices)
        elif asked.key in self._waiting:
            self._waiting[asked.key].append(request.id)
        elif self._stop:
            self._left += 1
        else:
            self._waiting[asked.key] = [request.id]
            self._under_way.begin(asked)

    def _end(self) -> Iterator[tuple[str, Reply | Failure]]:
        """Waits for one that ends, and hands it over to all who asked for it."""
        key, ended = self._under_way.next_ended()
        ids = self._waiting.pop(key)
        error = ended.exception()
        if isinstance(error, BudgetError | RemoteError):
            self._stop = self._stop or error
            self._left += len(ids)
            return
        told = ended.result()  # any other exception goes to the caller as it is
        if isinstance(told, Failure):
            yield from ((id, told) for id in ids)
            return
        reply = priced(told, self._settings.prices)
        yield ids[0], reply
        yield from ((id, replace(reply, cached=True)) for id in ids[1:])


class Loop:
    """An event loop in a thread of its own, so that calls go on whatever the caller does between two replies.

    A context manager. Clients that are used at once share one: several would wait for each other all the time.

    Args:
        most: calls of all its clients that are under way at once, beside what each of them allows; None: no more limit.

    Attributes:
        room: for a call to be under way in.
    """

    def __init__(self, most: int | None = None) -> None:
        self.room: AbstractAsyncContextManager[None] = nullcontext() if most is None else asyncio.Semaphore(most)
        self._loop = asyncio.new_event_loop()
        self._lock, self._ends = threading.Lock(), False
        self._thread = threading.Thread(target=self._loop.run_forever, name="calls", daemon=True)

    def __enter__(self) -> Loop:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.begin(self._loop.shutdown_asyncgens(), last=True).result()
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def begin(self, work: Coroutine[Any, Any, Made], last: bool = False) -> Future[Made]:
        """Lets something begin; returns at once.

        Args:
            work: to be done in the loop.
            last: whether nothing begins behind it, as the loop ends with it.

        Raises:
            CancelledError: The last one has begun: whoever waited for what comes now would wait for ever.
        """
        with self._lock:
            if self._ends:
                work.close()
                raise CancelledError
            self._ends = last
            return asyncio.run_coroutine_threadsafe(work, self._loop)


class _UnderWay:
    """The calls of one client, in a loop."""

    def __init__(self, settings: Settings, key: Key, cache: Cache, meter: Meter, loop: Loop) -> None:
        self._about = (settings, key, cache, meter, loop.room)
        self._loop = loop
        self._calls: Calls | None = None
        self._closed = False
        self._begun: set[asyncio.Task[Any]] = set()
        self._ended: SimpleQueue[tuple[str, Future[Reply | Failure]]] = SimpleQueue()

    def __enter__(self) -> _UnderWay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.begin(self._close()).result()

    def begin(self, asked: Asked) -> None:
        """Lets a request begin as soon as there is room."""
        begun = self._loop.begin(self._reply_to(asked))
        begun.add_done_callback(lambda ended: self._ended.put((asked.key, ended)))

    def reply_to(self, asked: Asked) -> Reply | Failure:
        """Waits for what comes of a request."""
        return self._loop.begin(self._reply_to(asked)).result()

    def has_ended(self) -> bool:
        """Whether `next_ended` returns at once."""
        return not self._ended.empty()

    def next_ended(self) -> tuple[str, Future[Reply | Failure]]:
        """Waits for a request to end; returns its key and what came of it."""
        return self._ended.get()

    async def _reply_to(self, asked: Asked) -> Reply | Failure:
        if self._closed:
            raise asyncio.CancelledError
        task = asyncio.current_task()
        assert task is not None
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)
        if self._calls is None:
            from mis_dataset.remote.calls import Calls

            self._calls = Calls(*self._about)
        return await self._calls.reply_to(asked)

    async def _close(self) -> None:
        """Gives up what is under way: our own tasks; those that libraries began below them end with them."""
        self._closed = True
        begun = list(self._begun)
        for task in begun:
            task.cancel()
        await asyncio.gather(*begun, return_exceptions=True)
        if self._calls:
            await self._calls.close()
