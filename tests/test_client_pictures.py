"""Models that draw: what is asked, what comes back, what is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mis_dataset.client import ask
from mis_dataset.remote.budget import Meter
from mis_dataset.remote.cache import Cache
from mis_dataset.remote.endpoint import MOST_REPLY_BYTES
from mis_dataset.remote.messages import Failure, Reply, Request
from mis_dataset.remote.settings import Budget, Prices
from tests.asked import tiny
from tests.loopback_api import LoopbackApi, Step, drawn, error

PICTURE = b"\x89PNG\r\n\x1a\n and so on"
DRAW = Request("p/1", ("a red lamp",), size="512x512")


pytestmark = pytest.mark.usefixtures("api_key")


@pytest.fixture
def api() -> Iterator[LoopbackApi]:
    with LoopbackApi().running() as running:
        running.every = Step(body=drawn(PICTURE, model="draws-1"))
        yield running


def told(api: LoopbackApi, folder: Path, request: Request = DRAW, **changes: Any) -> Reply | Failure:
    [(_, reply)] = ask([request], tiny(api, **changes), folder / "replies.sqlite")
    return reply


def test_a_picture_is_asked_for_at_its_own_address_and_comes_as_bytes(api: LoopbackApi, tmp_path: Path) -> None:
    assert told(api, tmp_path) == Reply("", "stop", model="draws-1", picture=PICTURE)
    [call] = api.calls
    assert call.path == "/v1/images/generations"
    assert json.loads(call.body) == {
        "model": "a-model",
        "prompt": "a red lamp",
        "size": "512x512",
        "n": 1,
        "seed": 0,
        "response_format": "b64_json",
    }


def test_what_endpoints_refuse_to_be_told_is_left_away(api: LoopbackApi, tmp_path: Path) -> None:
    told(api, tmp_path, seed=None, picture_format=None)
    assert set(json.loads(api.calls[0].body)) == {"model", "prompt", "size", "n"}


def test_a_picture_is_drawn_once_and_kept(api: LoopbackApi, tmp_path: Path) -> None:
    first = told(api, tmp_path)
    again = told(api, tmp_path)
    assert (first.cached, again.cached) == (False, True)  # type: ignore[union-attr]
    assert again.picture == PICTURE  # type: ignore[union-attr]
    assert api.count == 1
    told(api, tmp_path, Request("p/1", ("a red lamp",), size="1024x1024"))
    told(api, tmp_path, seed=1)
    assert api.count == 3
    api.every = Step()
    assert told(api, tmp_path, Request("p/1", ("a red lamp",))).text == "about a red lamp"  # type: ignore[union-attr]


def test_requests_with_seeds_of_their_own_get_pictures_of_their_own(api: LoopbackApi, tmp_path: Path) -> None:
    for seed in (None, 0):
        for place in (1, 2):
            told(api, tmp_path, Request("p/1", ("a red lamp",), size="512x512", seed=place), seed=seed)
    sent = [json.loads(call.body) for call in api.calls]
    assert [body.get("seed", "none") for body in sent] == ["none", "none", 1, 2]


def test_a_picture_that_a_killed_process_left_alone_is_the_one_that_all_get(api: LoopbackApi, tmp_path: Path) -> None:
    with Cache(tmp_path / "replies.sqlite") as cache:
        left = Reply("", "stop", picture=b"drawn before")
        kept = cache.put("a", left)
        assert kept.picture == b"drawn before"
        cache._file.execute("DELETE FROM replies")
        assert cache.get("a") is None
        assert cache.put("a", Reply("", "stop", picture=b"drawn anew")).picture == b"drawn before"


def test_a_picture_may_be_larger_than_a_text(api: LoopbackApi, tmp_path: Path) -> None:
    large = b"x" * (2 * MOST_REPLY_BYTES)
    api.every = Step(body=drawn(large))
    assert told(api, tmp_path).picture == large  # type: ignore[union-attr]
    assert told(api, tmp_path, Request("t/1", ("hello",))) == Failure("the reply has more than 1048576 bytes", 1)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"[]", "the reply is no JSON object"),
        (b"{}", "the reply has no picture"),
        (b'{"data": []}', "the reply has no picture"),
        (b'{"data": ["x"]}', "the reply has no picture"),
        (b'{"data": [{"b64_json": 7}]}', "the reply has no picture in base64"),
        (b'{"data": [{"b64_json": ""}]}', "the reply's picture is empty"),
        (b'{"data": [{"b64_json": "<svg>"}]}', "the reply's picture is no base64"),
        (
            b'{"data": [{"url": "http://elsewhere/a.png"}]}',
            "the reply has no picture in base64, only its address, which is not fetched",
        ),
    ],
)
def test_a_reply_without_a_picture_is_a_failure_that_says_so(
    api: LoopbackApi, tmp_path: Path, body: bytes, reason: str
) -> None:
    api.every = Step(body=body)
    assert told(api, tmp_path) == Failure(reason, 3, again=True)


@pytest.mark.parametrize("code", ["content_policy_violation", "moderation_blocked"])
def test_a_picture_that_a_filter_refuses_is_a_reply_without_one(api: LoopbackApi, tmp_path: Path, code: str) -> None:
    api.every = Step(400, error(code))
    assert told(api, tmp_path) == Reply("", "content_filter", 0, 0)
    assert told(api, tmp_path).cached  # type: ignore[union-attr]
    assert api.count == 1


def test_pictures_cost_by_the_call_and_a_budget_ends_them(api: LoopbackApi, tmp_path: Path) -> None:
    meter = Meter()
    settings = tiny(api, prices=Prices(0.0, 0.0, call=0.04), budget=Budget(money=0.1), in_flight=1)
    requests = [Request(f"p/{place}", (f"lamp {place}",), size="512x512") for place in range(3)]
    drawing = ask(requests, settings, tmp_path / "replies.sqlite", meter=meter)
    replies = [next(drawing)[1] for _ in range(2)]
    assert [reply.cost for reply in replies] == [0.04, 0.04]  # type: ignore[union-attr]
    with pytest.raises(Exception, match=r"0\.08 of 0\.1 are spent; 1 requests were not asked"):
        next(drawing)
    assert meter.used.calls == 2


@pytest.mark.parametrize(("parts", "system"), [((), ""), (("a", "b"), ""), ((b"x",), ""), (("a",), "s")])
def test_a_picture_is_drawn_by_one_text(parts: tuple[str | bytes, ...], system: str) -> None:
    with pytest.raises(ValueError, match="p/1: a picture is drawn by one text"):
        Request("p/1", parts, system, size="512x512")
