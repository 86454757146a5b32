"""Asking a remote model, against an endpoint on loopback."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mis_dataset.client import ask
from mis_dataset.errors import CacheError, RemoteError, UsageError
from mis_dataset.remote.messages import Failure, Reply, Request
from mis_dataset.remote.settings import Prices
from tests.asked import one, one_is_new, questions, text_of, tiny
from tests.loopback_api import KEY, LoopbackApi, Step, completion, error
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


# What is asked and what comes back


def test_every_request_gets_its_own_reply(api: LoopbackApi, cache: Path) -> None:
    told = dict(ask(questions(20), tiny(api), cache))
    assert {name: text_of(reply) for name, reply in told.items()} == {
        f"test_hard/{place}": f"about question {place}" for place in range(20)
    }
    assert api.count == 20


def test_a_reply_says_how_it_ended_and_what_it_cost(api: LoopbackApi, cache: Path) -> None:
    api.every = Step(body=completion("Yes, and", "length", usage=(2000, 300)))
    assert one(tiny(api, prices=Prices(2.0, 10.0)), cache) == Reply(
        "Yes, and", "length", 2000, 300, "loopback-1", cost=0.007
    )


def test_texts_and_pictures_are_sent_in_their_order_as_data_urls(api: LoopbackApi, cache: Path) -> None:
    stream = io.BytesIO()
    Image.new("L", (8, 8)).save(stream, "JPEG")
    one(tiny(api, seed=7), cache, "Image-1: ", png(1), "Image-2: ", stream.getvalue(), 'say "é"', system="Be brief.")
    body = json.loads(api.calls[0].body)
    messages = body.pop("messages")
    assert body == {"model": "a-model", "max_tokens": 512, "temperature": 0.0, "seed": 7}
    assert messages[0] == {"role": "system", "content": "Be brief."}
    kinds = [part.get("text") or part["image_url"]["url"].split(",")[0] for part in messages[1]["content"]]
    assert kinds == ["Image-1: ", "data:image/png;base64", "Image-2: ", "data:image/jpeg;base64", 'say "é"']


def test_a_single_text_is_sent_as_a_plain_string(api: LoopbackApi, cache: Path) -> None:
    one(tiny(api), cache, "hello")
    assert json.loads(api.calls[0].body)["messages"] == [{"role": "user", "content": "hello"}]


def test_a_body_over_a_megabyte_arrives_whole(api: LoopbackApi, cache: Path) -> None:
    stream = io.BytesIO()
    Image.effect_noise((1200, 1200), 99).save(stream, "PNG")
    assert text_of(one(tiny(api), cache, stream.getvalue(), "what is it?")) == "about what is it?"
    assert len(api.calls[0].body) == int(api.calls[0].headers["content-length"]) > 2**20
    assert json.loads(api.calls[0].body)["messages"][0]["content"][1]["text"] == "what is it?"


def test_larger_pictures_are_made_smaller_where_that_is_wanted(api: LoopbackApi, cache: Path) -> None:
    one(tiny(api, image_max_side=16), cache, png(1, side=64), "x")
    one(tiny(api), cache, png(1, side=64), "x")
    small, large = (len(call.body) for call in api.calls)
    assert small < large


def test_a_picture_that_cannot_be_sent_is_a_failure_and_costs_no_call(api: LoopbackApi, cache: Path) -> None:
    stream = io.BytesIO()
    Image.new("L", (8, 8)).save(stream, "BMP")
    assert one(tiny(api), cache, png(1), stream.getvalue()) == Failure(
        "picture 2 is a BMP; endpoints take PNG, JPEG, WEBP and GIF", 0
    )
    assert one(tiny(api), cache, b"no picture") == Failure("picture 1 is not an intact picture", 0)
    assert api.count == 0


# How many at once


def test_as_many_are_under_way_as_asked_for_and_never_more(cache: Path) -> None:
    with LoopbackApi(latency=0.05).running() as api:
        assert len(list(ask(questions(40), tiny(api, in_flight=7), cache))) == 40
        assert api.most_in_flight == 7


def test_a_slow_one_does_not_hold_up_the_others(api: LoopbackApi, cache: Path) -> None:
    api.plan = {"question 0": [Step(wait=0.5)]}
    order = [name for name, _ in ask(questions(12), tiny(api, in_flight=2), cache)]
    assert order[-1] == "test_hard/0"


def test_calls_go_on_while_the_caller_is_busy(cache: Path) -> None:
    with LoopbackApi(latency=0.05).running() as api:
        replies = ask(questions(12), tiny(api, in_flight=4), cache)
        next(replies)
        time.sleep(0.5)
        assert api.count == 12
        assert len(list(replies)) == 11


def test_requests_are_drawn_only_as_there_is_room_for_them(api: LoopbackApi, cache: Path) -> None:
    drawn: list[str] = []

    def drawing() -> Iterator[Request]:
        for request in questions(100):
            drawn.append(request.id)
            yield request

    replies = ask(drawing(), tiny(api, in_flight=4), cache)
    assert drawn == []
    next(replies)
    assert len(drawn) <= 4 + 8 + 1
    assert len(list(replies)) == 99


def ours() -> list[str]:
    """Threads that the client has begun."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(("calls", "pictures"))]


