"""A remote model -> a JSON object of a known shape, with one try to mend what is not of that shape.

What a model is told has two parts: our instructions, and material that may come from anywhere. Material stands between
marks with a hash of it in them, so that nothing inside can close its field, and our instructions say that nothing in it
is an instruction. What comes back is material as well.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from mis_dataset.client import Client
from mis_dataset.errors import refuse_constant
from mis_dataset.remote.messages import Failure, Reply, Request

Made = TypeVar("Made")
_MOST_LETTERS = 2**16
"""Of a reply; an object of what we ask for is far shorter."""
_REPAIR = """Your reply cannot be used: {fault}. Reply again, with one JSON object of the shape that was asked for and \
nothing else."""


class ShapeError(ValueError):
    """A reply is not of the shape that was asked for; the text says in what way, and repeats nothing of it."""


@dataclass(frozen=True)
class Refusal:
    """Why a model gave nothing that can be used; a part of what is recorded, not an exception.

    Attributes:
        reason: "refused" by the model or a filter of its endpoint, "malformed" where it was of another shape twice,
            "no reply" where none came.
        detail: in our words.
    """

    reason: str
    detail: str


def fenced(name: str, text: str) -> str:
    """Material between marks that it cannot hold itself.

    >>> opened, inside, closed = fenced("seed", "How?").splitlines()
    >>> inside, closed == opened.replace("<", "</")
    ('How?', True)
    """
    mark = hashlib.sha256(f"{name}\0{text}".encode("utf-8", "replace")).hexdigest()[:12]
    return f"<{name} {mark}>\n{text}\n</{name} {mark}>"


def ask_object(client: Client, request: Request, read: Callable[[Mapping[str, Any]], Made]) -> Made | Refusal:
    """Asks for a JSON object; where it cannot be read, tells the model why and asks once more.

    Args:
        client: the model.
        request: what to ask.
        read: makes of the object what is wanted.

    Returns:
        What `read` made, or why there is nothing.

    Raises:
        MISError: as `Client.ask`.
    """
    told = client.ask(request)
    try:
        return _made(told, read)
    except ShapeError as error:
        fault = str(error)
    assert isinstance(told, Reply)
    try:
        return _made(client.ask(_again(request, told, fault)), read)
    except ShapeError as error:
        return Refusal("malformed", f"{fault}; then: {error}")


def object_of(reply: Reply) -> Mapping[str, Any]:
    """The one JSON object of a reply, which may stand in a block of code or between sentences.

    Raises:
        ShapeError: There is none, or more than one.
    """
    if reply.finish == "length":
        raise ShapeError("it was cut off")
    if len(reply.text) > _MOST_LETTERS:
        raise ShapeError(f"it has more than {_MOST_LETTERS} letters")
    first, last = reply.text.find("{"), reply.text.rfind("}")
    if not 0 <= first < last:
        raise ShapeError("it holds no JSON object")
    try:
        found = _DECODER.decode(reply.text[first : last + 1])
    except ShapeError:
        raise
    except (ValueError, RecursionError) as error:
        raise ShapeError("it holds no JSON object that can be read, or several") from error
    assert isinstance(found, dict)
    return found


def text_field(found: Mapping[str, Any], name: str, most: int) -> str:
    """A field that is a text of one line.

    Args:
        found: the object.
        name: of the field.
        most: letters.

    Raises:
        ShapeError: It is missing, empty, too long, or no text that can be shown.
    """
    text = found.get(name)
    if not isinstance(text, str) or not text.strip():
        raise ShapeError(f"{name!r} is no text")
    text = " ".join(text.split())
    if len(text) > most:
        raise ShapeError(f"{name!r} has {len(text)} letters, at most {most} are wanted")
    if not text.isprintable() or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ShapeError(f"{name!r} holds letters that cannot be shown")
    return text


def _made(told: Reply | Failure, read: Callable[[Mapping[str, Any]], Made]) -> Made | Refusal:
    if isinstance(told, Failure):
        return Refusal("no reply", told.reason)
    if told.finish in ("refused", "content_filter"):
        return Refusal("refused", told.finish)
    return read(object_of(told))


def _again(request: Request, told: Reply, fault: str) -> Request:
    """The same with the reply and what is wrong with it."""
    return replace(
        request, parts=(*request.parts, fenced("reply", told.text[:_MOST_LETTERS]), _REPAIR.format(fault=fault))
    )


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ShapeError("a name stands there twice")
    return found


_DECODER = json.JSONDecoder(parse_constant=refuse_constant, object_pairs_hook=_once)
