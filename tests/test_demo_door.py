"""The door of the demo: what the page sends comes in, all else ends there as an error of the client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import MutableMapping
from typing import Any, NamedTuple

import pytest

from tests.made_demo import load

door, visitors, settings = load("door"), load("visitors"), load("settings")


class Part(NamedTuple):
    """A part of a page, as Gradio has it."""

    kind: str
    choices: list[tuple[str, object]] | None = None

    def get_block_name(self) -> str:
        return self.kind


class Listener(NamedTuple):
    """What Gradio calls a block function."""

    inputs: list[Part]
    collects_event_data: bool
    targets: list[tuple[int | None, str]]


class Blocks(NamedTuple):
    """A page of Gradio."""

    fns: dict[int, Listener]


SPLIT = Part("dropdown", [("all", "all"), ("Hard", "test_hard")])
PAGE = door.page_of(
    Blocks(
        {
            0: Listener([Part("state")], True, [(0, "load")]),
            1: Listener([Part("textbox"), SPLIT, Part("uploadbutton")], False, [(7, "click"), (None, "then")]),
        }
    )
)
CALL = {
    "fn_index": 1,
    "data": ["How?", "test_hard", None],
    "session_hash": "s1",
    "event_data": "typed",
    "trigger_id": 7,
}
CLICK = {"fn_index": 0, "data": [None], "session_hash": "s1", "event_data": {"number": 3, "place": 1}}


class Ended(NamedTuple):
    """What came of a request: the status, what was said, and what went on to the page behind."""

    status: int
    said: bytes
    through: list[tuple[str, bytes]]


class Visited:
    """A door before a page that says yes to all, and how often it was opened."""

    def __init__(self, behind: bool = False) -> None:
        self.through: list[tuple[str, bytes]] = []
        self.door = door.Door(self._page, page=PAGE, megabytes=1, behind=behind)

    async def _page(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        body = (await receive())["body"] if scope["method"] == "POST" else b""
        self.through.append((scope["client"][0], body))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"yes"})

    def ask(
        self,
        body: object = b"",
        path: str = door.JOIN,
        method: str = "POST",
        peer: str = "9.9.9.9",
        forwarded: tuple[str, ...] = (),
        broken: bool = False,
    ) -> Ended:
        """One request; `broken`: it ends before all of it is sent."""
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        halves = [sent[: len(sent) // 2], sent[len(sent) // 2 :]]
        messages: list[dict[str, Any]] = [{"type": "http.request", "body": halves[0], "more_body": True}]
        messages.append(
            {"type": "http.disconnect"} if broken else {"type": "http.request", "body": halves[1], "more_body": False}
        )
        said: list[MutableMapping[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return messages.pop(0)

        async def send(message: MutableMapping[str, Any]) -> None:
            said.append(message)

        headers = [(b"x-forwarded-for", one.encode()) for one in forwarded]
        scope = {"type": "http", "method": method, "path": path, "headers": headers, "client": (peer, 1)}
        before = len(self.through)
        asyncio.run(self.door(scope, receive, send))
        return Ended(said[0]["status"], said[1]["body"], self.through[before:])


@pytest.mark.parametrize("call", [CALL, CLICK, CALL | {"event_data": {"path": {}}, "trigger_id": 0}])
def test_what_the_page_sends_comes_in_whole(call: dict[str, object]) -> None:
    ended = Visited().ask(call)
    assert (ended.status, ended.said) == (200, b"yes")
    assert json.loads(ended.through[0][1]) == call


WRONG = [
    (b"{", "it is no JSON"),
    (b"[" * 100_000, "it is no JSON"),
    (b"[]", "it is no object"),
    (CALL | {"fn_index": 99}, "fn_index is no event"),
    (CALL | {"fn_index": "1"}, "fn_index is no event"),
    (CALL | {"fn_index": True}, "fn_index is no event"),
    (CALL | {"session_hash": None}, "session_hash is no text of 1 to 64 letters"),
    (CALL | {"session_hash": "s" * 65}, "session_hash is no text of 1 to 64 letters"),
    (CALL | {"data": None}, "data is no list of 3"),
    (CALL | {"data": []}, "data is no list of 3"),
    (CALL | {"data": ["How?", "test_hard", None, None]}, "data is no list of 3"),
    (CALL | {"data": [["How?"], "all", None]}, r"data\[0\] does not fit"),
    (CALL | {"data": ["How?", "nowhere", None]}, r"data\[1\] does not fit"),
    (CALL | {"data": ["How?", {"a": 1}, None]}, r"data\[1\] does not fit"),
    (CALL | {"data": ["How?", "all", [{"path": "/a.png"}]]}, r"data\[2\] does not fit"),
    (CALL | {"data": ["How?", "all", {"path": 3}]}, r"data\[2\] does not fit"),
    (CALL | {"trigger_id": 8}, "trigger_id begins no event, or batched is set"),
    (CALL | {"batched": True}, "trigger_id begins no event, or batched is set"),
    *((CLICK | {"event_data": told}, "event_data is no object") for told in (None, "number", 5, ["number"])),
    (
        CLICK | {"event_data": {"path": "/etc/hostname", "meta": {"_type": "gradio.FileData"}}},
        "event_data is no object",
    ),
]


@pytest.mark.parametrize(("call", "told"), WRONG, ids=range(len(WRONG)))
def test_what_the_page_cannot_send_is_an_error_of_the_client_and_says_nothing_of_it(call: Any, told: str) -> None:
    ended = Visited().ask(call)
    assert (ended.status, ended.through) == (422, [])
    assert told.replace("\\", "") in json.loads(ended.said)["detail"]
    assert b"nowhere" not in ended.said


@pytest.mark.parametrize(
    "path", ["/gradio_api/run/predict", "/gradio_api/call/take", "/login", "/gradio_api/queue/joi"]
)
def test_nothing_else_of_gradio_takes_anything(path: str) -> None:
    visited = Visited()
    assert (visited.ask(CALL, path).status, visited.through) == (404, [])
    assert visited.ask(CALL, door.JOIN, method="PUT").status == 200
    assert visited.ask(b"", path, method="GET").status == 200
    assert visited.ask(CALL, door.JOIN + "/").status == 200


def test_a_body_has_an_end_and_one_that_breaks_off_leaves_nothing() -> None:
    visited = Visited()
    long = CALL | {"data": ["x" * 2**17, "all", None]}
    assert (visited.ask(long).status, visited.through) == (413, [])
    assert visited.ask(b"x" * (2**20 + 2**12 + 1), door.UPLOAD).status == 413
    assert visited.ask(CALL, door.UPLOAD, broken=True).status == 400
    assert visited.through == []
    assert visited.ask(b"x" * 2**20, door.UPLOAD).status == 200
    whole = CALL | {"trigger_id": None, "data": ["\u0007" * 20_000, "all", None]}
    assert visited.ask(whole).status == 200


def test_an_address_uploads_so_often_a_minute_and_all_together_not_much_more() -> None:
    visited = Visited()
    found = [visited.ask(b"p", door.UPLOAD).status for _ in range(21)]
    assert found == [200] * 20 + [429]
    assert visited.ask(CALL).status == 200
    others = [visited.ask(b"p", door.UPLOAD, peer=f"9.9.{one // 20}.8").status for one in range(60)]
    assert others == [200] * 40 + [429] * 20
    said = visited.ask(b"p", door.UPLOAD, peer="8.8.8.8").said
    assert said.startswith(b"60 files came from all visitors within a minute. Go on in ")  # as the page shows it


def test_an_address_calls_so_often_a_minute() -> None:
    visited = Visited()
    found = {visited.ask(b"{", peer="2001:db8::1").status for _ in range(door.CALLS)}
    assert (found, visited.ask(CALL, peer="2001:db8::2").status) == ({422}, 429)
    assert visited.ask(CALL, peer="2001:db8:0:1::2").status == 200


@pytest.mark.parametrize(
    ("forwarded", "found"),
    [
        ((), ""),
        (("8.8.8.8",), "8.8.8.8"),
        (("6.6.6.6, 8.8.8.8",), "8.8.8.8"),
        (("6.6.6.6", "8.8.8.8"), "8.8.8.8"),
        (("8.8.8.8, 10.1.2.3, 127.0.0.1",), "8.8.8.8"),
        (("8.8.8.8, nonsense",), ""),
        (("10.1.2.3",), ""),
        (("::ffff:8.8.8.8",), "8.8.8.8"),
        (("2a00:1450:4001:80b::200e",), "2a00:1450:4001:80b::/64"),
    ],
)
def test_behind_the_proxy_of_the_hub_the_last_public_address_asks(forwarded: tuple[str, ...], found: str) -> None:
    assert Visited(behind=True).ask(CALL, peer="10.0.0.7", forwarded=forwarded).through[0][0] == found
    assert Visited().ask(CALL, peer="9.9.9.9", forwarded=forwarded).through[0][0] == "9.9.9.9"


def test_a_space_of_the_hub_is_behind_its_proxy() -> None:
    assert settings.read_settings({"SPACE_ID": "somebody/MIS-demo"}).behind
    assert not settings.read_settings({}).behind


def test_whoever_takes_a_new_name_every_time_is_one_address() -> None:
    limit = visitors.RateLimit(2, "{most} from there, again in {wait} s")
    for number in range(visitors.MOST_VISITORS + 5):
        limit.ask(f"session {number}", 1.0)
    assert len(limit._times) == visitors.MOST_VISITORS
    limit.ask("8.8.8.8", 1.0)
    limit.ask("8.8.8.8", 1.0)
    with pytest.raises(settings.DemoError, match="2 from there, again in 61 s"):
        limit.ask("8.8.8.8", 1.0)
    for _ in range(5):
        limit.ask("", 1.0)