def test_whoever_stops_drawing_leaves_no_thread_and_no_connection(cache: Path) -> None:
    with LoopbackApi(latency=0.2).running() as api:
        asked = (Request(f"a/{place}", (png(place, side=64), "x")) for place in range(50))
        replies = ask(asked, tiny(api, in_flight=4, image_max_side=16), cache)
        next(replies)
        assert "calls" in ours()
        replies.close()  # type: ignore[attr-defined]
        assert ours() == []
        assert api.count <= 8
        time.sleep(0.05)
        assert api.in_flight == 0


def test_an_error_of_the_callers_own_requests_comes_out_as_it_is(api: LoopbackApi, cache: Path) -> None:
    def broken() -> Iterator[Request]:
        yield from questions(3)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(ask(broken(), tiny(api), cache))
    wrong: Any = [Request("a/1", (7,))]  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        list(ask(wrong, tiny(api), cache))


def test_an_id_that_comes_twice_is_a_fault_of_the_program(api: LoopbackApi, cache: Path) -> None:
    with pytest.raises(ValueError, match="a/1: comes twice"):
        list(ask([Request("a/1", ("x",)), Request("a/1", ("y",))], tiny(api), cache))


# Failures that stop the run, in tests/test_client_faults.py all others


@pytest.mark.parametrize(
    ("step", "text"),
    [
        (Step(401), "does not accept the key in OPENAI_API_KEY; put a valid one there (HTTP 401)"),
        (
            Step(403),
            "does not let the key in OPENAI_API_KEY use the model 'a-model'; ask for access or name another (HTTP 403)",
        ),
        (
            Step(404),
            "is no such endpoint, or has no model 'a-model'; correct the address or the name (HTTP 404)",
        ),
        (
            Step(308, headers={"Location": "http://127.0.0.1:9/"}),
            "sends elsewhere; name the address it leads to (HTTP 308)",
        ),
        (
            Step(429, error("insufficient_quota")),
            "has no credit left for the key in OPENAI_API_KEY; pay it up (HTTP 429)",
        ),
    ],
    ids=lambda value: str(value.status) if isinstance(value, Step) else "",
)
def test_a_wrong_key_model_or_address_stops_the_run_with_one_error(
    api: LoopbackApi, cache: Path, step: Step, text: str
) -> None:
    api.every = step
    told: list[object] = []
    with pytest.raises(RemoteError) as caught:
        told.extend(ask(questions(100), tiny(api, in_flight=3), cache))
    assert str(caught.value) == f"{api.url}: {text}"
    assert told == []
    assert api.count <= 3 + 8


def test_replies_that_were_under_way_when_the_run_stopped_are_kept_and_handed_over(
    api: LoopbackApi, cache: Path
) -> None:
    api.plan = {"question 0": [Step(wait=0.3)], "question 1": [Step(401, wait=0.1)]}
    told: list[str] = []
    with pytest.raises(RemoteError):
        told.extend(name for name, _ in ask(questions(2), tiny(api), cache))
    assert told == ["test_hard/0"]
    assert not one_is_new(api, tiny(api), cache, "question 0")


