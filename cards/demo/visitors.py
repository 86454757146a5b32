"""What a visitor may do: how long a question may be, and how often a session and an address may ask."""

from __future__ import annotations

from collections import deque
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from threading import Lock
from typing import NamedTuple

from settings import DemoError

MINUTE = 60.0
"""Seconds."""
MOST_VISITORS = 10_000
"""That are known at once: whoever asks may choose a name anew every time."""
_ASKED = "You have asked {most} questions within a minute. Ask again in {wait} s."


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


def address_of(peer: str, forwarded: str, behind: bool) -> str:
    """Whose request it is, as far as the server sees it; an IPv6 address stands for its network, whose owner has all.

    >>> address_of("9.9.9.9", "1.1.1.1", False)
    '9.9.9.9'
    >>> address_of("10.0.0.7", "6.6.6.6, 8.8.8.8, 10.0.0.9", True)
    '8.8.8.8'

    Args:
        peer: who is connected.
        forwarded: the header X-Forwarded-For, to whose end every proxy adds whom it heard from.
        behind: a proxy of the Hub is connected: it adds the visitor, and others within the Hub may follow. What stands
            to the left of the last public address was sent by the visitor, who may write anything there.

    Returns:
        An address; empty where nothing tells visitors apart.
    """
    if not behind:
        return _network(_read_address(peer)) or peer
    for hop in reversed(forwarded.split(",")):
        address = _read_address(hop)
        if address is None:
            break
        if address.is_global:
            return _network(address)
    return ""


def _read_address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.strip())
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _network(address: IPv4Address | IPv6Address | None) -> str:
    return str(ip_network((address, 64), strict=False)) if isinstance(address, IPv6Address) else str(address or "")


class RateLimit:
    """How often each visitor may ask in a minute; knows nothing of a visitor but the times of the last minute."""

    def __init__(self, most: int, told: str = _ASKED) -> None:
        """Begins with nobody.

        Args:
            most: in a minute.
            told: to whom asks more often, with `{most}` and `{wait}`, in seconds.
        """
        self._most, self._told = most, told
        self._times: dict[str, deque[float]] = {}
        self._lock = Lock()

    def ask(self, visitor: str, now: float) -> None:
        """Counts one question.

        Args:
            visitor: the session's name, or an address; an empty one is not counted.
            now: seconds by a clock that never goes back.

        Raises:
            DemoError: The visitor has asked as often as allowed within the last minute; this one is not counted.
        """
        if not visitor:
            return
        with self._lock:
            self._forget(now)
            times = self._times.get(visitor, deque())
            while times and times[0] <= now - MINUTE:
                times.popleft()
            if len(times) >= self._most:
                wait = int(times[0] + MINUTE - now) + 1
                raise DemoError(self._told.format(most=self._most, wait=wait))
            times.append(now)
            self._times.pop(visitor, None)
            self._times[visitor] = times  # at the end: who asked last stands last

    def _forget(self, now: float) -> None:
        """Drops visitors who have not asked for a minute, and the first of too many."""
        while self._times:
            first = next(iter(self._times))
            if self._times[first][-1] > now - MINUTE and len(self._times) < MOST_VISITORS:
                return
            del self._times[first]
