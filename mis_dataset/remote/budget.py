"""What a run has used, and what its calls under way may still use."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import NamedTuple

from mis_dataset.errors import BudgetError
from mis_dataset.remote.messages import Request
from mis_dataset.remote.settings import Budget, Settings

_MESSAGE_TOKENS = 32
"""Reserved for what an endpoint writes around the texts of a request; ours."""
_LOOK = 0.1
"""Seconds between two looks whether calls of other runs have left something of the budget."""


class Used(NamedTuple):
    """Calls, and tokens of prompts and replies."""

    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0

    def plus(self, more: Used, times: int = 1) -> Used:
        """The sum, or with `times` -1 the difference.

        >>> Used(1, 20, 3).plus(Used(1, 5, 0))
        Used(calls=2, tokens_in=25, tokens_out=3)
        """
        return Used(
            self.calls + times * more.calls,
            self.tokens_in + times * more.tokens_in,
            self.tokens_out + times * more.tokens_out,
        )


class Meter:
    """What runs have used so far, and what their calls under way may still use. Runs that share one share their budget.

    Attributes:
        used: by calls that have ended, of all runs that were given this meter.
        spent: what these cost, each at the prices of its run; 0 without prices.
    """

    def __init__(self) -> None:
        self.used = Used()
        self.spent = 0.0
        self._aside = Used()
        self._aside_cost = 0.0
        self._lock = threading.Lock()

    @property
    def busy(self) -> bool:
        """Whether calls are under way."""
        return self._aside.calls > 0

    def set_aside(self, most: Used, settings: Settings) -> str:
        """Sets aside what a call may use, where that fits into what is left.

        Args:
            most: that it can use.
            settings: with the budget and prices of its run.

        Returns:
            Which limit it would break; empty where it breaks none, and only then it is set aside.
        """
        cost = _cost(most, settings)
        with self._lock:
            calls, *tokens = self.used.plus(self._aside).plus(most)
            short = self._short(calls, sum(tokens), self.spent + self._aside_cost + cost, settings.budget)
            if not short:
                self._aside = self._aside.plus(most)
                self._aside_cost += cost
            return short

    def count(self, aside: Used, used: Used, settings: Settings) -> None:
        """Ends a call: what it used is counted, and what was set aside for it is free."""
        with self._lock:
            self._aside = self._aside.plus(aside, -1)
            self._aside_cost -= _cost(aside, settings)
            self.used = self.used.plus(used)
            self.spent += _cost(used, settings)

    def _short(self, calls: int, tokens: int, cost: float, budget: Budget) -> str:
        if budget.calls is not None and calls > budget.calls:
            return f"{self.used.calls} of {budget.calls} calls are used"
        if budget.tokens is not None and tokens > budget.tokens:
            return f"{self.used.tokens_in + self.used.tokens_out} of {budget.tokens} tokens are used"
        # A millionth of rounding is no reason to refuse the last call that was planned for.
        if budget.money is not None and cost > budget.money * 1.000001:
            return f"{self.spent:.6g} of {budget.money:.6g} are spent"
        return ""


class Purse:
    """Grants the calls of one run as long as the budget lasts. To be used within one event loop.

    Before a call as much is set aside as it can use at most: a token for each byte of its texts, for its pictures what
    the settings say, or for all that the largest prompt so far had, and the most tokens of a reply. Afterwards what the
    endpoint counted is taken from it, or all of it where it may have counted without saying so.
    """

    def __init__(self, settings: Settings, meter: Meter) -> None:
        self._meter = meter
        self._settings = settings
        self._largest = 0
        self._changed = asyncio.Condition()

    async def take(self, request: Request) -> Used:
        """Sets aside what a call may use; waits where only calls under way stand against it.

        Args:
            request: what is about to be sent.

        Returns:
            What was set aside; `give_back` wants it.

        Raises:
            BudgetError: It does not fit into what is left.
        """
        async with self._changed:
            while True:
                most = Used(1, max(self._most_tokens(request), self._largest), self._settings.max_tokens)
                busy = self._meter.busy
                short = self._meter.set_aside(most, self._settings)
                if not short:
                    return most
                if not busy:
                    raise BudgetError(short)
                with suppress(TimeoutError):  # calls of other runs end without a word to this one
                    async with asyncio.timeout(_LOOK):
                        await self._changed.wait()

    async def give_back(self, aside: Used, used: Used) -> None:
        """Ends a call.

        Args:
            aside: what `take` returned.
            used: by the call.
        """
        async with self._changed:
            self._largest = max(self._largest, used.tokens_in)
            self._meter.count(aside, used, self._settings)
            self._changed.notify_all()

    def _most_tokens(self, request: Request) -> int:
        texts = [part for part in request.parts if isinstance(part, str)]
        written = sum(len(text.encode("utf-8", "replace")) for text in (request.system, *texts))
        return written + (len(request.parts) - len(texts)) * self._settings.picture_tokens + _MESSAGE_TOKENS


def _cost(used: Used, settings: Settings) -> float:
    prices = settings.prices
    return prices.cost(used.tokens_in, used.tokens_out, used.calls) if prices else 0.0