def test_a_run_that_stops_waits_for_nobodys_next_try(api: LoopbackApi, cache: Path) -> None:
    api.plan = {
        "question 0": [Step(503, headers={"Retry-After": "200"}, wait=0.2)],
        "question 1": [Step(401, wait=0.6)],
    }
    started = time.monotonic()
    with pytest.raises(RemoteError):
        list(ask(questions(2), tiny(api), cache))
    assert time.monotonic() - started < 5


def test_an_address_where_nobody_ever_answered_stops_the_run(cache: Path) -> None:
    with LoopbackApi().running() as api:
        gone = tiny(api)
    with pytest.raises(RemoteError) as caught:
        list(ask(questions(50), gone, cache))
    assert str(caught.value) == f"{gone.base_url}: no connection, 3 times; correct the address"


# The key, and what is shown


def test_a_missing_key_is_told_before_the_first_call(
    api: LoopbackApi, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(UsageError) as caught:
        ask(questions(1), tiny(api), cache)
    assert str(caught.value) == (
        f"the environment variable OPENAI_API_KEY is not set; put the key of {api.url} there "
        "(any word where it wants none)"
    )
    assert (api.count, cache.exists()) == (0, False)
    monkeypatch.setenv("OTHER_KEY", "other")
    list(ask(questions(1), tiny(api, key_name="OTHER_KEY"), cache))
    assert api.calls[0].headers["authorization"] == "Bearer other"


def test_the_key_is_sent_and_shown_nowhere(
    api: LoopbackApi, cache: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    api.plan = {
        "question 0": [Step(400, error(KEY, f"{KEY} is wrong"))],
        "question 1": [Step(500, error(KEY), headers={"X-Key": KEY})] * 3,
        "question 2": [Step(401, error(KEY, f"Incorrect API key: {KEY}"), wait=0.5)],
    }
    shown = [repr(tiny(api))]
    with pytest.raises(RemoteError) as caught:
        shown.extend(map(repr, ask(questions(3), tiny(api), cache)))
    shown += [repr(caught.getrepr(style="long", chain=True)), caplog.text, *capfd.readouterr()]
    shown += [path.read_bytes().decode("latin-1") for path in cache.parent.iterdir()]
    assert api.calls[0].headers["authorization"] == f"Bearer {KEY}"
    assert "HTTP 400" in shown[1]
    assert [text for text in shown if KEY in text] == []


def test_no_log_and_no_repr_shows_what_was_asked_or_said(
    api: LoopbackApi, cache: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    request = Request("a/1", ("a rare question", png(1)), "a rare rule")
    api.every = Step(body=completion("a rare response"))
    told = list(ask([request], tiny(api), cache))
    assert "DEBUG" in caplog.text  # of asyncio: logs are looked at
    shown = [caplog.text, *capfd.readouterr(), repr(request), repr(told)]
    assert [text for text in shown if "rare" in text or "base64" in text] == []


def test_a_proxy_that_is_none_is_told_without_its_password(
    api: LoopbackApi, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "carrier-pigeon://user:secret@host")
    with pytest.raises(UsageError) as caught:
        list(ask(questions(1), tiny(api), cache))
    assert str(caught.value) == "HTTP_PROXY, HTTPS_PROXY or ALL_PROXY holds no address of a proxy; correct it"
    assert (api.count, ours()) == (0, [])


def test_the_extra_that_is_missing_is_named(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "sys.modules['openai'] = None\n"
        "from mis_dataset.client import ask\n"
        "from mis_dataset.errors import UsageError\n"
        "from mis_dataset.remote.settings import Settings\n"
        "from pathlib import Path\n"
        "try:\n"
        "    ask([], Settings('m', '1'), Path('x'))\n"
        "except UsageError as error:\n"
        "    print(error)\n"
    )
    command = [sys.executable, "-c", script]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout == "remote models need openai; pip install 'mis-dataset[remote]'\n"


def test_importing_the_client_loads_neither_openai_nor_its_http_client() -> None:
    script = "import mis_dataset.client, sys; print({'openai', 'httpx2', 'torch'} & set(sys.modules))"
    command = [sys.executable, "-c", script]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout == "set()\n"


def test_a_broken_cache_is_told_before_anything_is_asked(api: LoopbackApi, cache: Path) -> None:
    cache.write_bytes(b"not a database" * 100)
    with pytest.raises(CacheError, match="is no cache of replies, or broken"):
        next(ask(questions(1), tiny(api), cache))
    assert api.count == 0
