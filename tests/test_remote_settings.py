"""Settings that cannot be meant, and keys."""

from __future__ import annotations

import math
from typing import Any

import pytest

from mis_dataset.errors import UsageError
from mis_dataset.remote.settings import Budget, Key, Prices, Settings


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"model": " "}, "model: is empty"),
        ({"version": ""}, "version: is empty"),
        ({"key_name": ""}, "key_name: is empty"),
        ({"in_flight": 0}, "in_flight: 0 is no whole number from 1 on"),
        ({"in_flight": 10**20}, "in_flight: 100000000000000000000 is more than 4096"),
        ({"attempts": -1}, "attempts: -1 is no whole number from 1 on"),
        ({"timeout": math.nan}, "timeout: nan is no number of seconds above 0"),
        ({"longest_wait": math.inf}, "longest_wait: inf is no number of seconds above 0"),
        ({"image_max_side": 0}, "image_max_side: 0 is no number of pixels from 1 on"),
        ({"budget": Budget(calls=-1)}, "budget: a limit below 0 in Budget(calls=-1, tokens=None, money=None)"),
        ({"budget": Budget(money=1)}, "budget: a limit of money needs prices; name what a million tokens cost"),
        ({"prices": Prices(-1, 0)}, "prices: Prices(tokens_in=-1, tokens_out=0, call=0.0) are none"),
        ({"model": "", "version": ""}, "model: is empty\nversion: is empty"),
        ({"model": 7}, "model is no text of one line"),
        ({"model": "a\nb\x1b[2J"}, "model is no text of one line"),
        ({"key_name": ["KEY"]}, "key_name is no text of one line"),
        ({"base_url": None}, "base_url is no text of one line"),
        ({"in_flight": 2.5}, "in_flight is no whole number"),
        ({"attempts": True}, "attempts is no whole number"),
        ({"seed": "0"}, "seed is no whole number"),
        ({"timeout": "60"}, "timeout is no number"),
        ({"temperature": [0]}, "temperature is no number"),
        ({"picture_format": "url"}, "picture_format is none of ('b64_json', None)"),
        ({"budget": Budget(calls="9")}, "budget: a limit is no number"),  # type: ignore[arg-type]
        ({"prices": Prices(1, None)}, "prices: one is no number"),  # type: ignore[arg-type]
    ],
    ids=str,
)
def test_a_value_out_of_range_is_named(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError) as caught:
        Settings(**({"model": "a-model", "version": "1-a"} | changes))
    assert str(caught.value) == text


def test_values_of_their_kind_are_taken() -> None:
    changes = {"temperature": None, "seed": None, "picture_format": None, "timeout": 3, "in_flight": 4096}
    Settings("modèle/名 <b>", "1-a", budget=Budget(9, None, 0.5), prices=Prices(1, 0.5), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.example.org/v1",
        "ftp://api.example.org",
        "https://",
        "http://:80/v1",
        "http://h:x/v1",
        "http://h h/",
        "http://h/v1\nx",
        "http://h/\x1b[2J",
        "https://user:secret@api.example.org/v1",
        "https://api.example.org/v1?key=secret",
        "https://api.example.org/#secret",
    ],
)
def test_an_address_that_is_none_or_holds_a_secret_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        Settings("a-model", "1-a", base_url=url)
    assert str(caught.value) == "base_url: is no address http(s)://HOST/PATH without a password or query"


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000/v1", "https://api.example.org/v1/", "http://[::1]:8000"])
def test_an_address_of_a_host_is_one(url: str) -> None:
    assert Settings("a-model", "1-a", base_url=url).base_url == url


@pytest.mark.parametrize("key", ["", "  ", "two words", "line\nbreak", "schlüssel"])
def test_a_key_that_no_header_can_hold_is_refused_and_not_shown(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(UsageError) as caught:
        Settings("a-model", "1-a").key()
    assert "OPENAI_API_KEY" in str(caught.value)
    assert not key.strip() or key not in str(caught.value)


def test_a_key_is_read_without_the_line_break_of_the_file_it_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "key-1\n")
    assert Settings("a-model", "1-a").key().text == "key-1"


def test_a_key_does_not_show_itself() -> None:
    assert f"{Key('key-1')!r} {Key('key-1')}" == "Key(...) Key(...)"
