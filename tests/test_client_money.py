"""What a run has paid for is not paid again, and it pays no more than it may."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mis_dataset.client import ask
from mis_dataset.errors import BudgetError
from mis_dataset.remote.budget import Meter, Used
from mis_dataset.remote.messages import Failure, Reply, Request
from mis_dataset.remote.settings import Budget, Prices
from tests.asked import one, one_is_new, questions, text_of, tiny
from tests.loopback_api import KEY, LoopbackApi, Step, completion
from tests.made_release import png

ROOT = Path(__file__).resolve().parents[1]


pytestmark = pytest.mark.usefixtures("api_key")


@pytest.fixture
def api() -> Iterator[LoopbackApi]:
    with LoopbackApi().running() as running:
        yield running


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "replies.sqlite"


# The cache


def test_a_second_run_makes_no_call_and_says_the_same(api: LoopbackApi, cache: Path) -> None:
    settings = tiny(api, prices=Prices(1.0, 1.0))
    first = dict(ask(questions(10), settings, cache))
    second = dict(ask(questions(10), settings, cache))
    assert api.count == 10
    assert [reply.cached for reply in first.values() if isinstance(reply, Reply)] == [False] * 10
    assert [reply.cached for reply in second.values() if isinstance(reply, Reply)] == [True] * 10
    assert {name: (text_of(told), told.cost) for name, told in first.items() if isinstance(told, Reply)} == {
        name: (text_of(told), told.cost) for name, told in second.items() if isinstance(told, Reply)
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "another"},
        {"version": "1-b"},
        {"temperature": 0.5},
        {"temperature": None},
        {"seed": 1},
        {"max_tokens": 100},
        {"max_tokens_name": "max_completion_tokens"},
        {"image_max_side": 4},
    ],
    ids=str,
)
def test_another_setting_that_matters_asks_anew(api: LoopbackApi, cache: Path, changes: dict[str, Any]) -> None:
    for settings in (tiny(api), tiny(api, **changes)):
        one(settings, cache, png(1), "x")
        assert not one_is_new(api, settings, cache, png(1), "x")
    assert api.count == 2


@pytest.mark.parametrize(
    ("parts", "system"),
    [
        ((png(1), "other"), "s"),
        ((png(2), "x"), "s"),
        (("x", png(1)), "s"),
        ((png(1), "x"), ""),
        ((png(1), png(1), "x"), "s"),
        ((png(1), "", "x"), "s"),
    ],
)
def test_another_request_asks_anew(api: LoopbackApi, cache: Path, parts: tuple[str | bytes, ...], system: str) -> None:
    one(tiny(api), cache, png(1), "x", system="s")
    assert one_is_new(api, tiny(api), cache, *parts, system=system)
    assert not one_is_new(api, tiny(api), cache, png(1), "x", system="s")


def test_another_address_asks_anew_but_not_other_ways_to_ask(api: LoopbackApi, cache: Path) -> None:
    one(tiny(api), cache)
    assert not one_is_new(api, tiny(api, in_flight=2, attempts=1, timeout=3.0, base_url=api.url + "/"), cache)
    with LoopbackApi().running() as other:
        assert one_is_new(other, tiny(other), cache)


def test_requests_that_say_the_same_are_paid_once(api: LoopbackApi, cache: Path) -> None:
    same = [Request(f"a/{place}", ("hello",)) for place in range(5)]
    told = dict(ask(same, tiny(api, in_flight=3), cache))
    assert sorted(told) == ["a/0", "a/1", "a/2", "a/3", "a/4"]
    assert sorted(reply.cached for reply in told.values() if isinstance(reply, Reply)) == [
        False,
        True,
        True,
        True,
        True,
    ]
    assert api.count == 1


def test_a_reply_has_the_day_of_its_first_time(api: LoopbackApi, cache: Path) -> None:
    settings, days = tiny(api), [datetime.now(UTC).date().isoformat()]
    told = one(settings, cache)
    days.append(datetime.now(UTC).date().isoformat())
    assert isinstance(told, Reply)
    assert told.date in days
    with sqlite3.connect(cache) as file:
        file.execute("UPDATE replies SET date = '2020-02-29'")
    file.close()
    again = one(settings, cache)
    assert isinstance(again, Reply)
    assert (again.date, again.cached) == ("2020-02-29", True)


def test_a_meter_counts_what_calls_use_also_those_that_failed(api: LoopbackApi, cache: Path) -> None:
    api.plan = {"question 1": [Step(500), Step(500)]}
    meter = Meter()
    for _ in range(2):  # the second comes from the cache
        list(ask(questions(3), tiny(api), cache, meter=meter))
    assert (meter.used, api.count) == (Used(5, 30, 15), 5)


def test_a_failure_is_not_kept(api: LoopbackApi, cache: Path) -> None:
    api.plan = {"hello": [Step(500)] * 3}
    assert one(tiny(api), cache) == Failure("HTTP 500", 3, again=True)
    assert text_of(one(tiny(api), cache)) == "about hello"


def test_the_cache_holds_neither_questions_nor_pictures_nor_the_key(api: LoopbackApi, cache: Path) -> None:
    api.every = Step(body=completion("something was said"))
    one(tiny(api), cache, png(1), "a rare question", system="a rare rule")
    held = b"".join(path.read_bytes() for path in cache.parent.iterdir())
    assert b"something was said" in held  # or the search would find nothing whatever is there
    assert [word for word in (b"rare", KEY.encode(), b"base64", b"PNG") if word in held] == []


# The budget


def test_an_endpoint_that_repeats_its_key_brings_it_into_no_reply_and_no_file(api: LoopbackApi, cache: Path) -> None:
    said = completion(f"The key is {KEY}, any word.").replace(b"loopback-1", b"m" * 195 + KEY.encode())
    api.plan = {"hello": [Step(body=said), Step(body=said)]}
    [(_, reply)] = ask([Request("a/1", ("hello",))], tiny(api), cache)
    assert isinstance(reply, Reply)
    assert (reply.text, reply.model) == ("The key is [key], any word.", "m" * 195 + "[key]")
    assert [path.name for path in cache.parent.iterdir() if KEY[:5].encode() in path.read_bytes()] == []


def test_a_key_in_other_signs_of_json_is_found_too(api: LoopbackApi, cache: Path) -> None:
    hidden = "".join(f"\\u{ord(letter):04x}" for letter in KEY)
    said = completion("The key is MARK.").replace(b"MARK", hidden.encode()).replace(b"loopback-1", hidden.encode())
    assert json.loads(said)["model"] == KEY
    api.plan = {"hello": [Step(body=said)]}
    [(_, reply)] = ask([Request("a/1", ("hello",))], tiny(api), cache)
    assert isinstance(reply, Reply)
    assert (reply.text, reply.model) == ("The key is [key].", "[key]")
    assert [path.name for path in cache.parent.iterdir() if KEY.encode() in path.read_bytes()] == []


def test_a_word_that_stands_for_no_key_stays_in_replies(
    api: LoopbackApi, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "any")
    api.plan = {"hello": [Step(body=completion("any word"))]}
    [(_, reply)] = ask([Request("a/1", ("hello",))], tiny(api), cache)
    assert isinstance(reply, Reply)
    assert reply.text == "any word"


@pytest.mark.parametrize(
    ("budget", "calls", "text"),
    [
        (Budget(calls=5), 5, "5 of 5 calls are used"),
        # The endpoint counts 15 tokens a call; 44 and 10 are set aside for the last.
        (Budget(tokens=160), 8, "120 of 160 tokens are used"),
        (Budget(money=0.00016), 8, "0.00012 of 0.00016 are spent"),
        (Budget(calls=0), 0, "0 of 0 calls are used"),
        (Budget(money=0), 0, "0 of 0 are spent"),
    ],
)
def test_what_the_budget_does_not_cover_is_not_asked(
    api: LoopbackApi, cache: Path, budget: Budget, calls: int, text: str
) -> None:
    settings = tiny(api, budget=budget, prices=Prices(1.0, 1.0), max_tokens=10, in_flight=4)
    told: list[object] = []
    with pytest.raises(BudgetError) as caught:
        told.extend(ask(questions(12), settings, cache))  # has taken what came before the error
    assert (len(told), api.count) == (calls, calls)
    assert caught.value.left == 12 - calls
    assert str(caught.value) == f"the budget is used up: {text}; {12 - calls} requests were not asked"


def test_a_later_run_asks_only_what_is_left_and_the_cache_is_free(api: LoopbackApi, cache: Path) -> None:
    settings = tiny(api, budget=Budget(calls=5), in_flight=2)
    for left in (7, 2):
        with pytest.raises(BudgetError) as caught:
            list(ask(questions(12), settings, cache))
        assert caught.value.left == left
    assert len(list(ask(questions(12), settings, cache))) == 12
    assert sorted(api.texts()) == sorted(f"question {place}" for place in range(12))


def test_what_the_cache_has_is_handed_over_after_the_budget_is_used_up(api: LoopbackApi, cache: Path) -> None:
    asked = questions(12)
    list(ask(asked[9:], tiny(api), cache))
    told: list[str] = []
    with pytest.raises(BudgetError) as caught:
        told.extend(name for name, _ in ask(asked, tiny(api, budget=Budget(calls=0)), cache))
    assert caught.value.left == 9
    assert told == ["test_hard/9", "test_hard/10", "test_hard/11"]


def test_each_try_counts_as_a_call(api: LoopbackApi, cache: Path) -> None:
    api.every = Step(500)
    with pytest.raises(BudgetError, match="4 of 4 calls are used; 1 requests"):
        list(ask(questions(2), tiny(api, budget=Budget(calls=4), in_flight=1), cache))
    assert api.count == 4


def test_a_call_whose_tokens_are_not_told_is_taken_for_all_that_it_could_cost(api: LoopbackApi, cache: Path) -> None:
    api.every = Step(body=completion("x", usage=None))
    settings = tiny(api, budget=Budget(tokens=200), max_tokens=50, in_flight=1)
    with pytest.raises(BudgetError, match="184 of 200 tokens are used"):
        list(ask(questions(5), settings, cache))
    assert api.count == 2
