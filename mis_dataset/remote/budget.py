"""What a run has used, and what its calls under way may still use."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from mis_dataset.errors import BudgetError
from mis_dataset.remote.messages import Request
from mis_dataset.remote.settings import Settings

_MESSAGE_TOKENS = 32
"""Reserved for what an endpoint writes around the texts of a request; ours."""


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
        return Used(*(one + times * other for one, other in zip(self, more, strict=True)))


class Meter:
    """What runs have used so far, for whoever wants to tell; each call counts once it has ended.

    Attributes:
        used: by all runs that were given it.
    """

    def __init__(self) -> None:
        self.used = Used()


class Purse:
    """Grants calls as long as the budget lasts. To be used within one event loop.

    Before a call as much is set aside as it can use at most: a token for each byte of its texts, for its pictures what
    the settings say, or for all that the largest prompt so far had, and the most tokens of a reply. Afterwards what the
    endpoint counted is taken from it, or all of it where it may have counted without saying so.

    Attributes:
        used: by calls that have ended.
    """

    def __init__(self, settings: Settings, meter: Meter) -> None:
        self.used = Used()
        self._meter = meter
        self._settings = settings
        self._aside = Used()
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
                short = self._short(self.used.plus(self._aside).plus(most))
                if not short:
                    self._aside = self._aside.plus(most)
                    return most
                if not self._aside.calls:
                    raise BudgetError(short)
                await self._changed.wait()

    async def give_back(self, aside: Used, used: Used) -> None:
        """Ends a call.

        Args:
            aside: what `take` returned.
            used: by the call.
        """
        async with self._changed:
            self._largest = max(self._largest, used.tokens_in)
            self._aside = self._aside.plus(aside, -1)
            self.used = self.used.plus(used)
            self._meter.used = self._meter.used.plus(used)
            self._changed.notify_all()

    def _most_tokens(self, request: Request) -> int:
        texts = [part for part in request.parts if isinstance(part, str)]
        written = sum(len(text.encode("utf-8", "replace")) for text in (request.system, *texts))
        return written + (len(request.parts) - len(texts)) * self._settings.picture_tokens + _MESSAGE_TOKENS

    def _short(self, used: Used) -> str:
        """Which limit so much would break; empty where it breaks none."""
        budget, prices = self._settings.budget, self._settings.prices
        tokens = used.tokens_in + used.tokens_out
        if budget.calls is not None and used.calls > budget.calls:
            return f"{self.used.calls} of {budget.calls} calls are used"
        if budget.tokens is not None and tokens > budget.tokens:
            return f"{self.used.tokens_in + self.used.tokens_out} of {budget.tokens} tokens are used"
        # A millionth of rounding is no reason to refuse the last call that was planned for.
        if (
            budget.money is not None
            and prices
            and prices.cost(used.tokens_in, used.tokens_out, used.calls) > budget.money * 1.000001
        ):
            spent = prices.cost(self.used.tokens_in, self.used.tokens_out, self.used.calls)
            return f"{spent:.6g} of {budget.money:.6g} are spent"
        return ""
