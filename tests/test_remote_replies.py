"""Bodies of replies that are odd. What becomes of the others is in test_client_faults.py."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mis_dataset.remote.messages import Reply
from mis_dataset.remote.replies import ReplyError, error_code, read_reply
from tests.loopback_api import completion, error


@pytest.mark.parametrize(
    ("body", "reply"),
    [
        (completion("Yes."), Reply("Yes.", "stop", 10, 5, "loopback-1")),
        (completion("Yes.", "eos_token"), Reply("Yes.", "stop", 10, 5, "loopback-1")),
        (completion("Yes.", "MAX_TOKENS"), Reply("Yes.", "length", 10, 5, "loopback-1")),
        (completion("Yes.", "SAFETY"), Reply("Yes.", "content_filter", 10, 5, "loopback-1")),
        (completion("Yes.", "tool_calls"), Reply("Yes.", "other", 10, 5, "loopback-1")),
        (completion("Yes.", ""), Reply("Yes.", "other", 10, 5, "loopback-1")),
        (completion("Yes.", ["stop"]), Reply("Yes.", "other", 10, 5, "loopback-1")),
        (completion("Part", "content_filter", refusal="No."), Reply("Part", "content_filter", 10, 5, "loopback-1")),
        (completion("Yes.", usage=(-1, True)), Reply("Yes.", "stop", None, None, "loopback-1")),
        (completion("Yes.", usage=(2**60, "5")), Reply("Yes.", "stop", None, None, "loopback-1")),
        (completion("Yes.", usage=[1]), Reply("Yes.", "stop", None, None, "loopback-1")),
    ],
)
def test_what_is_odd_beside_the_text_is_left_out(body: bytes, reply: Reply) -> None:
    assert read_reply(body) == reply


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("m" * 500, "m" * 200),
        ("\ud83d", "\ufffd"),
        ("a\x1b[2J\u202eb\r\n", "a\ufffd[2J\ufffdb\ufffd\ufffd"),
        ("Ä-1 é", "Ä-1 é"),
        (7, ""),
        (None, ""),
    ],
)
def test_the_name_of_a_model_is_short_and_nothing_in_it_acts(model: Any, name: str) -> None:
    told = json.loads(completion("Yes.")) | {"model": model}
    assert read_reply(json.dumps(told).encode()).model == name


@pytest.mark.parametrize(
    "body", [b"\xff\xfe", b'{"a": 1' + b"0" * 5000 + b"}", b"null", b'"choices"', b'{"choices": {}}']
)
def test_what_is_no_reply_is_refused_in_our_words(body: bytes) -> None:
    with pytest.raises(ReplyError, match=r"^the reply (is no JSON( object)?|has no choices)$"):
        read_reply(body)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (error("content_filter"), "content_filter"),
        (b"", ""),
        (b"[]", ""),
        (b'{"error": "x"}', ""),
        (b'{"error": {}}', ""),
    ],
)
def test_the_code_of_an_error_is_found_where_there_is_one(body: bytes, code: str) -> None:
    assert error_code(body) == code
