"""What is asked, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from mis_dataset.remote.settings import Prices

Finish = Literal["stop", "length", "content_filter", "refused", "other"]


@dataclass(frozen=True)
class Request:
    """One request; its repr shows neither texts nor pictures.

    Attributes:
        id: of the row it is about; comes back with the reply.
        parts: what the user says, in order: texts, and pictures as the bytes of a PNG, JPEG, WEBP or GIF.
        system: what the model is told beforehand; empty for nothing.
        size: of the picture that is asked for, such as "1024x1024", drawn by what the one text of `parts` says; empty
            where a text is asked for.
        seed: of that picture, in place of that of the settings; where endpoints refuse one, it still tells requests
            apart, so that rows that show the same thing do not show the same picture.

    Raises:
        ValueError: A picture is asked for by something else than one text.
    """

    id: str
    parts: tuple[str | bytes, ...] = field(repr=False)
    system: str = field(default="", repr=False)
    size: str = ""
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.size and (self.system or len(self.parts) != 1 or not isinstance(self.parts[0], str)):
            raise ValueError(f"{self.id}: a picture is drawn by one text, without pictures and a system")


@dataclass(frozen=True)
class Reply:
    """What a model said; its repr does not show it.

    Attributes:
        text: untrusted; always to be written as UTF-8. Empty where nothing was said.
        finish: why it ended. "refused": the model declined in the field that the API has for it, which `text` then
            holds; "content_filter": a filter of the endpoint let nothing or not all through; "other": a reason that
            is none of these, or none was given.
        tokens_in: of the prompt; None where the endpoint does not say.
        tokens_out: of the reply; None where the endpoint does not say.
        model: as the endpoint names it; may be empty.
        cost: at the prices of the settings; None where they or the tokens of a text are unknown.
        cached: whether it came from the cache, or from another request of this run that says the same.
        date: day (UTC) on which it was given, as in 2026-11-27; of one from the cache, the day of its first time.
            Replies that differ in nothing else are equal.
        picture: bytes of what was drawn, whatever format it is in; untrusted. Empty where a text was asked for.
    """

    text: str = field(repr=False)
    finish: Finish
    tokens_in: int | None = None
    tokens_out: int | None = None
    model: str = ""
    cost: float | None = None
    cached: bool = False
    date: str = field(default="", compare=False)
    picture: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Failure:
    """No reply, after all tries; a part of what is measured, not an exception.

    Another run asks again; what a `Client` was told is kept beside the replies, for a replay to end the same.

    Attributes:
        reason: of the last try, in our words: never in those of the endpoint, which may repeat prompts or keys.
        attempts: how often it was tried; 0 where it could not be sent.
        again: whether another day may mend it; what an endpoint refuses at once, and what cannot be sent, is final.
    """

    reason: str
    attempts: int
    again: bool = False


def priced(reply: Reply, prices: Prices | None) -> Reply:
    """A reply with its cost, where prices and tokens are known; a picture may have no tokens.

    >>> priced(Reply("Yes.", "stop", 1000, 100), Prices(2.5, 10.0)).cost
    0.0035
    >>> priced(Reply("", "stop", picture=b"..."), Prices(0.0, 0.0, call=0.04)).cost
    0.04
    """
    if prices is None or (None in (reply.tokens_in, reply.tokens_out) and not reply.picture):
        return reply
    return replace(reply, cost=prices.cost(reply.tokens_in or 0, reply.tokens_out or 0, 1))
