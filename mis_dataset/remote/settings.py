"""How a remote model is asked, and at what cost at most."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from mis_dataset.errors import UsageError


class Key:
    """The key of an endpoint; its repr does not show it, wherever a traceback with values is printed.

    Attributes:
        text: as it is sent.
    """

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return "Key(...)"


class Prices(NamedTuple):
    """What an endpoint asks for, in any one currency.

    Attributes:
        tokens_in: for a million tokens of prompts.
        tokens_out: for a million tokens of replies.
        call: for a call, as those that draw pictures often ask.
    """

    tokens_in: float
    tokens_out: float
    call: float = 0.0

    def cost(self, tokens_in: int, tokens_out: int, calls: int) -> float:
        """The price of so many tokens and calls, in that currency.

        >>> Prices(2.5, 10.0).cost(1000, 100, 1)
        0.0035
        """
        return (self.tokens_in * tokens_in + self.tokens_out * tokens_out) / 1e6 + self.call * calls


class Budget(NamedTuple):
    """What a run may use at most; None is no limit. What comes from the cache is free.

    Attributes:
        calls: HTTP requests, each try of a request counted.
        tokens: of prompts and replies together.
        money: in the currency of the prices.
    """

    calls: int | None = None
    tokens: int | None = None
    money: float | None = None


_NO_LIMIT = Budget()
_TEXTS = ("model", "version", "key_name")
_WHOLE = ("in_flight", "attempts", "max_tokens", "picture_tokens")
_PERHAPS = ("seed", "image_max_side")
_SPANS = ("timeout", "backoff", "longest_wait")
_WORDS = {"max_tokens_name": ("max_tokens", "max_completion_tokens"), "picture_format": ("b64_json", None)}
_MOST_IN_FLIGHT = 4096
"""Connections that an endpoint may be sent; each one takes a socket and some memory."""
_NUMBERS, _NONE = (int, float), type(None)


@dataclass(frozen=True)
class Settings:
    """How a remote model is asked. The key is not among them: it stays in the environment.

    Attributes:
        model: its name at the endpoint.
        version: of whoever asks, e.g. `JUDGE_VERSION`; a new one asks everything anew.
        base_url: address of an OpenAI-compatible endpoint, up to ``/v1``.
        key_name: environment variable that holds the key.
        in_flight: most requests that are under way at once.
        timeout: seconds that one try may take, to the last byte.
        attempts: tries of a request, where it fails in a way that can pass.
        backoff: seconds before the second try; they double with each further one.
        longest_wait: seconds between two tries at most; where the endpoint asks for more, the run stops.
        max_tokens: most tokens of a reply.
        max_tokens_name: what the endpoint calls that; OpenAI's newer models take the second name alone.
        temperature: 0 for the likeliest tokens; None where the endpoint refuses one.
        seed: None where the endpoint refuses one.
        image_max_side: pixels; larger pictures are made smaller. None: pictures go as they are.
        picture_format: what a model that draws is told to send; None where the endpoint sends that anyway and refuses
            to be told, as OpenAI does for its newer models.
        picture_tokens: tokens of a prompt that the budget reserves for a picture until replies have shown more.
        budget: what a run may use.
        prices: None where tokens cost nothing.

    Raises:
        UsageError: A value is out of range; the text names all that are.
    """

    model: str
    version: str
    base_url: str = "https://api.openai.com/v1"
    key_name: str = "OPENAI_API_KEY"
    in_flight: int = 16
    timeout: float = 120.0
    attempts: int = 6
    backoff: float = 1.0
    longest_wait: float = 300.0
    max_tokens: int = 512
    max_tokens_name: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    temperature: float | None = 0.0
    seed: int | None = 0
    image_max_side: int | None = None
    picture_format: Literal["b64_json"] | None = "b64_json"
    picture_tokens: int = 2000
    budget: Budget = _NO_LIMIT
    prices: Prices | None = None

    def __post_init__(self) -> None:
        faults = _kinds(self) or [text for wrong, text in _checks(self) if wrong]
        if faults:
            raise UsageError("\n".join(faults))

    def sampling(self) -> dict[str, int | float]:
        """What goes into the body of a request beside model and messages.

        >>> Settings("a-model", "1-a", seed=None).sampling()
        {'max_tokens': 512, 'temperature': 0.0}
        """
        wanted = {self.max_tokens_name: self.max_tokens, "temperature": self.temperature, "seed": self.seed}
        return {name: value for name, value in wanted.items() if value is not None}

    def drawing(self, seed: int | None) -> dict[str, int | str]:
        """What goes into the body of a request for a picture beside model, text and size.

        >>> Settings("a-model", "1-a").drawing(seed=7)
        {'n': 1, 'seed': 7, 'response_format': 'b64_json'}
        """
        wanted = {
            "n": 1,
            "seed": self.seed if seed is None or self.seed is None else seed,
            "response_format": self.picture_format,
        }
        return {name: value for name, value in wanted.items() if value is not None}

    def key(self) -> Key:
        """The key, from the environment.

        Raises:
            UsageError: It is missing, or no HTTP header can hold it. The text never shows it.
        """
        key = os.environ.get(self.key_name, "").strip()
        if not key:
            raise UsageError(
                f"the environment variable {self.key_name} is not set; put the key of {self.base_url} there "
                "(any word where it wants none)"
            )
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise UsageError(f"the environment variable {self.key_name} holds no key: a space or a control character")
        return Key(key)


def _kinds(settings: Settings) -> list[str]:
    """What is wrong with values of another kind than theirs, as a file of settings may bring them."""
    wrong = [
        *((not _is_line(getattr(settings, name)), f"{name} is no text of one line") for name in _TEXTS),
        (not isinstance(settings.base_url, str), "base_url is no text of one line"),
        *((type(getattr(settings, name)) is not int, f"{name} is no whole number") for name in _WHOLE),
        *((type(getattr(settings, name)) not in (int, _NONE), f"{name} is no whole number") for name in _PERHAPS),
        *((type(getattr(settings, name)) not in _NUMBERS, f"{name} is no number") for name in _SPANS),
        (type(settings.temperature) not in (*_NUMBERS, _NONE), "temperature is no number"),
        *((getattr(settings, name) not in words, f"{name} is none of {words}") for name, words in _WORDS.items()),
        (any(type(one) not in (*_NUMBERS, _NONE) for one in settings.budget), "budget: a limit is no number"),
        (any(type(one) not in _NUMBERS for one in settings.prices or ()), "prices: one is no number"),
    ]
    return [text for fault, text in wrong if fault]


def _is_line(text: object) -> bool:
    """Whether it may go into a table or to the terminal as it is."""
    return isinstance(text, str) and text.isprintable()


def _checks(settings: Settings) -> list[tuple[bool, str]]:
    """(is it wrong, what is wrong) of every value that has a range."""
    numbers = {name: getattr(settings, name) for name in _WHOLE}
    spans = {name: getattr(settings, name) for name in _SPANS}
    limits = [limit for limit in settings.budget if limit is not None]
    side = settings.image_max_side
    return [
        *((not settings_text.strip(), f"{name}: is empty") for name, settings_text in _texts(settings)),
        *((number < 1, f"{name}: {number} is no whole number from 1 on") for name, number in numbers.items()),
        (settings.in_flight > _MOST_IN_FLIGHT, f"in_flight: {settings.in_flight} is more than {_MOST_IN_FLIGHT}"),
        *((not 0 < span < math.inf, f"{name}: {span} is no number of seconds above 0") for name, span in spans.items()),
        (side is not None and side < 1, f"image_max_side: {side} is no number of pixels from 1 on"),
        (any(not limit >= 0 for limit in limits), f"budget: a limit below 0 in {settings.budget}"),
        (
            settings.budget.money is not None and settings.prices is None,
            "budget: a limit of money needs prices; name what a million tokens cost",
        ),
        (any(not 0 <= price < math.inf for price in settings.prices or ()), f"prices: {settings.prices} are none"),
        (not _is_address(settings.base_url), "base_url: is no address http(s)://HOST/PATH without a password or query"),
    ]


def _texts(settings: Settings) -> list[tuple[str, str]]:
    return [("model", settings.model), ("version", settings.version), ("key_name", settings.key_name)]


def _is_address(url: str) -> bool:
    """Whether an address may be shown and written down: it holds no secret."""
    try:
        parts = urlsplit(url)
        whole = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
    # `urlsplit` drops line ends, which the HTTP client refuses.
    written = url.isascii() and url.isprintable() and " " not in url
    plain = not (parts.query or parts.fragment) and "@" not in parts.netloc
    return parts.scheme in ("http", "https") and whole and plain and written
