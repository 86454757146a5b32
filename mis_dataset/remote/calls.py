"""Requests under way: room for them, tries and the waits between, in one event loop."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from contextlib import AbstractAsyncContextManager, ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime

from mis_dataset.errors import PictureError, RemoteError
from mis_dataset.remote.bodies import Asked, DataUrls, pieces
from mis_dataset.remote.budget import Meter, Purse, Used
from mis_dataset.remote.cache import LOOK, Cache
from mis_dataset.remote.endpoint import Endpoint
from mis_dataset.remote.faults import Fault
from mis_dataset.remote.messages import Failure, Reply
from mis_dataset.remote.settings import Key, Settings


class Calls:
    """The calls of one run. To be made and used within one event loop.

    Args:
        settings: how to ask.
        key: of the endpoint.
        cache: where replies are kept.
        meter: of all runs that share a budget.
        room: that a try takes beside the room of this run, of all runs that share it.
    """

    def __init__(
        self, settings: Settings, key: Key, cache: Cache, meter: Meter, room: AbstractAsyncContextManager[None]
    ) -> None:
        self._settings = settings
        self._cache = cache
        self._endpoint = Endpoint(settings, key)
        self._purse = Purse(settings, meter)
        self._urls = DataUrls(settings.image_max_side)
        self._room, self._shared = asyncio.Semaphore(settings.in_flight), room
        self._stopped = asyncio.Event()
        self._stop: RemoteError | None = None
        self._not_before = 0.0
        self._reached = False
        self._renewing = ExitStack()
        self._renewing.enter_context(cache.renewing())

    async def close(self) -> None:
        """Ends connections and threads."""
        self._renewing.close()
        self._urls.close()
        await self._endpoint.close()

    async def reply_to(self, asked: Asked) -> Reply | Failure:
        """Asks until there is a reply that can be kept, or no try is left.

        Args:
            asked: what is asked.

        Returns:
            The reply, which the cache then has; or why there is none.

        Raises:
            BudgetError: A try does not fit into what is left of the budget.
            RemoteError: Every further request would fail the same, be it this or another one that told so.
            CacheError: The reply cannot be kept.
        """
        try:
            body = await self._body(asked)
        except PictureError as error:
            return Failure(str(error), 0)
        reply = await self._reply_of_another(asked.key)
        if reply is not None:
            return reply
        try:
            return await self._ask(asked, body)
        finally:
            self._cache.give_up(asked.key)

    async def _ask(self, asked: Asked, body: deque[bytes]) -> Reply | Failure:
        """The tries of a request that this process has claimed."""
        async with self._room:
            attempt = 1
            while isinstance(told := await self._try(asked, body), Fault):
                if not told.again or told.wait > self._settings.longest_wait or attempt == self._settings.attempts:
                    return self._failure(told, attempt)
                await self._sleep(told.wait + self._backoff(attempt))
                body = await self._body(asked)
                attempt += 1
            return self._cache.put(asked.key, replace(told, date=datetime.now(UTC).date().isoformat()))

    async def _reply_of_another(self, key: str) -> Reply | None:
        """Waits for a process that asks the same; None where none does and its reply is not there."""
        while not self._cache.claim(key):
            await self._sleep(LOOK)
            if self._stop:
                raise RemoteError(str(self._stop))
        reply = self._cache.get(key)  # it may have come since the caller looked
        if reply is not None:
            self._cache.give_up(key)
        return reply

    async def _try(self, asked: Asked, body: deque[bytes]) -> Reply | Fault:
        """One call, once neither another's wait nor the budget stands against it."""
        while not self._stop and (pause := self._not_before - asyncio.get_running_loop().time()) > 0:
            await self._sleep(pause + self._backoff(1))
        aside = await self._purse.take(asked.request)
        used = Used(1)
        try:
            if self._stop:
                raise RemoteError(str(self._stop))
            async with self._shared:  # for one try, not for the waits between: other models go on meanwhile
                used = aside  # of one that is given up midway nobody knows how far it came
                told = await self._endpoint.post(body, drawn=bool(asked.request.size))
            used = _used(told, aside)
        except RemoteError as error:
            used, self._stop = Used(1), error
            self._stopped.set()
            raise
        finally:
            await self._purse.give_back(aside, used)
        self._reached = self._reached or isinstance(told, Reply) or not told.unreachable
        if isinstance(told, Fault) and 0 < told.wait <= self._settings.longest_wait:
            # Whoever is asked to wait speaks for all: others would only use up their tries.
            self._not_before = max(self._not_before, asyncio.get_running_loop().time() + told.wait)
        return told

    def _failure(self, fault: Fault, attempts: int) -> Failure:
        """What a request becomes that is not tried again, unless all others would become the same."""
        why = ""
        if fault.wait > self._settings.longest_wait:
            why = f"asks to wait {fault.wait:.0f} s ({fault.reason}), longer than longest_wait; run it again later"
        elif fault.unreachable and not self._reached:
            why = f"{fault.reason}, {attempts} times; correct the address"
        if why:
            self._stop = RemoteError(f"{self._settings.base_url}: {why}")
            self._stopped.set()
            raise self._stop
        return Failure(fault.reason, attempts, fault.again)

    def _backoff(self, attempt: int) -> float:
        """Seconds after a failed try: twice as many after each, up to half of them less so that calls scatter."""
        most = min(self._settings.backoff * 2.0 ** (attempt - 1), self._settings.longest_wait)
        return most * random.uniform(0.5, 1)

    async def _sleep(self, seconds: float) -> None:
        """Waits, but no longer than until the run is stopped."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopped.wait()

    async def _body(self, asked: Asked) -> deque[bytes]:
        """The body of a request.

        Raises:
            PictureError: One of its pictures cannot be sent; the text says which.
        """
        urls = []
        pictures = [part for part in asked.request.parts if not isinstance(part, str)]
        made = [self._urls.get(sha256, picture) for sha256, picture in zip(asked.hashes, pictures, strict=True)]
        for place, url in enumerate(made, start=1):
            try:
                urls.append(url.result() if url.done() else await asyncio.wrap_future(url))
            except PictureError as error:
                raise PictureError(f"picture {place} {error}") from error
        return pieces(asked, self._settings, iter(urls))


def _used(told: Reply | Fault, aside: Used) -> Used:
    """What a call has used; where the endpoint does not say, all that it could."""
    if isinstance(told, Fault):
        return aside if told.counted else Used(1)
    tokens_in = aside.tokens_in if told.tokens_in is None else told.tokens_in
    return Used(1, tokens_in, aside.tokens_out if told.tokens_out is None else told.tokens_out)
