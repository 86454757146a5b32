"""What models are told in construction, and what of their replies is believed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from mis_dataset.client import Client
from mis_dataset.construct.structured import Refusal, ShapeError, ask_object, fenced, object_of, text_field
from mis_dataset.remote.messages import Reply, Request
from tests.asked import tiny
from tests.loopback_api import LoopbackApi, Step, completion

GOOD = Step(body=completion('{"thing": "lamp"}'))


pytestmark = pytest.mark.usefixtures("api_key")


@pytest.fixture
def api() -> Iterator[LoopbackApi]:
    with LoopbackApi().running() as running:
        yield running


def thing(found: Mapping[str, Any]) -> str:
    return text_field(found, "thing", 10)


def told(api: LoopbackApi, folder: Path, *steps: Step) -> str | Refusal:
    """What comes of a request whose calls go that way."""
    left = list(steps)
    api.decide = lambda _: left.pop(0)
    with Client(tiny(api, attempts=1), folder / "replies.sqlite") as client:
        return ask_object(client, Request("s/1", ("Name a thing.",)), thing)


def said(text: str | None, finish: str = "stop", **message: Any) -> Step:
    return Step(body=completion(text, finish, **message))


@pytest.mark.parametrize(
    "text",
    [
        '{"thing": "lamp"}',
        'Here it is:\n```json\n{"thing": "lamp"}\n```\nAnything else?',
        '{"thing": "  lamp\\n", "more": {"a": [1]}}',
    ],
)
def test_an_object_is_found_wherever_it_stands(api: LoopbackApi, tmp_path: Path, text: str) -> None:
    assert told(api, tmp_path, said(text)) == "lamp"


@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        (said("A lamp."), "it holds no JSON object"),
        (said("} {"), "it holds no JSON object"),
        (said('{"thing": "lamp"'), "it holds no JSON object"),
        (said('{"thing": lamp}'), "it holds no JSON object that can be read, or several"),
        (said('{"thing": "lamp"} {"thing": "box"}'), "it holds no JSON object that can be read, or several"),
        (said('{"thing": "lamp", "thing": "box"}'), "a name stands there twice"),
        (said('{"thing": NaN}'), "it holds no JSON object that can be read, or several"),
        (said("{" * 10**4 + "}" * 10**4), "it holds no JSON object that can be read, or several"),
        (said("{" + " " * 2**16 + "}"), "it has more than 65536 letters"),
        (said('{"thing": "lamp"}', "length"), "it was cut off"),
        (said("{}"), "'thing' is no text"),
        (said('{"thing": 7}'), "'thing' is no text"),
        (said('{"thing": " "}'), "'thing' is no text"),
        (said('{"thing": "a very long lamp"}'), "'thing' has 16 letters, at most 10 are wanted"),
        (said('{"thing": "la\\u0000mp"}'), "'thing' holds letters that cannot be shown"),
        (said('{"thing": "la\\u202emp"}'), "'thing' holds letters that cannot be shown"),
        (said('{"thing": "la\\ud800mp"}'), "'thing' holds letters that cannot be shown"),
    ],
)
def test_what_is_of_another_shape_is_told_to_the_model_and_asked_for_once_more(
    api: LoopbackApi, tmp_path: Path, bad: Step, fault: str
) -> None:
    assert told(api, tmp_path, bad, GOOD) == "lamp"
    again = json.loads(api.calls[1].body)["messages"][0]["content"]
    assert again[0]["text"] == "Name a thing."
    assert again[1]["text"].startswith("<reply ")
    assert again[2]["text"].startswith(f"Your reply cannot be used: {fault}. Reply again, with one JSON object")


def test_twice_of_another_shape_is_a_refusal_with_both_faults(api: LoopbackApi, tmp_path: Path) -> None:
    assert told(api, tmp_path, said("A lamp."), said("{}")) == Refusal(
        "malformed", "it holds no JSON object; then: 'thing' is no text"
    )
    assert api.count == 2


@pytest.mark.parametrize(
    ("step", "refusal"),
    [
        (said(None, refusal="I cannot."), Refusal("refused", "refused")),
        (said(None, "content_filter"), Refusal("refused", "content_filter")),
        (Step(400), Refusal("no reply", "HTTP 400")),
    ],
)
def test_a_refusal_is_not_asked_again(api: LoopbackApi, tmp_path: Path, step: Step, refusal: Refusal) -> None:
    assert told(api, tmp_path, step) == refusal
    assert api.count == 1


def test_material_cannot_close_its_field_nor_open_that_of_another() -> None:
    inside = fenced("seed", "How?")
    around = fenced("seed", f"{inside}\nNow do as I say.")
    opened, *_, closed = around.split("\n")
    assert opened.replace("<", "</") == closed
    assert around.count(closed) == 1
    assert opened not in inside


def test_an_object_is_read_without_a_model() -> None:
    assert object_of(Reply('{"a": {"b": []}}', "stop")) == {"a": {"b": []}}
    with pytest.raises(ShapeError, match="it holds no JSON object"):
        object_of(Reply("", "stop"))
