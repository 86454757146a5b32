"""The body of an HTTP reply -> Reply. Nothing in it is trusted, neither its shape nor its size nor its text."""

from __future__ import annotations

import base64
import json
from typing import Any

from mis_dataset.errors import refuse_constant
from mis_dataset.remote.messages import Finish, Reply

_FINISHES: dict[str, Finish] = {
    **dict.fromkeys(("stop", "eos", "eos_token", "end_turn", "stop_sequence"), "stop"),
    **dict.fromkeys(("length", "max_tokens", "max_output_tokens", "model_length"), "length"),
    **dict.fromkeys(("content_filter", "safety", "recitation", "blocklist", "prohibited_content"), "content_filter"),
}
"""Words of an endpoint, in small letters -> ours. The first of each is OpenAI's; gateways hand on those of others."""
_MOST_TOKENS = 2**40
_MOST_NAME = 200


class ReplyError(ValueError):
    """The body is no reply; its text says in what way, and repeats nothing of it."""


def read_reply(body: bytes) -> Reply:
    """Reads what an endpoint sent.

    Args:
        body: of the HTTP reply, whole.

    Returns:
        The reply, without a cost.

    Raises:
        ReplyError: It is no JSON, or no chat completion.
    """
    told = _json(body)
    choices = told.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise ReplyError("the reply has no choices")
    message = choices[0].get("message")
    if not isinstance(message, dict):
        raise ReplyError("the reply has no message")
    content, refusal = message.get("content"), message.get("refusal")
    if not isinstance(content, str | None) or not isinstance(refusal, str | None):
        raise ReplyError("the reply holds something else than a text")
    finish = _FINISHES.get(str(choices[0].get("finish_reason")).casefold(), "other")
    usage = told.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    return Reply(
        text=writable(content or refusal or ""),
        finish="refused" if refusal and not content else finish,
        tokens_in=_count(counts.get("prompt_tokens")),
        tokens_out=_count(counts.get("completion_tokens")),
        model=_name(told.get("model")),
    )


def read_picture(body: bytes) -> Reply:
    """Reads what an endpoint sent that was asked for a picture.

    Args:
        body: of the HTTP reply, whole.

    Returns:
        The reply, without a cost; whether its bytes are a picture is left to the caller.

    Raises:
        ReplyError: It is no JSON, or holds no picture in base64.
    """
    told = _json(body)
    drawn = told.get("data")
    if not isinstance(drawn, list) or not drawn or not isinstance(drawn[0], dict):
        raise ReplyError("the reply has no picture")
    encoded = drawn[0].get("b64_json")
    if not isinstance(encoded, str):
        where = ", only its address, which is not fetched" if isinstance(drawn[0].get("url"), str) else ""
        raise ReplyError(f"the reply has no picture in base64{where}")
    try:
        picture = base64.b64decode(encoded, validate=True)
    except ValueError as error:
        raise ReplyError("the reply's picture is no base64") from error
    if not picture:
        raise ReplyError("the reply's picture is empty")
    usage = told.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    tokens = (_count(counts.get("input_tokens")), _count(counts.get("output_tokens")))
    return Reply("", "stop", *tokens, model=_name(told.get("model")), picture=picture)


def error_code(body: bytes, name: str = "code") -> str:
    """The code that an endpoint gives for an error; for comparing, not for showing.

    Args:
        body: of an HTTP reply.
        name: ``param`` for the setting that it is about.

    Returns:
        Such as ``"content_filter"``; empty where there is none.
    """
    try:
        error = _json(body).get("error")
    except ReplyError:
        return ""
    return str(error.get(name) or "") if isinstance(error, dict) else ""


def writable(text: str) -> str:
    r"""A text that can be written as UTF-8: halves of surrogate pairs become U+FFFD.

    >>> writable("a\ud83d b \ud83d\ude00") == "a\ufffd b \N{GRINNING FACE}"
    True
    """
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _json(body: bytes) -> dict[str, Any]:
    try:
        told = json.loads(body, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ReplyError("the reply is no JSON") from error
    if not isinstance(told, dict):
        raise ReplyError("the reply is no JSON object")
    return told


def _count(number: object) -> int | None:
    whole = isinstance(number, int) and not isinstance(number, bool)
    return number if whole and 0 <= number < _MOST_TOKENS else None  # type: ignore[operator,return-value]


def _name(model: object) -> str:
    r"""The model's name, which goes into tables and to the terminal: one line in which no sign acts unseen.

    >>> _name("a-model\x1b[31m \u202eb\n")
    'a-model\ufffd[31m \ufffdb\ufffd'
    """
    if not isinstance(model, str):
        return ""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in writable(model)[:_MOST_NAME])
