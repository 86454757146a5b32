"""What a visitor may do: how long a question may be, and how often one may ask."""

from __future__ import annotations

from collections import deque
from threading import Lock
from typing import NamedTuple

from settings import DemoError

MINUTE = 60.0
"""Seconds."""


class Question(NamedTuple):
    """A question as it is asked.

    Attributes:
        text: without signs that do not print, at most as long as allowed.
        cut: how many letters were cut off.
    """

    text: str
    cut: int


def read_question(typed: str | None, most: int) -> Question:
    r"""What a visitor typed, ready to be asked.

    >>> read_question("  What is\n this?\x00 ", 20)
    Question(text='What is this?', cut=0)
    >>> read_question("What is this?", 7)
    Question(text='What is', cut=6)

    Args:
        typed: as it comes from the page.
        most: letters of a question.

    Raises:
        DemoError: Nothing is left.
    """
    plain = " ".join("".join(sign if sign.isprintable() else " " for sign in typed or "").split())
    if not plain:
        raise DemoError("Write a question first.")
    return Question(plain[:most], max(0, len(plain) - most))


class RateLimit:
    """How often each visitor may ask in a minute; knows nothing of a visitor but the times of the last minute."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._times: dict[str, deque[float]] = {}
        self._lock = Lock()

    def ask(self, visitor: str, now: float) -> None:
        """Counts one question.

        Args:
            visitor: the session's name.
            now: seconds by a clock that never goes back.

        Raises:
            DemoError: The visitor has asked as often as allowed within the last minute; this one is not counted.
        """
        with self._lock:
            self._forget(now)
            times = self._times.setdefault(visitor, deque())
            if len(times) >= self._most:
                wait = int(times[0] + MINUTE - now) + 1
                raise DemoError(f"You have asked {self._most} questions within a minute. Ask again in {wait} s.")
            times.append(now)

    def _forget(self, now: float) -> None:
        """Drops what is older than a minute, and visitors of whom nothing is left."""
        for visitor in list(self._times):
            times = self._times[visitor]
            while times and times[0] <= now - MINUTE:
                times.popleft()
            if not times:
                del self._times[visitor]
